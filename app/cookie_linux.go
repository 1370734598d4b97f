package app

import (
	"os"

	"golang.org/x/sys/unix"
)

// cookieOf is the kernel's name of a socket, the same for every descriptor of it
// in every process.
func cookieOf(fd int) (uint64, error) {
	n, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	return n, os.NewSyscallError("getsockopt SO_COOKIE", err)
}
