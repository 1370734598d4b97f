package rawhttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	defaultLimit = 10 * time.Second
	bufferSize   = 16 << 10
	tailSize     = 160
)

// Conn is one HTTP/1.1 connection. One goroutine may send while another one
// reads; the owner closes it.
type Conn struct {
	// Limit is how long one write may block and how long the server may send
	// nothing where something is due. Set it before use; 0 is 10 s.
	Limit time.Duration

	nc      net.Conn
	br      *bufio.Reader
	wait    time.Duration // instead of Limit, during Idle
	closing bool          // the last answer said that the server closes

	mu   sync.Mutex // guards below
	sent tail
	seen tail
}

// tail keeps the last bytes that went one way, and their number.
type tail struct {
	last  []byte
	total int64
}

func (t *tail) add(p []byte) {
	t.total += int64(len(p))
	if len(p) > tailSize {
		p = p[len(p)-tailSize:]
	}
	if over := len(t.last) + len(p) - tailSize; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	t.last = append(t.last, p...)
}

// Dial connects to "host:port", or to "unix:" and a path. It waits up to 10 s.
func Dial(addr string) (*Conn, error) {
	network, address := "tcp", addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, address = "unix", path
	}
	nc, err := net.DialTimeout(network, address, defaultLimit)
	if err != nil {
		return nil, &Failure{Kind: Refused, Op: "connect to " + addr, Err: err}
	}
	return NewConn(nc), nil
}

// NewConn speaks HTTP/1.1 on a connection that is there already, and owns it.
func NewConn(nc net.Conn) *Conn {
	c := &Conn{nc: nc}
	c.br = bufio.NewReaderSize(socketReader{c}, bufferSize)
	return c
}

// socketReader reads from the socket, renews the limit and keeps the tail.
type socketReader struct{ c *Conn }

func (s socketReader) Read(p []byte) (int, error) {
	c := s.c
	if err := c.nc.SetReadDeadline(time.Now().Add(c.limit(c.wait))); err != nil {
		return 0, err
	}
	n, err := c.nc.Read(p)
	c.mu.Lock()
	c.seen.add(p[:n])
	c.mu.Unlock()
	return n, err
}

func (c *Conn) limit(d time.Duration) time.Duration {
	switch {
	case d > 0:
		return d
	case c.Limit > 0:
		return c.Limit
	}
	return defaultLimit
}

// Send sends each part with a write of its own, so each leaves in its own TCP
// segment (Go sets TCP_NODELAY) as long as the server's window is open.
func (c *Conn) Send(parts ...[]byte) error {
	for _, p := range parts {
		if _, err := c.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// Write sends p with one write.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.limit(0))); err != nil {
		return 0, c.fail("send", err, false)
	}
	c.mu.Lock()
	c.sent.add(p)
	c.mu.Unlock()
	n, err := c.nc.Write(p)
	if err != nil {
		return n, c.fail(fmt.Sprintf("send %d bytes", len(p)), err, false)
	}
	return n, nil
}

// Read reads raw bytes: after a 101 answer, or past HTTP. The end of the
// stream is io.EOF, anything else a *Failure.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.br.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = c.fail("read", err, true)
	}
	return n, err
}

// Buffered is the number of bytes that came and were not asked for yet.
func (c *Conn) Buffered() int { return c.br.Buffered() }

// Closing says whether the last answer announced that the server closes.
func (c *Conn) Closing() bool { return c.closing }

// Idle expects silence for d. A byte is an Extra failure, the end of the
// connection Closed or Reset.
func (c *Conn) Idle(d time.Duration) error {
	c.wait = d
	defer func() { c.wait = 0 }()
	_, err := c.br.Peek(1)
	switch {
	case err == nil:
		return c.extra("stay idle")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	}
	return c.fail("stay idle", err, false)
}

// ReadEOF expects the server to close now. A byte is an Extra failure, a reset
// Reset, and no close within the limit Late.
func (c *Conn) ReadEOF() error {
	_, err := c.br.Peek(1)
	switch {
	case err == nil:
		return c.extra("wait for the close")
	case errors.Is(err, io.EOF):
		return nil
	}
	return c.fail("wait for the close", err, false)
}

func (c *Conn) extra(op string) error {
	b, _ := c.br.Peek(min(c.br.Buffered(), 64)) // as many as there are
	return c.failure(Extra, op, fmt.Errorf("%d bytes that nobody asked for: %q", c.br.Buffered(), b))
}

// CloseWrite ends the client's half of the connection; answers still come.
func (c *Conn) CloseWrite() error {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("close write: not possible on %T", c.nc)
	}
	return half.CloseWrite()
}

// Abort closes the connection with a reset.
func (c *Conn) Abort() error {
	if tc, ok := c.nc.(*net.TCPConn); ok {
		if err := tc.SetLinger(0); err != nil {
			return errors.Join(err, c.nc.Close())
		}
	}
	return c.nc.Close()
}

// Close closes the connection. What was not read yet is lost.
func (c *Conn) Close() error { return c.nc.Close() }

// LocalAddr is the client's own address.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr is the server's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

func (c *Conn) fail(op string, err error, begun bool) error {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	return c.failure(classify(err, begun), op, err)
}

func (c *Conn) failure(kind Kind, op string, err error) *Failure {
	c.mu.Lock()
	defer c.mu.Unlock()
	op = fmt.Sprintf("%s after %d bytes sent, %d seen", op, c.sent.total, c.seen.total)
	return &Failure{Kind: kind, Op: op, Local: c.nc.LocalAddr().String(),
		Sent: string(c.sent.last), Seen: string(c.seen.last), Err: err}
}
