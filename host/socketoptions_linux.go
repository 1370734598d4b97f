package host

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketOptions has the kernel give the host a connection only when its first
// bytes are there, or a second has passed: the peek then finds them at once. The
// other options are inherited by each connection: it sends without delay, and a
// client that has vanished is found out, at the times that Go has for it.
func socketOptions(_, _ string, c syscall.RawConn) error {
	var err error
	set := func(fd uintptr, name string, level, option, value int) {
		err = errors.Join(err, os.NewSyscallError("setsockopt "+name, unix.SetsockoptInt(int(fd), level, option, value)))
	}
	if cerr := c.Control(func(fd uintptr) {
		set(fd, "TCP_DEFER_ACCEPT", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1)
		set(fd, "TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		set(fd, "SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		set(fd, "TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15)
		set(fd, "TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15)
		set(fd, "TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9)
	}); cerr != nil {
		return cerr
	}
	return err
}
