package inproc

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"aerie/internal/seqpacket"
	"aerie/proto"
	"aerie/worker"
)

// fake is the worker's end of a link, steered by a test.
type fake struct {
	t    *testing.T
	conn *seqpacket.Conn
	got  map[uint64]int // descriptors of the connections that came
}

// newLink returns a link that is served, and the worker at its other end.
func newLink(t *testing.T) (*link, *fake, *owner, *lines) {
	t.Helper()
	return newLinkTo(t, nil)
}

// newLinkTo is newLink to a worker that may have connections already.
func newLinkTo(t *testing.T, owned func(proto.Owned) *Client) (*link, *fake, *owner, *lines) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ae")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "h1")
	listener, err := seqpacket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	o, log := newOwner(), &lines{}
	g := greeting{path: path, pid: os.Getpid(), uid: os.Getuid(), epoch: 3, token: "secret", owned: owned}
	l, err := dialLink(g, o, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	c, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go l.serve()
	w := &fake{t: t, conn: c, got: map[uint64]int{}}
	t.Cleanup(func() {
		_ = c.Close() // most tests have done so
		l.orphans()
		for _, fd := range w.got {
			closeFDs([]int{fd})
		}
		if err := errors.Join(listener.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if f, _ := w.recv(); f.Type != proto.FrameHello || f.Token != "secret" || f.Epoch != 3 {
		t.Fatalf("first frame %+v", f)
	}
	return l, w, o, log
}

// recv reads one frame and the descriptor that came with it, or -1.
func (w *fake) recv() (proto.Frame, int) {
	w.t.Helper()
	buf := make([]byte, proto.MaxFrame)
	n, fds, err := w.conn.Recv(buf)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := proto.ParseFrame(buf[:n])
	if err != nil || len(fds) != f.Descriptors() {
		w.t.Fatalf("frame %+v with descriptors %v, %v", f, fds, err)
	}
	if len(fds) == 0 {
		return f, -1
	}
	if f.Type == proto.FrameConn {
		w.got[f.Number] = fds[0]
	}
	return f, fds[0]
}

func (w *fake) send(f proto.Frame, fds ...int) {
	w.t.Helper()
	if err := w.conn.Send(f.Append(nil), fds...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *fake) back(number uint64, prefix string) {
	w.t.Helper()
	fd := w.got[number]
	delete(w.got, number)
	w.send(proto.Frame{Type: proto.FrameBack, Number: number, Prefix: []byte(prefix), Resumed: true}, fd)
	closeFDs([]int{fd})
}

// grant gives the link credits and waits until it has them.
func (w *fake) grant(l *link, n int) {
	w.t.Helper()
	w.send(proto.Frame{Type: proto.FrameReport, Credit: uint32(n)})
	eventually(w.t, "credit", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.credit >= n })
}

// die is the end of the worker process.
func (w *fake) die() {
	w.t.Helper()
	for n, fd := range w.got {
		closeFDs([]int{fd})
		delete(w.got, n)
	}
	if err := w.conn.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// tcp returns both ends of a TCP connection: the host's and the client's.
func tcp(t *testing.T) (host, client *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // nothing was written
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), s.Close() }) // most tests have done so
	if err := errors.Join(c.SetDeadline(time.Now().Add(patience)), s.SetReadDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

// clientOf is a client of which the host knows what it has accepted.
func clientOf(c net.Conn, number uint64) *Client {
	return &Client{Conn: c, Number: number, Local: worker.AddrPort(c.LocalAddr()), Remote: worker.AddrPort(c.RemoteAddr())}
}

// newClient returns a client that has said something, and its own end.
func newClient(t *testing.T, number uint64) (*Client, *net.TCPConn) {
	t.Helper()
	s, c := tcp(t)
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	return clientOf(s, number), c
}

// whole checks that the connection lives and none of its bytes was lost.
func whole(t *testing.T, c *Client) {
	t.Helper()
	buf := make([]byte, 5)
	if c.Conn == nil {
		t.Fatalf("client %d has no connection", c.Number)
	}
	if err := c.Conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c.Conn, buf); err != nil || string(buf) != "hello" {
		t.Errorf("client %d: %q, %v", c.Number, buf, err)
	}
	if err := c.Conn.Close(); err != nil {
		t.Error(err)
	}
}

func handOver(t *testing.T, l *link, c *Client) {
	t.Helper()
	if err := l.handOver(c); err != nil {
		t.Fatal(err)
	}
}

func TestCredits(t *testing.T) {
	l, w, _, _ := newLink(t)
	a, _ := newClient(t, 1)
	if err := l.handOver(a); !errors.Is(err, ErrNotTaken) || a.Conn == nil {
		t.Fatalf("without a credit: %v", err)
	}
	select {
	case <-l.ready:
		t.Fatal("ready before the first credit")
	default:
	}
	w.grant(l, 1)
	<-l.ready
	handOver(t, l, a)
	b, _ := newClient(t, 2)
	if err := l.handOver(b); !errors.Is(err, ErrNotTaken) {
		t.Fatalf("the credit was used: %v", err)
	}
	whole(t, b)
	if f, _ := w.recv(); f.Type != proto.FrameConn || f.Number != 1 {
		t.Fatalf("%+v", f)
	}
	if n := l.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	w.send(proto.Frame{Type: proto.FrameReport, Closed: []uint64{1}, Taken: []uint64{1}, Credit: 1})
	eventually(t, "the end of connection 1", func() bool { return l.connections() == 0 })
	c, _ := newClient(t, 3)
	handOver(t, l, c)
}

func TestFullSocketLeavesTheConnection(t *testing.T) {
	l, w, o, _ := newLink(t)
	w.grant(l, 100_000)
	c, _ := newClient(t, 0)
	sent := 0
	var err error
	for ; sent < 100_000; sent++ { // the same connection under many numbers: the kernel counts messages
		if err = l.handOver(clientOf(c.Conn, uint64(sent+1))); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrNotTaken) || sent < 10 {
		t.Fatalf("after %d: %v", sent, err)
	}
	if l.connections() != sent {
		t.Errorf("%d sent, %d noted", sent, l.connections())
	}
	whole(t, c)
	w.die()
	l.orphans()
	o.await(t, sent)
}

// TestDrainMarkerIsLast: what was handed over before the drain comes before the
// marker, and nothing comes behind it.
func TestDrainMarkerIsLast(t *testing.T) {
	l, w, _, _ := newLink(t)
	w.grant(l, 1_000_000)
	stop := make(chan struct{})
	room := make(chan struct{}, 2) // a token: something was received
	count := make(chan int)
	for i := range 2 {
		s, _ := tcp(t)
		go func() {
			n := 0
			for number := uint64(i+1) << 32; ; number++ {
				if l.handOver(clientOf(s, number)) == nil {
					n++
					continue
				}
				select {
				case <-stop:
					count <- n
					return
				case <-room:
				}
			}
		}()
	}
	first, _ := w.recv()
	drained := make(chan error, 1)
	go func() { // waits for room; the second call does nothing
		drained <- errors.Join(l.drain(t.Context()), l.drain(t.Context()))
	}()
	got := 1
	for f := first; f.Type != proto.FrameDrain; got++ {
		f, _ = w.recv()
		select {
		case room <- struct{}{}:
		default: // there are tokens
		}
	}
	close(stop)
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	want := <-count + <-count
	if got-1 != want {
		t.Errorf("%d connections came before the marker, %d were handed over", got-1, want)
	}
	c, _ := newClient(t, 1)
	if err := l.handOver(c); !errors.Is(err, ErrNotTaken) {
		t.Errorf("while draining: %v", err)
	}
	whole(t, c)
	if err := l.conn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.conn.Recv(make([]byte, 100)); !errors.Is(err, io.EOF) {
		t.Errorf("behind the marker: %v", err)
	}
}

func TestDrainDoesNotWaitForADeafWorker(t *testing.T) {
	l, w, _, _ := newLink(t)
	w.grant(l, 100_000)
	s, _ := tcp(t)
	for n := uint64(1); l.handOver(clientOf(s, n)) == nil; n++ {
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	time.AfterFunc(10*time.Millisecond, func() { cancel(over) })
	if err := l.drain(ctx); !errors.Is(err, over) {
		t.Errorf("drain: %v", err)
	}
}

func TestTakenClosesOnlyTheHostsDescriptor(t *testing.T) {
	l, w, o, _ := newLink(t)
	w.grant(l, 1)
	c, client := newClient(t, 1)
	ours := c.Conn
	handOver(t, l, c)
	_, fd := w.recv()
	w.send(proto.Frame{Type: proto.FrameReport, Taken: []uint64{1, 99}})
	eventually(t, "the host's descriptor to be closed", func() bool { return errors.Is(ours.SetDeadline(time.Time{}), net.ErrClosed) })
	if _, err := unix.Write(fd, []byte("from the worker")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 15)
	if _, err := io.ReadFull(client, buf); err != nil || string(buf) != "from the worker" {
		t.Fatalf("%q, %v", buf, err)
	}
	if l.connections() != 1 {
		t.Error("the connection is not the worker's any more")
	}
	w.die()
	l.orphans()
	if _, ended := o.await(t, 1); !ended[1] {
		t.Error("not ended with its worker")
	}
}

func TestBack(t *testing.T) {
	for _, taken := range []bool{true, false} {
		l, w, o, _ := newLink(t)
		w.grant(l, 2)
		c, _ := newClient(t, 1)
		handOver(t, l, c)
		w.recv()
		if taken {
			w.send(proto.Frame{Type: proto.FrameReport, Taken: []uint64{1}})
		}
		w.back(1, "GE")
		returned, _ := o.await(t, 1)
		if got := returned[1]; got != c || string(c.Prefix) != "GE" || !c.Resumed {
			t.Fatalf("%+v", got)
		}
		if l.connections() != 0 {
			t.Error("still the worker's")
		}
		other, _ := newClient(t, 2)
		if err := l.handOver(other); !errors.Is(err, ErrNotTaken) {
			t.Errorf("to a worker that returns connections: %v", err)
		}
		if err := l.drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f, _ := w.recv(); f.Type != proto.FrameDrain {
			t.Errorf("%+v, want the drain marker", f)
		}
		next, w2, o2, _ := newLink(t)
		w2.grant(next, 1)
		handOver(t, next, c)
		if f, _ := w2.recv(); string(f.Prefix) != "GE" || !f.Resumed {
			t.Errorf("%+v", f)
		}
		w2.die()
		next.orphans()
		o2.await(t, 1)
		whole(t, c)
	}
}

// TestForgedBack: a worker that returns another descriptor than it was sent gets
// nothing by it.
func TestForgedBack(t *testing.T) {
	_, other := tcp(t)
	otherFile, err := other.File()
	if err != nil {
		t.Fatal(err)
	}
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	forged := map[string]*os.File{"connection": otherFile, "pipe": pipe, "file": file}
	t.Cleanup(func() {
		if err := errors.Join(otherFile.Close(), r.Close(), pipe.Close(), file.Close()); err != nil {
			t.Error(err)
		}
	})
	for name, f := range forged {
		t.Run(name, func(t *testing.T) {
			l, w, o, log := newLink(t)
			w.grant(l, 1)
			c, _ := newClient(t, 1)
			handOver(t, l, c)
			w.recv()
			before := openDescriptors(t)
			w.send(proto.Frame{Type: proto.FrameBack, Number: 1}, int(f.Fd()))
			if _, ended := o.await(t, 1); !ended[1] {
				t.Error("not ended")
			}
			contains(t, log.String(), "not the socket that was handed over")
			if n := openDescriptors(t); n >= before { // the host's copy of the connection is closed
				t.Errorf("%d descriptors, %d before", n, before)
			}
		})
	}
	t.Run("unknown number", func(t *testing.T) {
		l, w, o, log := newLink(t)
		before := openDescriptors(t)
		w.send(proto.Frame{Type: proto.FrameBack, Number: 8}, int(otherFile.Fd()))
		w.grant(l, 1) // it has read the frame before
		contains(t, log.String(), "did not have", "number=8")
		if n := openDescriptors(t); n != before {
			t.Errorf("%d descriptors, %d before", n, before)
		}
		o.await(t, 0)
	})
}

func TestClosedBeforeTakenReturnsItWhole(t *testing.T) {
	l, w, o, _ := newLink(t)
	w.grant(l, 1)
	c, _ := newClient(t, 1)
	handOver(t, l, c)
	w.send(proto.Frame{Type: proto.FrameReport, Closed: []uint64{1, 2}})
	returned, _ := o.await(t, 1)
	if returned[1] == nil || c.Resumed {
		t.Fatalf("%+v", returned)
	}
	whole(t, c)
}

// TestDeath: connections that the worker never took live, those on their way
// back are received, the others have ended.
func TestDeath(t *testing.T) {
	l, w, o, _ := newLink(t)
	w.grant(l, 30)
	for n := uint64(1); n <= 30; n++ {
		c, _ := newClient(t, n)
		handOver(t, l, c)
		if n <= 20 {
			w.recv()
		}
	}
	report := proto.Frame{Type: proto.FrameReport}
	for n := uint64(1); n <= 20; n++ {
		report.Taken = append(report.Taken, n)
	}
	w.send(report)
	for n := uint64(1); n <= 10; n++ {
		w.back(n, "G")
	}
	w.die()
	l.orphans()
	returned, ended := o.await(t, 30)
	for n := uint64(1); n <= 30; n++ {
		live := n <= 10 || n > 20
		if (returned[n] != nil) != live || ended[n] == live {
			t.Errorf("client %d: returned %v, ended %v", n, returned[n] != nil, ended[n])
		}
		if live {
			whole(t, returned[n])
		}
	}
	c, _ := newClient(t, 31)
	if err := l.handOver(c); !errors.Is(err, ErrNotTaken) {
		t.Errorf("to a dead worker: %v", err)
	}
}

// TestNonsense: a worker that says what cannot be is sent nothing any more, and
// what it was sent is not lost with it.
// TestDeathBeforeTaken: a worker that dies may have begun to read what it had not
// yet said that it took. Nobody else gets such a connection, and everybody else's
// is passed on, whatever was read of it before and whatever the client does.
func TestDeathBeforeTaken(t *testing.T) {
	l, w, o, _ := newLink(t)
	w.grant(l, 10)
	for number := uint64(1); number <= 6; number++ {
		c, client := newClient(t, number)
		if number >= 3 { // it has had a request
			if _, err := io.WriteString(client, "hello"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c.Conn, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			c.Resumed = true
		}
		handOver(t, l, c)
		_, fd := w.recv()
		switch number {
		case 2, 4: // a byte is read
			if n, err := unix.Read(fd, make([]byte, 1)); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		case 5: // the client has said all that it has to say
			if err := client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		case 6: // more comes
			if _, err := io.WriteString(client, "hello"); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.die()
	l.orphans()
	returned, ended := o.await(t, 6)
	for number := uint64(1); number <= 6; number++ {
		switch number {
		case 2, 4:
			if !ended[number] {
				t.Errorf("client %d lives, of whose request a byte is lost", number)
			}
		default:
			if c := returned[number]; c == nil {
				t.Errorf("client %d was given up, of which nothing was read", number)
			} else {
				whole(t, c)
			}
		}
	}
}

func TestNonsense(t *testing.T) {
	_, other := tcp(t)
	otherFile, err := other.File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = otherFile.Close() }() // nothing was written
	fd := int(otherFile.Fd())
	for name, send := range map[string]func(w *fake) error{
		"unknown type":        func(w *fake) error { return w.conn.Send([]byte("?")) },
		"short back":          func(w *fake) error { return w.conn.Send([]byte("B1"), fd) },
		"short report":        func(w *fake) error { return w.conn.Send([]byte("R")) },
		"back without socket": func(w *fake) error { return w.conn.Send((&proto.Frame{Type: proto.FrameBack, Number: 1}).Append(nil)) },
		"back with two": func(w *fake) error {
			return w.conn.Send((&proto.Frame{Type: proto.FrameBack, Number: 1}).Append(nil), fd, fd)
		},
		"report with socket": func(w *fake) error { return w.conn.Send((&proto.Frame{Type: proto.FrameReport}).Append(nil), fd) },
	} {
		t.Run(name, func(t *testing.T) {
			l, w, o, log := newLink(t)
			w.grant(l, 5)
			a, _ := newClient(t, 1)
			handOver(t, l, a)
			before := openDescriptors(t)
			if err := send(w); err != nil {
				t.Fatal(err)
			}
			<-l.closed
			contains(t, log.String(), "malformed")
			b, _ := newClient(t, 2)
			if err := l.handOver(b); !errors.Is(err, ErrNotTaken) {
				t.Errorf("after nonsense: %v", err)
			}
			whole(t, b)
			if n := openDescriptors(t); n > before+1 { // the new client's own end; the link's is closed
				t.Errorf("%d descriptors, %d before", n, before)
			}
			w.die()
			l.orphans()
			if returned, _ := o.await(t, 1); returned[1] != nil {
				whole(t, a)
			}
		})
	}
	t.Run("wrong direction", func(t *testing.T) {
		l, w, _, log := newLink(t)
		before := openDescriptors(t)
		w.send(proto.Frame{Type: proto.FrameConn, Number: 1}, fd)
		w.grant(l, 1)
		contains(t, log.String(), "unexpected frame")
		if n := openDescriptors(t); n != before {
			t.Errorf("%d descriptors, %d before", n, before)
		}
	})
}

// TestEachClientLeavesOnce: whatever a worker does and whenever it dies, each
// client that was handed over is given to the owner once, and alive unless the
// worker had it.
func TestEachClientLeavesOnce(t *testing.T) {
	for seed := range uint64(15) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l, w, o, _ := newLink(t)
		w.grant(l, 60)
		handed := make(chan int)
		go func() { // concurrent with the worker's doings
			n := 0
			for number := uint64(1); number <= 60; number++ {
				s, _ := tcp(t)
				if l.handOver(clientOf(s, number)) == nil {
					n++
				}
				if number == 50 {
					if err := l.drain(t.Context()); err != nil && !strings.Contains(err.Error(), "pipe") && !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
				}
			}
			handed <- n
		}()
		events := rng.IntN(60)
		for range events {
			f, _ := w.recv()
			if f.Type == proto.FrameDrain {
				break
			}
			report := proto.Frame{Type: proto.FrameReport, Credit: 1}
			if rng.IntN(3) > 0 {
				report.Taken = []uint64{f.Number}
			}
			if rng.IntN(4) == 0 {
				report.Closed = []uint64{f.Number, uint64(rng.IntN(60))}
			}
			w.send(report)
			if rng.IntN(3) == 0 {
				w.back(f.Number, "")
			}
		}
		w.die()
		l.orphans()
		n := <-handed
		returned, _ := o.await(t, n)
		for _, c := range returned {
			if c.Conn == nil {
				t.Errorf("seed %d: client %d has no connection", seed, c.Number)
			} else if err := c.Conn.Close(); err != nil {
				t.Errorf("seed %d: client %d: %v", seed, c.Number, err)
			}
		}
		if l.connections() != 0 {
			t.Errorf("seed %d: %d left", seed, l.connections())
		}
	}
}
