package inproc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"aerie/internal/tcpconn"
)

// cookieOf is the kernel's name of the connection's socket, which is the same for
// every descriptor of it in every process.
func cookieOf(c net.Conn) (cookie uint64, err error) {
	err = withDescriptor(c, func(fd int) error {
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		return os.NewSyscallError("getsockopt SO_COOKIE", err)
	})
	return cookie, err
}

// errEnded is the error of a look into a connection that is no more.
var errEnded = errors.New("the connection has ended")

// consumed is how many bytes of what the client has sent were read by whoever has
// a descriptor of the connection.
func consumed(c net.Conn) (n uint64, err error) {
	err = withDescriptor(c, func(fd int) error {
		for {
			before, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil {
				return os.NewSyscallError("getsockopt TCP_INFO", err)
			}
			unread, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
			if err != nil {
				return os.NewSyscallError("ioctl SIOCINQ", err)
			}
			after, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil {
				return os.NewSyscallError("getsockopt TCP_INFO", err)
			}
			if before.Bytes_received != after.Bytes_received || before.State != after.State {
				continue // something came just now
			}
			n = after.Bytes_received - uint64(unread)
			switch after.State {
			case unix.BPF_TCP_ESTABLISHED:
				return nil
			case unix.BPF_TCP_CLOSE_WAIT:
				n-- // the client's FIN counts as received
				return nil
			}
			return errEnded // or this side has ended it
		}
	})
	return n, err
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

// connOf makes a connection of a descriptor that must be the socket of the
// client. It takes the descriptor over.
func connOf(fd int, c *Client) (net.Conn, error) {
	got, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil || c.cookie == 0 || got != c.cookie {
		closeFDs([]int{fd})
		return nil, fmt.Errorf("not the socket that was handed over: cookie %d, want %d (%v)", got, c.cookie, err)
	}
	if c.told {
		if err := isConnection(fd, c.Local, c.Remote); err != nil {
			closeFDs([]int{fd})
			return nil, err
		}
		c.told = false // from here on the host has seen it itself
	}
	return tcpconn.FromDescriptor(fd, c.Local, c.Remote)
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // nothing was written to it here
	}
}
