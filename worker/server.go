package worker

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"aerie/proto"
)

// ErrServerClosed is what a Server refuses new connections with after Close.
var ErrServerClosed = errors.New("worker: server closed")

// Options of a Server. Logger is required.
type Options struct {
	Limits      Limits
	Concurrency Concurrency
	Logger      *slog.Logger

	// HandBack, if not nil, takes over a plain HTTP/1.1 connection on which
	// the server waits for a request and which was asked back. unread are the
	// bytes (3 at most) of the next request that the server has read already.
	// On success the server only closes its own descriptor of the connection;
	// on an error it goes on serving it. It is called with no lock held, from
	// many goroutines.
	HandBack func(c *Conn, unread []byte) error

	// Relayed, if not nil, is asked for the record of each request on a
	// connection of a relaying process. It must remove the record from the
	// header and verify it; an error refuses the request.
	Relayed func(c *Conn, h http.Header) (proto.Record, error)

	// Placed, if not nil, is told of the site of a connection's first request,
	// and when that changes. An error answers the request with 503.
	Placed func(c *Conn, s *Site) error

	// Closing, if not nil, is told of each connection before the server closes
	// its descriptor, unless it is handed back. It must not block.
	Closing func(c *Conn)

	// Closed, if not nil, is told of each connection that the server is done
	// with: closed, hijacked and closed, or handed back. It must not block.
	Closed func(c *Conn, handedBack bool)
}

// Source says where a connection comes from. The zero value is a client's
// connection of which nothing is known but itself.
type Source struct {
	Number  uint64 // the host's number of the connection
	Prefix  []byte // bytes that come before those that are still in the socket
	Resumed bool   // it waits between two requests: the idle time-out holds
	Relay   bool   // it carries requests that another process relays to this one
}

// Server serves HTTP/1.1 on connections from any source: listeners, descriptors
// handed over by the host, relay sockets. All methods are safe for concurrent
// use.
type Server struct {
	opts   Options
	http   *http.Server
	gate   *Gate // of Bounded
	table  atomic.Pointer[Table]
	limits atomic.Pointer[Limits]
	queue  connQueue
	clock  atomic.Int64 // coarse time, nanoseconds; written by the heartbeat

	closing  chan struct{}
	beatDone chan struct{}
	serving  chan struct{} // closed when net/http accepts no more
	wake     chan struct{} // a token wakes the heartbeat
	scratch  []*Conn       // the heartbeat's own

	draining  atomic.Bool
	finishing atomic.Bool // no connection is handed back any more

	mu        sync.Mutex // guards below
	conns     map[*Conn]struct{}
	gates     map[*Gate]struct{} // of NewGate
	listeners map[net.Listener]Source
	accepts   sync.WaitGroup
	left      chan struct{} // closed at the next end of a connection or request; nil while nobody waits
	closed    bool
}

// NewServer returns a Server that serves from now on what it is given. Until
// SetTable it answers 503. The caller closes it.
func NewServer(opts Options) *Server {
	s := &Server{
		opts:      opts,
		closing:   make(chan struct{}),
		beatDone:  make(chan struct{}),
		serving:   make(chan struct{}),
		wake:      make(chan struct{}, 1),
		conns:     map[*Conn]struct{}{},
		gates:     map[*Gate]struct{}{},
		listeners: map[net.Listener]Source{},
	}
	s.limits.Store(&opts.Limits)
	s.queue.conns = make(chan *Conn)
	s.queue.closed = s.closing
	s.clock.Store(time.Now().UnixNano())
	s.gate = newGate(opts.Concurrency, s.clock.Load, s.requestLeft)
	s.http = &http.Server{
		Handler:        http.HandlerFunc(s.route),
		MaxHeaderBytes: opts.Limits.MaxHeadBytes,
		ConnState:      func(c net.Conn, st http.ConnState) { c.(*Conn).onState(st) },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ErrorLog: log.New(errorLog{opts.Logger}, "", 0),
	}
	go s.heartbeat()
	go func() {
		defer close(s.serving)
		_ = s.http.Serve(&s.queue) // ends when the queue is closed; there is nobody else to tell
	}()
	return s
}

// ServeConn serves raw from now on and closes it at the end. It does not
// block for long. After Close it closes raw and returns ErrServerClosed.
func (s *Server) ServeConn(raw net.Conn, from Source) error {
	now := time.Now().UnixNano()
	c := &Conn{
		raw: raw, server: s, number: from.Number, prefix: from.Prefix, relay: from.Relay, resumed: from.Resumed,
		local: AddrPort(raw.LocalAddr()), remote: AddrPort(raw.RemoteAddr()), since: now, fresh: true,
	}
	c.held.L = &c.mu
	s.clock.Store(now) // the heartbeat may be asleep
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(ErrServerClosed, raw.Close())
	}
	s.conns[c] = struct{}{}
	first := len(s.conns) == 1
	s.mu.Unlock()
	if first {
		select {
		case s.wake <- struct{}{}:
		default: // it is awake
		}
	}
	if s.draining.Load() && !s.finishing.Load() && !c.relay {
		c.askBack()
	}
	select {
	case s.queue.conns <- c:
		return nil
	case <-s.closing:
		return errors.Join(ErrServerClosed, c.Close())
	}
}

// Listen serves every connection that l accepts, until l or the server is
// closed. It does not block; the server closes l in the end.
func (s *Server) Listen(l net.Listener, from Source) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(ErrServerClosed, l.Close())
	}
	s.listeners[l] = from
	s.accepts.Go(func() { s.accept(l, from) })
	return nil
}

// accept runs until l is closed. Lack of descriptors or memory passes, so it
// waits a little and goes on, as net/http does.
func (s *Server) accept(l net.Listener, from Source) {
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	var pause time.Duration
	for {
		raw, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.opts.Logger.Warn("accept", "listener", l.Addr(), "error", err, "retry_in", pause)
			select {
			case <-time.After(pause):
				continue
			case <-s.closing:
				return
			}
		}
		pause = 0
		if s.ServeConn(raw, from) != nil {
			return
		}
	}
}

// SetTable puts a routing table in force for every request that begins from
// now on.
func (s *Server) SetTable(t *Table) { s.table.Store(t) }

// SetLimits changes the time-outs, for connections that are open too.
// MaxHeadBytes stays as it was.
func (s *Server) SetLimits(l Limits) { s.limits.Store(&l) }

// SetConcurrency changes the bounds for requests that come from now on.
func (s *Server) SetConcurrency(c Concurrency) { s.gate.Configure(c) }

// Bounded returns next behind the server's own gate.
func (s *Server) Bounded(next http.Handler) http.Handler { return s.gate.Wrap(next) }

// Waiters are the first of the requests that wait in the server's own gate, in
// order, most at most.
func (s *Server) Waiters(most int) []Waiter { return s.gate.Waiters(most) }

// NewGate returns a gate of its own for a part of the server's requests. It is
// in use until RemoveGate.
func (s *Server) NewGate(c Concurrency) *Gate {
	g := newGate(c, s.clock.Load, s.requestLeft)
	s.mu.Lock()
	s.gates[g] = struct{}{}
	s.mu.Unlock()
	return g
}

// RemoveGate forgets a gate; requests that have passed it go on.
func (s *Server) RemoveGate(g *Gate) {
	s.mu.Lock()
	delete(s.gates, g)
	s.mu.Unlock()
}

// beatGates makes streams of long requests, and reports whether no request runs
// or waits in any gate.
func (s *Server) beatGates(now int64) bool {
	s.mu.Lock()
	gates := slices.AppendSeq([]*Gate{s.gate}, maps.Keys(s.gates))
	s.mu.Unlock()
	idle := true
	for _, g := range gates {
		g.beat(now)
		idle = idle && g.idle()
	}
	return idle
}

// Drain asks for every connection back. Those that cannot be handed back end
// with their next answer, which says "Connection: close"; until then they stay
// open, since a client may be sending at this moment (RFC 9112, 9.6). Nothing
// in progress is disturbed. Listeners are closed, but those of relaying processes.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.mu.Lock()
	for l, from := range s.listeners {
		if !from.Relay { // a request that was begun elsewhere may still be on its way here
			_ = l.Close() // a listener that is gone already accepts nothing either
		}
	}
	s.notifyLocked() // until now nobody told Wait of requests that ended
	s.mu.Unlock()
	if s.opts.HandBack == nil || s.finishing.Load() {
		return
	}
	for _, c := range s.all() {
		if !c.relay {
			c.askBack()
		}
	}
}

// Finish is Drain where nobody takes connections back: each ends with its next
// answer, and those whose clients are quiet for a moment are closed by the heartbeat.
// Those of relaying processes stay: a request may be on its way on one.
func (s *Server) Finish() {
	s.finishing.Store(true)
	s.Drain()
}

// Wait returns nil when no client connection is left, and no request on any
// other or in any gate; or the cause of ctx. It is of use after Drain.
func (s *Server) Wait(ctx context.Context) error {
	for {
		changed, busy := s.changed()
		if !busy {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// changed returns a channel that is closed at the next end of a connection or
// request, and whether there is still what Wait waits for.
func (s *Server) changed() (<-chan struct{}, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == nil {
		s.left = make(chan struct{})
	}
	for c := range s.conns {
		if !c.relay || c.busy() {
			return s.left, true
		}
	}
	for g := range s.gates {
		if !g.idle() {
			return s.left, true
		}
	}
	return s.left, !s.gate.idle()
}

// Close ends every connection and the server, and waits until what it started
// has ended. Handlers of requests, and with them the goroutines of connections,
// end by themselves when they find their connection closed.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for l := range s.listeners {
		_ = l.Close() // as in Drain
	}
	s.mu.Unlock()
	close(s.closing)
	s.accepts.Wait()
	err := s.http.Close()
	for _, c := range s.all() { // those that are hijacked, or not yet net/http's
		_ = c.Close() // they are cut, whatever that says
	}
	<-s.serving
	<-s.beatDone
	return err
}

// Conns are the connections that the server has, but those that it has handed
// back or is handing back.
func (s *Server) Conns() []*Conn {
	return slices.DeleteFunc(s.all(), func(c *Conn) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.phase == phaseGone
	})
}

// all is a list of the connections.
func (s *Server) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

// forget is called when a connection's descriptor is closed.
func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	_, known := s.conns[c]
	delete(s.conns, c)
	s.notifyLocked()
	s.mu.Unlock()
	if known && s.opts.Closed != nil {
		c.mu.Lock()
		back := c.phase == phaseGone
		c.mu.Unlock()
		s.opts.Closed(c, back)
	}
}

// requestLeft tells Wait of the end of a request, while somebody may be waiting.
func (s *Server) requestLeft() {
	if s.draining.Load() {
		s.mu.Lock()
		s.notifyLocked()
		s.mu.Unlock()
	}
}

func (s *Server) notifyLocked() {
	if s.left != nil {
		close(s.left)
		s.left = nil
	}
}

// Stats are a server's figures.
type Stats struct {
	Requests    uint64        // that have come to the gate
	Finished    uint64        // that have run and ended
	Active      int           // that run
	Queued      int           // that wait for a slot
	Streams     int           // upgraded and long ones
	Oldest      time.Duration // age of the oldest that runs and is no stream
	Connections int           // clients' connections
}

// Stats returns a snapshot.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	n := 0
	for c := range s.conns {
		if !c.relay {
			n++
		}
	}
	s.mu.Unlock()
	st := s.gate.Stats()
	st.Connections = n
	return st
}

// connQueue is the listener that net/http accepts from.
type connQueue struct {
	conns  chan *Conn
	closed <-chan struct{}
}

func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *connQueue) Close() error   { return nil }
func (q *connQueue) Addr() net.Addr { return &net.TCPAddr{} }

// errorLog sends what net/http logs by itself to the server's log.
type errorLog struct{ logger *slog.Logger }

func (e errorLog) Write(p []byte) (int, error) {
	e.logger.Warn("http", "message", string(p))
	return len(p), nil
}

// AddrPort is the address of a TCP connection, unmapped; the zero value for
// other kinds.
func AddrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
