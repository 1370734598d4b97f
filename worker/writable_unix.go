//go:build unix

package worker

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// writable reports whether the socket has room for more, so that nobody can be
// waiting for the other side to read.
func writable(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	room := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, 0)
		room = err == nil && n == 1 && fds[0].Revents == unix.POLLOUT
	})
	return err == nil && room
}
