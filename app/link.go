package app

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"aerie/internal/seqpacket"
	"aerie/internal/tcpconn"
	"aerie/proto"
	"aerie/worker"
)

// maxConnections bounds the connections that a worker process takes; its
// descriptor limit may be lower.
const maxConnections = 1 << 20

// The host is told after tellDelay, or as soon as there are tellBatch connections
// to tell of: what hangs on it is that it can close its descriptors of them and
// count on their places.
const (
	tellDelay = 5 * time.Millisecond
	tellBatch = 64
)

// errNoHost is why a connection cannot be handed back.
var errNoHost = errors.New("no host is connected")

// link is the worker process's end of the hand-over socket. Frames that come
// are read by one goroutine; what the host is to be told is collected and sent
// by another, so that one message tells of many connections.
type link struct {
	p      *inProcess
	logger *slog.Logger
	path   string
	slots  uint32 // connections that this process takes at most

	mu       sync.Mutex // guards below
	log      *os.File   // this process's output; nil once it is in use
	listener *seqpacket.Listener
	conn     *seqpacket.Conn // the host; nil while there is none
	taken    []uint64
	telling  []uint64 // taken ones that are being told
	closed   []uint64
	credit   uint32
	held     uint32 // connections that are here
	armed    bool   // later is going to fire

	pending chan struct{} // a token: there is something to tell
	later   *time.Timer   // puts one there after tellDelay
	drained chan struct{} // closed when the drain frame has come
	once    sync.Once
	done    sync.WaitGroup
	ended   chan struct{}
}

func newLink(p *inProcess, log *os.File) *link {
	l := &link{
		p: p, logger: p.logger, log: log, slots: connectionSlots(),
		pending: make(chan struct{}, 1), drained: make(chan struct{}), ended: make(chan struct{}),
	}
	l.later = time.AfterFunc(tellDelay, l.wake)
	l.later.Stop() // until there is something
	return l
}

// possible reports whether connections can be passed on this system.
func (l *link) possible() bool { return seqpacket.Supported }

// useLogOnce makes the pool's log this process's output, at its first call.
func (l *link) useLogOnce() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.log == nil {
		return nil
	}
	f := l.log
	l.log = nil
	return l.p.stdio.use(f)
}

// open listens for the host on path.
func (l *link) open(path string) error {
	if !l.possible() {
		return nil
	}
	listener, err := seqpacket.Listen(path)
	if err != nil {
		return err
	}
	l.path, l.listener = path, listener
	l.done.Go(func() { l.accept(listener) })
	l.done.Go(l.tell)
	return nil
}

// close ends the link. Connections that have come stay with the server.
func (l *link) close() error {
	l.mu.Lock()
	listener, conn := l.listener, l.conn
	l.listener = nil
	l.mu.Unlock()
	if listener == nil {
		return nil
	}
	close(l.ended)
	l.later.Stop()
	err := listener.Close()
	if conn != nil {
		err = errors.Join(err, conn.Close())
	}
	l.done.Wait()
	return err
}

// accept serves one host after the other: a restarted host connects anew.
func (l *link) accept(listener *seqpacket.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				l.logger.Error("hand-over socket", "error", err)
			}
			return
		}
		if err := l.serve(c); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			l.logger.Warn("hand-over link", "error", err)
		}
	}
}

// serve reads frames until the host is gone.
func (l *link) serve(c *seqpacket.Conn) error {
	defer func() { _ = c.Close() }() // nothing is buffered in it
	buf := make([]byte, proto.MaxFrame)
	first, fds, err := l.receive(c, buf)
	if err != nil {
		return err
	}
	closeAll(fds)
	if first.Type != proto.FrameHello || !sameToken(first.Token, l.p.token) || !l.p.host.obeys(first.Epoch) {
		return errors.New("refused: not from this generation's host")
	}
	if err := l.tellOwned(c); err != nil {
		return err
	}
	l.mu.Lock()
	l.conn = c
	l.credit, l.armed = l.slots-min(l.held, l.slots), false
	l.mu.Unlock()
	l.wake()
	defer func() {
		l.mu.Lock()
		l.conn = nil
		l.mu.Unlock()
	}()
	for {
		f, fds, err := l.receive(c, buf)
		if err != nil {
			return err
		}
		l.handle(f, fds)
	}
}

// receive reads one frame and checks that its descriptors are there.
func (l *link) receive(c *seqpacket.Conn, buf []byte) (proto.Frame, []int, error) {
	for {
		n, fds, err := c.Recv(buf)
		if errors.Is(err, seqpacket.ErrTruncated) {
			// The kernel has dropped the descriptor: this process is at its
			// limit. The host still has its copy only until "taken".
			l.logger.Error("connection lost on its way in: out of descriptors")
			closeAll(fds)
			if f, perr := proto.ParseFrame(buf[:n]); perr == nil && f.Type == proto.FrameConn {
				l.lost(f.Number)
			}
			continue
		}
		if err != nil {
			return proto.Frame{}, nil, err
		}
		f, err := proto.ParseFrame(buf[:n])
		if err == nil && len(fds) != f.Descriptors() {
			err = proto.ErrFrame
		}
		if err != nil {
			closeAll(fds)
			return proto.Frame{}, nil, err
		}
		return f, fds, nil
	}
}

func (l *link) handle(f proto.Frame, fds []int) {
	switch f.Type {
	case proto.FrameConn:
		l.take(f, fds[0])
	case proto.FrameDrain:
		l.once.Do(func() { close(l.drained) })
	case proto.FrameLogs:
		l.useLogs(fds)
	default:
		closeAll(fds)
		l.logger.Error("hand-over socket: unexpected frame", "type", string(rune(f.Type)))
	}
}

// take serves a connection that the host has handed over.
func (l *link) take(f proto.Frame, fd int) {
	raw, err := tcpconn.FromDescriptor(fd, f.Local, f.Remote)
	if err != nil {
		l.logger.Error("take connection", "error", err)
		l.lost(f.Number)
		return
	}
	l.mu.Lock()
	l.held++
	l.taken = append(l.taken, f.Number)
	l.collectedLocked()
	l.mu.Unlock()
	if err := l.p.server.ServeConn(raw, worker.Source{Number: f.Number, Prefix: f.Prefix, Resumed: f.Resumed}); err != nil {
		l.logger.Warn("connection refused", "error", err)
	}
}

// lost tells the host that a connection which it sent is over.
func (l *link) lost(number uint64) {
	l.mu.Lock()
	l.closed = append(l.closed, number)
	l.credit++
	l.collectedLocked()
	l.mu.Unlock()
}

// useLogs puts the files of rotated logs in force.
func (l *link) useLogs(fds []int) {
	if err := l.p.stdio.use(os.NewFile(uintptr(fds[0]), "log")); err != nil {
		l.logger.Error("use rotated log", "error", err)
	}
	if err := l.p.useAccessLog(os.NewFile(uintptr(fds[1]), "access log")); err != nil {
		l.logger.Error("use rotated access log", "error", err)
	}
}

// handBack sends an idle connection to the host.
func (l *link) handBack(c *worker.Conn, unread []byte) error {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		return errNoHost
	}
	raw, err := rawOf(c)
	if err != nil {
		return err
	}
	frame := proto.Frame{Type: proto.FrameBack, Number: c.Number(), Prefix: unread, Resumed: c.Resumed()}
	msg := frame.Append(make([]byte, 0, 16))
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = conn.Send(msg, int(fd)) }); err != nil {
		return err
	}
	return sent
}

// rawOf is the connection's descriptor.
func rawOf(c *worker.Conn) (syscall.RawConn, error) {
	tcp, ok := c.Raw().(syscall.Conn)
	if !ok {
		return nil, errors.New("not a socket")
	}
	return tcp.SyscallConn()
}

// connClosed is the server's word that a connection is over here, be it closed
// or handed back: the host has a slot again.
func (l *link) connClosed(c *worker.Conn, handedBack bool) {
	if c.Number() == 0 {
		return
	}
	l.mu.Lock()
	l.held--
	l.credit++
	if !handedBack {
		l.closed = append(l.closed, c.Number())
	}
	l.collectedLocked()
	l.mu.Unlock()
}

// connClosing is the server's word that it is about to close its descriptor. As
// long as the host has one of its own, that alone would not end the connection.
func (l *link) connClosing(c *worker.Conn) {
	l.mu.Lock()
	untold := slices.Contains(l.taken, c.Number()) || slices.Contains(l.telling, c.Number())
	l.mu.Unlock()
	if raw, ok := c.Raw().(interface{ CloseWrite() error }); ok && untold {
		_ = raw.CloseWrite() // fails if the client has ended the connection
	}
}

// collectedLocked sees to it that the host is told: soon, or at once if there is
// much to tell, or if it has few credits left.
func (l *link) collectedLocked() {
	left := l.slots - min(l.slots, l.held+l.credit)
	switch {
	case len(l.taken)+len(l.closed) >= tellBatch, l.credit > 0 && left < l.slots/4:
		l.wake()
	case !l.armed:
		l.armed = true
		l.later.Reset(tellDelay)
	}
}

func (l *link) wake() {
	select {
	case l.pending <- struct{}{}:
	default: // the teller will see it
	}
}

// tell sends what has collected, until the link is closed.
func (l *link) tell() {
	for {
		select {
		case <-l.pending:
		case <-l.ended:
			return
		}
		l.mu.Lock()
		conn, taken, closed, credit := l.conn, l.taken, l.closed, l.credit
		if conn == nil || len(taken)+len(closed) == 0 && credit == 0 { // a host that comes is told all anew
			l.mu.Unlock()
			continue
		}
		l.taken, l.closed, l.credit, l.armed, l.telling = nil, nil, 0, false, taken
		l.mu.Unlock()
		if err := tellAll(conn, taken, closed, credit); err != nil {
			l.logger.Warn("tell the host", "error", err)
			continue // it still has its descriptors
		}
		l.mu.Lock()
		l.telling = nil
		l.mu.Unlock()
	}
}

// tellAll sends one report, or several if there is more to tell than one holds.
func tellAll(c *seqpacket.Conn, taken, closed []uint64, credit uint32) error {
	for first := true; first || len(taken)+len(closed) > 0; first = false {
		f := proto.Frame{Type: proto.FrameReport, Credit: credit}
		credit = 0
		n := min(len(taken), proto.MaxNumbers)
		f.Taken, taken = taken[:n], taken[n:]
		n = min(len(closed), proto.MaxNumbers-n)
		f.Closed, closed = closed[:n], closed[n:]
		if err := c.Send(f.Append(make([]byte, 0, 64))); err != nil {
			return err
		}
	}
	return nil
}
