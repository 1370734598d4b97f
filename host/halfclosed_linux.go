package host

import "golang.org/x/sys/unix"

// halfClosed reports whether the client has closed its side: nothing more comes
// behind what is there, and if that was known before it was looked at, nobody is
// woken again to learn it.
func halfClosed(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}
