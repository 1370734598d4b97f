//go:build !linux && !darwin

package h1

// quiet cannot tell here: the idle limit and the retry of a failed reused
// connection have to do.
func (c *conn) quiet() bool { return true }

// readNow has no way to read without waiting here, so that everything written
// is flushed before every read.
func (c *conn) readNow([]byte) (int, error) { return 0, nil }

func (c *conn) peekFD(uintptr) bool { return true }

func (c *conn) readFD(uintptr) bool { return true }
