package host

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// deferAccept has the kernel give the host a connection only when its first
// bytes are there, or a second has passed: the peek then finds them at once.
func deferAccept(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt TCP_DEFER_ACCEPT", unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1))
	}); cerr != nil {
		return cerr
	}
	return err
}
