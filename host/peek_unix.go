//go:build unix

package host

import (
	"errors"
	"syscall"
)

// peek waits for enough of a request head to tell the value of its Host field,
// and leaves all of it in the kernel. The connection's read deadline bounds it.
// begun says whether a byte had come. A buffer is only held while looking.
func peek(c syscall.Conn) (host string, begun bool, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return "", false, err
	}
	p := &peeker{}
	err = raw.Read(func(fd uintptr) bool {
		buf := peekBuffers.Get().(*[]byte)
		defer peekBuffers.Put(buf)
		p.buf = *buf
		for {
			n, _, err := syscall.Recvfrom(int(fd), p.buf, syscall.MSG_PEEK)
			switch {
			case errors.Is(err, syscall.EINTR):
				continue
			case errors.Is(err, syscall.EAGAIN):
				return false
			}
			if p.look(n, err) {
				return true
			}
			if halfClosed(int(fd)) {
				p.err = errPeekUnusual
				return true
			}
			return false
		}
	})
	if err == nil {
		err = p.err
	}
	return p.host, p.seen > 0, err
}

// awaitBytes waits until there is something to read, and leaves it in the kernel.
// The connection's read deadline bounds it.
func awaitBytes(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		for {
			n, _, failed = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
			if !errors.Is(failed, syscall.EINTR) {
				return !errors.Is(failed, syscall.EAGAIN)
			}
		}
	})
	if err = errors.Join(err, failed); err == nil && n == 0 {
		err = errPeekEmpty
	}
	return err
}

// discard reads what the kernel has of a connection that is about to be closed,
// up to the size of a peek, and waits for nothing.
func discard(c syscall.Conn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // closed
	}
	buf := peekBuffers.Get().(*[]byte)
	defer peekBuffers.Put(buf)
	_ = raw.Control(func(fd uintptr) { // fails only on a closed connection
		_, _, _ = syscall.Recvfrom(int(fd), *buf, syscall.MSG_DONTWAIT) // what is not there need not be read
	})
}
