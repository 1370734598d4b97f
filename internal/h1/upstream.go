package h1

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Upstream is one server that requests are sent to, with its idle connections.
// All fields but Dial may be left zero; none may change after the first
// Exchange. Its methods are safe for concurrent use.
type Upstream struct {
	// Dial opens a connection. ctx has the values of the request's context,
	// but ends with DialTimeout only.
	Dial func(ctx context.Context) (net.Conn, error)

	DialTimeout       time.Duration // bounds Dial; default 10 s
	MaxIdle           int           // idle connections kept; default 256
	IdleTimeout       time.Duration // how long one is kept; default 4 s, because Node closes after 5 s
	MaxResponseHeader int           // bytes of a response head, and of its trailers; default 64 KiB
	MaxHeaderCount    int           // fields of either; default 256
	ContinueTimeout   time.Duration // how long a client's Expect: 100-continue waits for the upstream's word; default 1 s

	exchanges sync.Pool // of *exchange
	pumps     sync.Pool // of *[]byte, for request bodies

	active  atomic.Int64
	dialed  atomic.Uint64
	reused  atomic.Uint64
	retried atomic.Uint64

	mu     sync.Mutex
	idle   []*conn     // guarded by mu; the last one was used last
	sweep  *time.Timer // guarded by mu; nil until a connection is idle for the first time
	armed  bool        // guarded by mu: sweep is going to fire
	closed bool        // guarded by mu
}

// The defaults of Upstream's fields.
const (
	defaultDialTimeout       = 10 * time.Second
	defaultMaxIdle           = 256
	defaultIdleTimeout       = 4 * time.Second
	defaultMaxResponseHeader = 64 << 10
	defaultMaxHeaderCount    = 256
	defaultContinueTimeout   = time.Second
)

// DialUnix returns a Dial that connects to the unix socket at path.
func DialUnix(path string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// Field is one header field.
type Field struct {
	Name  string // in canonical form
	Value string
}

// Request is one request to send.
type Request struct {
	Inbound *http.Request // method, header, body and context; its body is read but not closed
	Target  string        // the request target as it is sent, not escaped again
	Host    string        // the Host field

	// Set are fields that replace all inbound ones of the same name.
	Set []Field

	// Drop says of an inbound field or trailer that it is not sent. It gets
	// the canonical name with '-' for '_'. It may be called from another
	// goroutine while Exchange runs. Nil drops nothing.
	Drop func(name string) bool

	// Buffered says that the whole body can be read without blocking. If it
	// is of known length and at most 32 KiB, it is sent together with the
	// head and no goroutine is used for it.
	Buffered bool
}

// Stats are an upstream's figures.
type Stats struct {
	Active  int    // exchanges running now
	Idle    int    // idle connections
	Dialed  uint64 // connections opened
	Reused  uint64 // requests sent on a connection that had served another one
	Retried uint64 // requests sent a second time
}

// Stats is a snapshot. It does not block.
func (u *Upstream) Stats() Stats {
	u.mu.Lock()
	idle := len(u.idle)
	u.mu.Unlock()
	return Stats{
		Active:  int(u.active.Load()),
		Idle:    idle,
		Dialed:  u.dialed.Load(),
		Reused:  u.reused.Load(),
		Retried: u.retried.Load(),
	}
}

// CloseIdle closes the idle connections. Those in use are kept when they
// become idle.
func (u *Upstream) CloseIdle() {
	u.mu.Lock()
	idle := u.idle
	u.idle = nil
	u.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// Close closes the idle connections and refuses further exchanges. Those that
// are running go on, and their connections are closed after them. Repeatable.
func (u *Upstream) Close() {
	u.mu.Lock()
	u.closed = true
	if u.sweep != nil {
		u.sweep.Stop()
	}
	u.mu.Unlock()
	u.CloseIdle()
}

// take returns the idle connection that was used last and is still good, or
// nil if there is none.
func (u *Upstream) take() (*conn, error) {
	for {
		u.mu.Lock()
		if u.closed {
			u.mu.Unlock()
			return nil, ErrClosed
		}
		n := len(u.idle)
		if n == 0 {
			u.mu.Unlock()
			return nil, nil
		}
		c := u.idle[n-1]
		u.idle[n-1] = nil
		u.idle = u.idle[:n-1]
		u.mu.Unlock()

		if !c.expired(time.Now()) && c.quiet() {
			u.reused.Add(1)
			c.reused = true
			return c, nil
		}
		c.Close()
	}
}

// dial opens a new connection. The end of the request's context does not end
// it: the client may have closed only its sending side.
func (u *Upstream) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(u.DialTimeout, defaultDialTimeout))
	defer cancel()
	nc, err := u.Dial(ctx)
	if err != nil {
		return nil, err
	}
	u.dialed.Add(1)
	return newConn(nc), nil
}

// put makes c idle for at most limit, or IdleTimeout if that is shorter.
func (u *Upstream) put(c *conn, limit time.Duration) {
	timeout := cmp.Or(u.IdleTimeout, defaultIdleTimeout)
	c.idleUntil = time.Now().Add(min(limit, timeout))

	u.mu.Lock()
	full := u.closed || len(u.idle) >= cmp.Or(u.MaxIdle, defaultMaxIdle)
	if !full {
		u.idle = append(u.idle, c)
		if !u.armed {
			u.armed = true
			if u.sweep == nil {
				u.sweep = time.AfterFunc(timeout, u.sweepIdle)
			} else {
				u.sweep.Reset(timeout)
			}
		}
	}
	u.mu.Unlock()
	if full {
		c.Close()
	}
}

// sweepIdle closes the connections that have been idle for too long, so that
// an upstream without traffic holds none.
func (u *Upstream) sweepIdle() {
	now := time.Now()
	var expired []*conn
	u.mu.Lock()
	kept := u.idle[:0]
	for _, c := range u.idle {
		if c.expired(now) {
			expired = append(expired, c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(u.idle[len(kept):])
	u.idle = kept
	u.armed = len(kept) > 0 && !u.closed
	if u.armed {
		u.sweep.Reset(cmp.Or(u.IdleTimeout, defaultIdleTimeout))
	}
	u.mu.Unlock()
	for _, c := range expired {
		c.Close()
	}
}
