package host

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketOptions has the kernel give the host a connection only when its first
// bytes are there, or a second has passed: the peek then finds them at once. And
// connections inherit that they send without delay (TCP_NODELAY).
func socketOptions(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = errors.Join(
			os.NewSyscallError("setsockopt TCP_DEFER_ACCEPT", unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1)),
			os.NewSyscallError("setsockopt TCP_NODELAY", unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)),
		)
	}); cerr != nil {
		return cerr
	}
	return err
}
