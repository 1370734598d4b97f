//go:build linux || darwin

package h1

import (
	"io"
	"syscall"
)

// quiet reports whether an idle connection may be written to: the upstream has
// neither closed it nor sent anything that nobody asked for.
func (c *conn) quiet() bool {
	if c.raw == nil {
		return true
	}
	if err := c.raw.Read(c.look); err != nil {
		return false
	}
	return c.err == syscall.EAGAIN
}

func (c *conn) peekFD(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, c.err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if c.err != syscall.EINTR {
			return true
		}
	}
}

// readNow reads what has arrived without waiting. Nothing read and no error
// means that a read would wait.
func (c *conn) readNow(p []byte) (int, error) {
	if c.raw == nil {
		return 0, nil
	}
	c.buf = p
	err := c.raw.Read(c.grab)
	c.buf = nil
	switch {
	case err != nil:
		return 0, err
	case c.err == syscall.EAGAIN:
		return 0, nil
	case c.err != nil:
		return 0, c.err
	case c.n == 0:
		return 0, io.EOF
	}
	return c.n, nil
}

func (c *conn) readFD(fd uintptr) bool {
	for {
		c.n, c.err = syscall.Read(int(fd), c.buf)
		if c.err != syscall.EINTR {
			return true
		}
	}
}
