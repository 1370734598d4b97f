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
// not lost: not one of their bytes was read.
type link struct {
	conn   *seqpacket.Conn
	logger *slog.Logger
	owner  Owner
	ready  chan struct{} // closed by the first credit
	closed chan struct{} // closed when the worker has closed its end, or died

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

// dialLink connects to the worker's socket and proves to be its host.
func dialLink(path string, uid int, token string, owner Owner, logger *slog.Logger) (*link, error) {
	c, err := seqpacket.DialUser(path, uid)
	if err != nil {
		return nil, fmt.Errorf("connect to hand-over socket: %w", err)
	}
	hello := proto.Frame{Type: proto.FrameHello, Token: token}
	if err := c.Send(hello.Append(nil)); err != nil {
		return nil, errors.Join(fmt.Errorf("greet worker: %w", err), c.Close())
	}
	return &link{
		conn: c, logger: logger, owner: owner,
		ready: make(chan struct{}), closed: make(chan struct{}), sent: map[uint64]*Client{},
	}, nil
}

// handOver sends the connection to the worker. It never waits: ErrNotTaken if it
// would have to.
func (l *link) handOver(c *Client) error {
	if err := identify(c); err != nil {
		return err
	}
	frame := proto.Frame{Type: proto.FrameConn, Number: c.Number, Resumed: c.Resumed, Prefix: c.Prefix}
	msg := frame.Append(make([]byte, 0, 16))
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
// there is no room.
func (l *link) logs(log, access *os.File) error {
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
				l.over([]uint64{f.Number})
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
		l.taken(f.Taken)
		l.over(f.Closed)
		l.grant(int(f.Credit))
	case proto.FrameBack:
		l.back(f, fds[0])
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

// taken closes the host's descriptors of connections that have arrived.
func (l *link) taken(numbers []uint64) {
	for _, n := range numbers {
		l.mu.Lock()
		c := l.sent[n]
		var conn net.Conn
		if c != nil {
			conn, c.Conn = c.Conn, nil
		}
		l.mu.Unlock()
		if conn != nil {
			_ = conn.Close() // the worker has the connection now; this is only a descriptor
		}
	}
}

// over forgets connections that have ended. One that had not arrived yet was
// lost on its way in, and is still whole here.
func (l *link) over(numbers []uint64) {
	for _, n := range numbers {
		l.mu.Lock()
		c := l.sent[n]
		delete(l.sent, n)
		l.mu.Unlock()
		switch {
		case c == nil:
		case c.Conn != nil:
			c.Refused = true
			l.owner.Returned(c)
		default:
			l.owner.Ended(c)
		}
	}
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
	conn, err := connOf(fd, c.cookie)
	if c.Conn != nil {
		_ = c.Conn.Close() // "taken" was overtaken; it is the same socket
		c.Conn = nil
	}
	if err != nil {
		l.logger.Error("connection returned by worker", "error", err)
		l.owner.Ended(c)
		return
	}
	c.Conn, c.Prefix, c.Resumed = conn, f.Prefix, f.Resumed
	l.owner.Returned(c)
}

// orphans gives up the link after the worker process has ended: connections
// that it never took are returned, the others have ended with it. What it sent
// before its end is read first: connections may still be on their way back.
func (l *link) orphans() {
	<-l.closed
	l.mu.Lock()
	sent := l.sent
	l.sent, l.draining = map[uint64]*Client{}, true
	l.mu.Unlock()
	for _, c := range sent {
		if c.Conn != nil {
			l.owner.Returned(c)
		} else {
			l.owner.Ended(c)
		}
	}
}
