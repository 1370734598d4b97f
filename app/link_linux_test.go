package app

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aerie/internal/seqpacket"
	"aerie/proto"
)

// fakeHost is the host's end of the hand-over socket of a child.
type fakeHost struct {
	t      *testing.T
	child  *child
	path   string
	conn   *seqpacket.Conn
	credit int
	taken  map[uint64]bool
	closed map[uint64]bool
	owned  []proto.Owned
	told   bool // all that are owned
}

func newFakeHost(t *testing.T, env ...string) *fakeHost {
	t.Helper()
	path := filepath.Join(shortDir(t), "h")
	h := &fakeHost{t: t, path: path, child: run(t, "link", append(env, "LINK="+path)...), taken: map[uint64]bool{}, closed: map[uint64]bool{}}
	h.child.await("listening")
	h.connect("secret")
	return h
}

func (h *fakeHost) connect(token string) {
	h.t.Helper()
	h.dial(token, 0)
}

func (h *fakeHost) dial(token string, epoch uint64) {
	h.t.Helper()
	c, err := seqpacket.Dial(h.path)
	if err != nil {
		h.t.Fatal(err)
	}
	h.conn = c
	h.t.Cleanup(func() { _ = c.Close() }) // some tests have done so
	h.send(proto.Frame{Type: proto.FrameHello, Epoch: epoch, Token: token})
}

func (h *fakeHost) send(f proto.Frame, fds ...int) {
	h.t.Helper()
	if err := h.conn.Send(f.Append(nil), fds...); err != nil {
		h.t.Fatal(err)
	}
}

// until reads reports until ok.
func (h *fakeHost) until(what string, ok func() bool) {
	h.t.Helper()
	stop := time.AfterFunc(patience, func() { _ = h.conn.Close() }) // ends Recv
	defer stop.Stop()
	buf := make([]byte, proto.MaxFrame)
	for !ok() {
		n, _, err := h.conn.Recv(buf)
		if err != nil {
			h.t.Fatalf("waiting for %s: %v", what, err)
		}
		f, err := proto.ParseFrame(buf[:n])
		if err == nil && f.Type == proto.FrameOwned && !h.told {
			h.owned, h.told = append(h.owned, f.Owned...), f.Last
			continue
		}
		if err != nil || f.Type != proto.FrameReport || !h.told {
			h.t.Fatalf("%+v, %v", f, err)
		}
		h.credit += int(f.Credit)
		for _, n := range f.Taken {
			h.taken[n] = true
		}
		for _, n := range f.Closed {
			h.closed[n] = true
		}
	}
}

// handOver sends the child a connection whose client has sent a request, and
// returns the client's end.
func (h *fakeHost) handOver(number uint64) net.Conn {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	client := dial(h.t, "tcp", l.Addr().String())
	server, err := l.Accept()
	if err != nil {
		h.t.Fatal(err)
	}
	send(h.t, client, "GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
	file, err := server.(*net.TCPConn).File()
	if err != nil {
		h.t.Fatal(err)
	}
	h.send(proto.Frame{Type: proto.FrameConn, Number: number}, int(file.Fd()))
	if err := errors.Join(file.Close(), server.Close(), l.Close()); err != nil {
		h.t.Fatal(err)
	}
	return client
}

func (h *fakeHost) end() {
	h.t.Helper()
	if err := h.child.stdin.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.child.exits(0)
}

// TestReports: the worker grants its slots, says which connections it has and
// which are over, and gives the slot back.
func TestReports(t *testing.T) {
	h := newFakeHost(t)
	h.until("the first credit", func() bool { return h.credit > 0 })
	all := h.credit
	client := h.handOver(5)
	if r, body := answerOf(t, bufio.NewReader(client)); r.StatusCode != 200 || body != "served" {
		t.Errorf("%d %q", r.StatusCode, body)
	}
	h.until("taken", func() bool { return h.taken[5] })
	if h.credit != all || h.closed[5] {
		t.Errorf("credit %d, closed %v", h.credit, h.closed)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	h.until("closed", func() bool { return h.closed[5] })
	if h.credit != all+1 {
		t.Errorf("credit %d after %d", h.credit, all)
	}
	kept := h.handOver(6)
	h.until("taken", func() bool { return h.taken[6] })

	// A host that comes anew is granted what is free.
	if err := h.conn.Close(); err != nil {
		t.Fatal(err)
	}
	h.credit, h.told = 0, false
	h.connect("secret")
	h.until("credit", func() bool { return h.credit > 0 })
	if h.credit != all-1 {
		t.Errorf("credit %d to a new host, %d at first", h.credit, all)
	}
	if len(h.owned) != 1 || h.owned[0].Number != 6 || h.owned[0].Cookie == 0 {
		t.Errorf("owned: %+v", h.owned)
	}
	answerOf(t, bufio.NewReader(kept))
	h.end()
}

// TestStrangers: only who knows the token is listened to, and nonsense ends the
// link but not the worker.
func TestStrangers(t *testing.T) {
	h := newFakeHost(t)
	h.until("the first credit", func() bool { return h.credit > 0 })
	for name, send := range map[string]func(){
		"wrong token": func() {},
		"wrong epoch": func() {},
		"nonsense":    func() { h.send(proto.Frame{Type: '?'}) },
		"no socket":   func() { h.send(proto.Frame{Type: proto.FrameConn, Number: 1}) },
	} {
		if err := h.conn.Close(); err != nil {
			t.Fatal(err)
		}
		token := "secret"
		if name == "wrong token" {
			token = "Secret"
		}
		epoch := uint64(0)
		if name == "wrong epoch" {
			epoch = 1
		}
		h.dial(token, epoch)
		send()
		var err error
		for n := 1; err == nil && n > 0; {
			n, _, err = h.conn.Recv(make([]byte, proto.MaxFrame))
		}
		if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.credit, h.told = 0, false
	h.connect("secret")
	h.until("credit", func() bool { return h.credit > 0 })
	h.end()
}

// TestLogsFrame: from the frame on the process's output goes to the new file.
func TestLogsFrame(t *testing.T) {
	h := newFakeHost(t)
	answerOf(t, bufio.NewReader(h.handOver(1)))
	h.child.await("to stdout /page")
	h.child.await("to stderr /page")
	var files []*os.File
	for _, name := range []string{"log", "access"} {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }() // nothing was written here
		files = append(files, f)
	}
	h.send(proto.Frame{Type: proto.FrameLogs}, int(files[0].Fd()), int(files[1].Fd()))
	answerOf(t, bufio.NewReader(h.handOver(2)))
	if err := h.child.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	h.child.exits(0)
	b, err := os.ReadFile(files[0].Name())
	if err != nil || !strings.Contains(string(b), "to stdout /page\n") || !strings.Contains(string(b), "to stderr /page\n") {
		t.Errorf("%q, %v", b, err)
	}
}

// TestStarved: connections for which the process has no descriptor are reported
// as over, with their credit, and it goes on with the others.
func TestStarved(t *testing.T) {
	h := newFakeHost(t, "STARVED=yes")
	h.until("the first credit", func() bool { return h.credit > 0 })
	all := h.credit
	var clients []net.Conn
	const sent = 40
	for n := range uint64(sent) {
		clients = append(clients, h.handOver(n+1))
	}
	h.until("all connections", func() bool { return len(h.taken)+len(h.closed) == sent })
	if len(h.taken) == 0 || len(h.closed) == 0 {
		t.Fatalf("%d taken, %d lost: the test proves nothing", len(h.taken), len(h.closed))
	}
	h.until("credit of those that were lost", func() bool { return h.credit == all+len(h.closed) })
	for _, c := range clients {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	h.until("all slots", func() bool { return h.credit == all+sent })
	last := h.handOver(100)
	if r, _ := answerOf(t, bufio.NewReader(last)); r.StatusCode != 200 {
		t.Errorf("afterwards: %d", r.StatusCode)
	}
	h.end()
}
