package inproc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// identify notes the kernel's name of the connection's socket, which is the
// same for every descriptor of it in every process.
func identify(c *Client) error {
	if c.cookie != 0 {
		return nil
	}
	return withDescriptor(c.Conn, func(fd int) (err error) {
		c.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		return os.NewSyscallError("getsockopt SO_COOKIE", err)
	})
}

// withDescriptor calls do with the connection's descriptor, which stays open
// for as long as do runs.
func withDescriptor(c net.Conn, do func(fd int) error) error {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return errors.New("not a socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	if err := raw.Control(func(fd uintptr) { done = do(int(fd)) }); err != nil {
		return err
	}
	return done
}

// connOf makes a connection of a descriptor that must be the socket with the
// given cookie. It takes the descriptor over.
func connOf(fd int, cookie uint64) (net.Conn, error) {
	got, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil || got != cookie {
		closeFDs([]int{fd})
		return nil, fmt.Errorf("not the socket that was handed over: cookie %d, want %d (%v)", got, cookie, err)
	}
	f := os.NewFile(uintptr(fd), "connection")
	c, err := net.FileConn(f)
	return c, errors.Join(err, f.Close())
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // nothing was written to it here
	}
}
