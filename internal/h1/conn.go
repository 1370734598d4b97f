package h1

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is one connection to the upstream. It belongs to one exchange, or to
// the idle list.
type conn struct {
	net.Conn
	raw       syscall.RawConn // nil if the connection has no descriptor
	reused    bool            // it has served a request before
	idleUntil time.Time
	phase     atomic.Int32 // sendingRequest, requestSent or clientLeft

	look func(fd uintptr) bool // bound once: see quiet
	grab func(fd uintptr) bool // bound once: see readNow
	buf  []byte                // where grab reads to
	n    int                   // what look or grab found
	err  error
}

func newConn(nc net.Conn) *conn {
	c := &conn{Conn: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
			c.look, c.grab = c.peekFD, c.readFD
		}
	}
	return c
}

// abort ends whatever is reading from or writing to the connection. It may be
// called from any goroutine, at any time, also after Close.
func (c *conn) abort() { _ = c.Close() } // the error says only that it is closed already

// lingerTimeout bounds how long an upstream may work for a client that has
// closed its connection, or has closed only its sending side: TCP does not tell
// the two apart.
const lingerTimeout = 10 * time.Second

// The phases of a connection within one exchange.
const (
	sendingRequest int32 = iota // the request is being written, its body included
	requestSent                 // it was written, or that has failed, or it waits for the upstream's word
	clientLeft                  // the client is gone
)

// leave tells the upstream that the client is gone: at once, or by sent if the
// request is still being written. A client that has closed only its sending side
// has said all of it, and half a request gets no answer. The connection is not used
// for another request after it.
func (c *conn) leave() {
	time.AfterFunc(lingerTimeout, c.abort) // closing it once more later does no harm
	if c.phase.Swap(clientLeft) == requestSent {
		c.closeWriteOrAbort()
	}
}

// sent ends the phase in which leave must wait.
func (c *conn) sent() {
	if !c.phase.CompareAndSwap(sendingRequest, requestSent) {
		c.closeWriteOrAbort()
	}
}

func (c *conn) closeWriteOrAbort() {
	if !closeWrite(c.Conn) {
		c.abort()
	}
}

func (c *conn) expired(now time.Time) bool { return now.After(c.idleUntil) }

// spliceable reports whether the kernel can move bytes from the connection to
// another socket.
func (c *conn) spliceable() bool {
	switch c.Conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// closeWrite ends the sending direction and reports whether it could.
func closeWrite(nc net.Conn) bool {
	h, ok := nc.(interface{ CloseWrite() error })
	return ok && h.CloseWrite() == nil
}
