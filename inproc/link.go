package inproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"

	"aerie/internal/seqpacket"
	"aerie/proto"
)

// link is the host's end of a worker process's hand-over socket. A connection
// that was sent stands in sent until the worker has said that it is over or has
// sent it back. Until the worker has said that it has it, the host keeps its own
// descriptor, so that the connections on their way to a process that dies are
// not lost. The worker says it late, and may have begun to read: whether it has,
// the kernel knows.
type link struct {
	conn   *seqpacket.Conn
	logger *slog.Logger
	owner  Owner
	owned  func(proto.Owned) *Client // of greeting
	ready  chan struct{}             // closed by the first credit
	told   chan struct{}             // closed when the worker has told which connections it has already
	closed chan struct{}             // closed when the worker has closed its end, or died

	mu       sync.Mutex // guards below
	sent     map[uint64]*Client
	credit   int
	draining bool // nothing more is handed over
	marked   bool // the drain marker is sent, or being sent
	got      bool // the first credit has come
}

// Owner takes the connections that leave a worker process. Its methods are
// called from the link's goroutine and must not block.
type Owner interface {
	// Returned gives a live connection: the worker has handed it back, or
	// never took it. The owner closes it.
	Returned(c *Client)
	// Ended says that the connection is over.
	Ended(c *Client)
}

// greeting is how to reach a worker process, and what proves to be its host.
type greeting struct {
	path  string // of its hand-over socket
	pid   int    // of the process that must listen there
	uid   int    // of the user as whom it must run; -1 is any
	epoch uint64
	token string
	owned func(proto.Owned) *Client // makes known what the worker has already, or returns nil; nil if it can have nothing
}

// dialLink connects to the worker's socket and proves to be its host.
func dialLink(g greeting, owner Owner, logger *slog.Logger) (*link, error) {
	c, err := seqpacket.DialUser(g.path, g.uid)
	if err != nil {
		return nil, fmt.Errorf("connect to hand-over socket: %w", err)
	}
	pid, err := c.PeerPID()
	if err == nil && pid != g.pid {
		err = fmt.Errorf("process %d listens on it, not %d", pid, g.pid)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hand-over socket: %w", err), c.Close())
	}
	hello := proto.Frame{Type: proto.FrameHello, Epoch: g.epoch, Token: g.token}
	if err := c.Send(hello.Append(nil)); err != nil {
		return nil, errors.Join(fmt.Errorf("greet worker: %w", err), c.Close())
	}
	return &link{
		conn: c, logger: logger, owner: owner, owned: g.owned,
		ready: make(chan struct{}), told: make(chan struct{}), closed: make(chan struct{}), sent: map[uint64]*Client{},
	}, nil
}

// handOver sends the connection to the worker. It never waits: ErrNotTaken if it
// would have to.
func (l *link) handOver(c *Client) error {
	c.taken, c.consumed = false, 0
	if c.Resumed || len(c.Prefix) > 0 {
		var err error
		if c.consumed, err = consumed(c.Conn); err != nil {
			return fmt.Errorf("%w: %w", ErrNotTaken, err)
		}
	}
	frame := proto.Frame{Type: proto.FrameConn, Number: c.Number, Resumed: c.Resumed, Local: c.Local, Remote: c.Remote, Prefix: c.Prefix}
	msg := frame.Append(make([]byte, 0, 64))
	l.mu.Lock() // held while sending, which does not wait, so that nothing is sent behind the drain marker
	defer l.mu.Unlock()
	if l.draining || l.credit <= 0 {
		return ErrNotTaken
	}
	err := withDescriptor(c.Conn, func(fd int) error { return l.conn.TrySend(msg, fd) })
	if err != nil {
		if errors.Is(err, seqpacket.ErrFull) {
			return ErrNotTaken
		}
		return fmt.Errorf("%w: %w", ErrNotTaken, err)
	}
	l.credit--
	l.sent[c.Number] = c
	return nil
}

// drain sends the marker behind which no connection comes. It waits for room, but
// no longer than until ctx ends: a worker that has stopped reading makes none.
func (l *link) drain(ctx context.Context) error {
	l.mu.Lock()
	before := l.marked
	l.draining, l.marked = true, true
	l.mu.Unlock()
	if before {
		return nil
	}
	frame := proto.Frame{Type: proto.FrameDrain}
	return l.conn.SendContext(ctx, frame.Append(nil))
}

// logs passes the files of rotated logs. It does not wait: seqpacket.ErrFull if
// there is no room, or the drain marker waits for it.
func (l *link) logs(log, access *os.File) error {
	l.mu.Lock()
	marked := l.marked
	l.mu.Unlock()
	if marked {
		return seqpacket.ErrFull
	}
	frame := proto.Frame{Type: proto.FrameLogs}
	return l.conn.TrySend(frame.Append(nil), int(log.Fd()), int(access.Fd()))
}

// gone reports whether nothing can be sent or received any more.
func (l *link) gone() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// connections is how many connections the worker has, or is being sent.
func (l *link) connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent)
}

// serve reads what the worker tells until its end of the socket is closed, or
// it tells what cannot be: nothing more is sent to such a worker.
func (l *link) serve() {
	defer close(l.closed)
	defer func() { _ = l.conn.Close() }() // nothing is buffered in it
	buf := make([]byte, proto.MaxFrame)
	for {
		n, fds, err := l.conn.Recv(buf)
		if errors.Is(err, seqpacket.ErrTruncated) {
			closeFDs(fds)
			l.logger.Error("connection lost on its way back: out of descriptors")
			if f, err := proto.ParseFrame(buf[:n]); err == nil && f.Type == proto.FrameBack {
				l.report([]uint64{f.Number}, []uint64{f.Number})
			}
			continue
		}
		if err != nil {
			closeFDs(fds)
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				l.logger.Warn("hand-over socket", "error", err)
			}
			return
		}
		f, err := proto.ParseFrame(buf[:n])
		if err == nil && len(fds) != f.Descriptors() {
			err = proto.ErrFrame
		}
		if err != nil {
			closeFDs(fds)
			l.logger.Error("hand-over socket", "error", err)
			return
		}
		l.handle(f, fds)
	}
}

func (l *link) handle(f proto.Frame, fds []int) {
	switch f.Type {
	case proto.FrameReport:
		l.report(f.Taken, f.Closed)
		l.grant(int(f.Credit))
	case proto.FrameBack:
		l.back(f, fds[0])
	case proto.FrameOwned:
		l.learn(f)
	default:
		closeFDs(fds)
		l.logger.Error("hand-over socket: unexpected frame", "type", string(rune(f.Type)))
	}
}

// grant adds credits; the first ones make the link ready.
func (l *link) grant(n int) {
	l.mu.Lock()
	l.credit += n
	first := !l.got && n > 0
	l.got = l.got || first
	l.mu.Unlock()
	if first {
		close(l.ready)
	}
}

// report notes which connections have arrived and which are over. One that is
// over and had not arrived was lost on its way in, and is still whole here.
func (l *link) report(taken, closed []uint64) {
	var arrived, over []*Client
	l.mu.Lock()
	for _, n := range taken {
		if c := l.sent[n]; c != nil {
			c.taken = true
			arrived = append(arrived, c)
		}
	}
	for _, n := range closed {
		if c := l.sent[n]; c != nil {
			delete(l.sent, n)
			over = append(over, c)
		}
	}
	l.mu.Unlock()
	for _, c := range over {
		if !c.taken {
			c.Refused = true
			l.owner.Returned(c)
			continue
		}
		l.ended(c)
	}
	for _, c := range arrived {
		if c.Conn != nil {
			l.letGo(c)
		}
	}
}

// ended closes what the host has of a connection that is over.
func (l *link) ended(c *Client) {
	if c.Conn != nil {
		_ = c.Conn.Close() // the worker is done with the connection
		c.Conn = nil
	}
	l.owner.Ended(c)
}

// letGo closes the host's descriptor of a connection that the worker has, and
// keeps the name by which it is known again.
func (l *link) letGo(c *Client) {
	var err error
	if c.cookie, err = cookieOf(c.Conn); err != nil {
		l.logger.Error("hand over connection", "error", err) // it will not be believed when it comes back
	}
	_ = c.Conn.Close() // the worker has the connection now; this is only a descriptor
	c.Conn = nil
}

// back takes a connection that the worker returns. The descriptor is believed
// only if the kernel says that it is the very socket that was sent: a worker
// could send any.
func (l *link) back(f proto.Frame, fd int) {
	l.mu.Lock()
	c := l.sent[f.Number]
	delete(l.sent, f.Number)
	unasked := !l.draining
	l.draining = true
	l.mu.Unlock()
	if unasked {
		l.logger.Warn("the worker returns its connections unasked: it gets no more")
	}
	if c == nil {
		closeFDs([]int{fd})
		l.logger.Error("a worker returned a connection that it did not have", "number", f.Number)
		return
	}
	if c.Conn != nil {
		l.letGo(c) // "taken" was overtaken
	}
	conn, err := connOf(fd, c)
	if err != nil {
		l.logger.Error("connection returned by worker", "error", err)
		l.owner.Ended(c)
		return
	}
	c.Conn, c.Prefix, c.Resumed = conn, f.Prefix, f.Resumed
	l.owner.Returned(c)
}

// orphans gives up the link after the worker process has ended: connections of
// which it has read nothing are returned, the others have ended with it. What it
// sent before its end is read first: connections may still be on their way back.
func (l *link) orphans() {
	<-l.closed
	l.mu.Lock()
	sent := l.sent
	l.sent, l.draining = map[uint64]*Client{}, true
	l.mu.Unlock()
	for _, c := range sent {
		if c.Conn != nil && untouched(c) {
			l.owner.Returned(c)
		} else {
			l.ended(c)
		}
	}
}

// untouched reports whether the worker process has read nothing from the
// connection, of which the host still has its descriptor.
func untouched(c *Client) bool {
	n, err := consumed(c.Conn)
	return err == nil && n == c.consumed
}
