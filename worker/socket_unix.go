//go:build unix

package worker

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// writable reports whether the socket has room for more, so that nobody can be
// waiting for the other side to read.
func writable(c net.Conn) bool { return polled(c, unix.POLLOUT) }

// readable reports whether something has come that nobody has read yet.
func readable(c net.Conn) bool { return polled(c, unix.POLLIN) }

// polled reports whether the socket is ready for what events say, and has not
// failed.
func polled(c net.Conn, events int16) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	ready := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, 0)
		ready = err == nil && n == 1 && fds[0].Revents == events
	})
	return err == nil && ready
}
