package inproc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"aerie/config"
	"aerie/internal/process"
	"aerie/internal/seqpacket"
	"aerie/proto"
	"aerie/worker"
)

// died makes a fixture's host look dead to its worker: the kernel has closed what
// it had of it.
func died(t *testing.T, w *Worker) {
	t.Helper()
	w.detach()
	if err := w.link.conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// nextHost is the starter of the next host on the same machine.
func nextHost(t *testing.T, f *fixture, epoch uint64) (*fixture, *sync.Map) {
	t.Helper()
	next := newFixture(t)
	known := &sync.Map{}
	next.Epoch = epoch
	next.Owned = func(pool string, o proto.Owned) *Client {
		c := &Client{Number: o.Number, Local: o.Local, Remote: o.Remote}
		known.Store(o.Number, c)
		return c
	}
	next.Log = f.Log
	return next, known
}

func poolConfig() *config.Pool {
	return &config.Pool{Name: "shop", ShutdownTimeout: 10 * time.Second}
}

// ask sends a request on a client's connection and returns the answer's body.
func ask(t *testing.T, client net.Conn, in *bufio.Reader) string {
	t.Helper()
	if _, err := io.WriteString(client, "GET /pid HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 || r.Close {
		t.Fatalf("%d %q, close %v, %v", r.StatusCode, b, r.Close, err)
	}
	return string(b)
}

// TestAdopt: a worker process goes on under the next host with its connections,
// which it hands back to that one; and it obeys the one before no more.
func TestAdopt(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, "app")
	host, client := tcp(t)
	siteOn(t, w, host.LocalAddr())
	if err := w.HandOver(clientOf(host, 3)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(client)
	ask(t, client, in)
	rec, err := w.Record()
	if err != nil {
		t.Fatal(err)
	}
	died(t, w)
	ask(t, client, in) // nobody notices

	next, known := nextHost(t, f, 2)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, err := next.Adopt(ctx, rec, poolConfig())
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := known.Load(uint64(3)); !ok || c.(*Client).Remote != worker.AddrPort(client.LocalAddr()) || a.Stats().Connections != 1 {
		t.Errorf("the new host knows %v, %d connections", c, a.Stats().Connections)
	}
	if a.Pid() != w.Pid() || a.Generation() != 7 || !a.Stats().StartedAt.Equal(rec.StartedAt) || a.Draining() || !next.alive[a] || len(next.tokens) != 1 {
		t.Errorf("adopted %d, generation %d", a.Pid(), a.Generation())
	}
	if again, err := a.Record(); err != nil || !reflect.DeepEqual(again, rec) {
		t.Errorf("its record is %+v, %v", again, err)
	}
	if err := w.Refresh(ctx); err == nil || !strings.Contains(err.Error(), "obeys another host") {
		t.Errorf("the host before asks: %v", err)
	}
	if _, err := f.Adopt(ctx, rec, poolConfig()); err == nil || !strings.Contains(err.Error(), "epoch") {
		t.Errorf("the host before adopts: %v", err)
	}
	siteOn(t, a, host.LocalAddr())
	if got := ask(t, client, in); got != strconv.Itoa(w.Pid()) {
		t.Errorf("process %q", got)
	}
	second, other := tcp(t)
	siteOn(t, a, host.LocalAddr(), second.LocalAddr())
	if err := a.HandOver(clientOf(second, 4)); err != nil {
		t.Fatal(err)
	}
	ask(t, other, bufio.NewReader(other))
	relayed(t, a)

	if err := a.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	returned, _ := next.owner.await(t, 2)
	for number, own := range map[uint64]net.Conn{3: client, 4: other} {
		c := returned[number]
		if c == nil || !c.Resumed {
			t.Fatalf("connection %d: %+v", number, c)
		}
		if _, err := io.WriteString(own, "hello"); err != nil {
			t.Fatal(err)
		}
		whole(t, c)
	}
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
	if e := a.Exit(); !e.Expected || !strings.Contains(e.Status, "unknown") {
		t.Errorf("exit %+v", e)
	}
	if names, err := filepath.Glob(filepath.Join(f.run, "*")); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
}

// TestAdopt_Unproven: a record that is not a live process's own adopts nothing, and
// the process that it names goes on undisturbed.
func TestAdopt_Unproven(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, "app")
	rec, err := w.Record()
	if err != nil {
		t.Fatal(err)
	}
	stranger := exec.Command("/bin/sleep", "300")
	stranger.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // so that it could be adopted
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = stranger.Process.Kill(), stranger.Wait() }) // it is killed, and says so
	began, err := process.StartTime(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Record){
		"start time": func(r *Record) { r.Ticks++ },
		"process":    func(r *Record) { r.Pid, r.Ticks = stranger.Process.Pid, began },
		"token":      func(r *Record) { r.Token = proto.NewToken() },
		"generation": func(r *Record) { r.Generation++ },
		"user":       func(r *Record) { r.User = &process.User{UID: os.Getuid() + 1} },
		"group":      func(r *Record) { r.Group = map[string]string{"": "/sys/fs/cgroup/aerie-test/one"} },
		"no socket":  func(r *Record) { r.Control += "x" },
	} {
		next, _ := nextHost(t, f, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		changed := rec
		change(&changed)
		if a, err := next.Adopt(ctx, changed, poolConfig()); err == nil {
			t.Errorf("%s: adopted %d", name, a.Pid())
		}
		cancel()
		if len(next.alive)+len(next.tokens) > 0 || w.Ended() {
			t.Errorf("%s: left %v, %v; ended %v", name, next.alive, next.tokens, w.Ended())
		}
	}
}

// TestAdopt_Draining: it is known of a worker process that it was told to drain.
func TestAdopt_Draining(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, "app")
	rec, err := w.Record()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	died(t, w)
	next, _ := nextHost(t, f, 2)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, err := next.Adopt(ctx, rec, poolConfig())
	if err != nil || !a.Draining() {
		t.Fatalf("draining %v, %v", err == nil && a.Draining(), err)
	}
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// TestTurnedAway: a proven process that cannot be taken over is asked to stop.
func TestTurnedAway(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, "app")
	rec, err := w.Record()
	if err != nil {
		t.Fatal(err)
	}
	died(t, w)
	next, _ := nextHost(t, f, 2)
	rec.Handover += "x"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := next.Adopt(ctx, rec, poolConfig()); err == nil {
		t.Fatal("adopted")
	}
	select {
	case <-w.Done():
	case <-ctx.Done():
		t.Error("it goes on")
	}
}

// tell makes the fake worker tell of connections, and waits until the link knows.
func (w *fake) tell(l *link, owned ...proto.Owned) {
	w.t.Helper()
	w.send(proto.Frame{Type: proto.FrameOwned, Owned: owned})
	w.send(proto.Frame{Type: proto.FrameOwned, Last: true})
	select {
	case <-l.told:
	case <-time.After(patience):
		w.t.Fatal("the link has not heard what the worker has")
	}
}

// TestToldConnections: a connection that the worker has from a host before comes
// back if it is what the worker had said; any other descriptor is closed.
func TestToldConnections(t *testing.T) {
	accept := func(o proto.Owned) *Client {
		if o.Number == 9 {
			return nil
		}
		return &Client{Number: o.Number, Local: o.Local, Remote: o.Remote}
	}
	l, w, o, log := newLinkTo(t, accept)
	var told []proto.Owned
	files := map[uint64]*os.File{}
	own := map[uint64]*net.TCPConn{}
	for number := uint64(1); number <= 9; number++ {
		s, c := tcp(t)
		file, err := s.File()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }() // only a descriptor
		cookie, err := cookieOf(s)
		if err != nil {
			t.Fatal(err)
		}
		files[number], own[number] = file, c
		told = append(told, proto.Owned{Number: number, Cookie: cookie, Local: worker.AddrPort(s.LocalAddr()), Remote: worker.AddrPort(c.LocalAddr())})
	}
	told[1].Cookie++
	told[2].Remote = netip.MustParseAddrPort("192.0.2.1:80")
	told[3].Local = netip.AddrPortFrom(told[3].Local.Addr(), 80)
	udp, unixSocket := odd(t)
	told[4].Cookie, told[5].Cookie = cookieOfFile(t, udp), cookieOfFile(t, unixSocket)
	files[5], files[6] = udp, unixSocket
	w.tell(l, told...)
	if n := l.connections(); n != 8 {
		t.Errorf("%d connections, want 8", n)
	}
	contains(t, log.String(), "does not take back", "connections=1")
	if err := l.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for number := uint64(1); number <= 6; number++ {
		w.send(proto.Frame{Type: proto.FrameBack, Number: number, Resumed: true}, int(files[number].Fd()))
	}
	w.send(proto.Frame{Type: proto.FrameReport, Closed: []uint64{7}})
	returned, ended := o.await(t, 7)
	if len(returned) != 1 || len(ended) != 6 || !ended[7] {
		t.Fatalf("returned %v, ended %v", returned, ended)
	}
	if _, err := io.WriteString(own[1], "hello"); err != nil {
		t.Fatal(err)
	}
	whole(t, returned[1])
	w.die() // with number 8
	l.orphans()
	if _, ended := o.await(t, 8); !ended[8] {
		t.Error("a connection has not ended with its worker")
	}
}

// odd are sockets that are no TCP connection.
func odd(t *testing.T) (udp, unixSocket *os.File) {
	t.Helper()
	c, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	if udp, err = c.(*net.UDPConn).File(); err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unixSocket = os.NewFile(uintptr(fds[0]), "unix")
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), udp.Close(), unixSocket.Close(), unix.Close(fds[1])); err != nil {
			t.Error(err)
		}
	})
	return udp, unixSocket
}

func cookieOfFile(t *testing.T, f *os.File) uint64 {
	t.Helper()
	cookie, err := unix.GetsockoptUint64(int(f.Fd()), unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	return cookie
}

// TestToldByANewWorker: one that this host has started can have no connection.
func TestToldByANewWorker(t *testing.T) {
	l, w, o, log := newLink(t)
	w.tell(l, proto.Owned{Number: 1, Cookie: 2})
	w.send(proto.Frame{Type: proto.FrameOwned, Owned: []proto.Owned{{Number: 2}}})
	w.grant(l, 1) // it has read the frames before
	if n := l.connections(); n != 0 {
		t.Errorf("%d connections", n)
	}
	contains(t, log.String(), "does not take back", "once more")
	o.await(t, 0)
}

// TestHandoverSocketOfAnother: the token is sent to nobody but the worker process.
func TestHandoverSocketOfAnother(t *testing.T) {
	path := filepath.Join(newFixture(t).run, "h")
	listener, err := seqpacket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := dialLink(greeting{path: path, pid: os.Getpid() + 1, token: "secret"}, newOwner(), (&lines{}).logger())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid(), " listens")) {
		t.Errorf("%v, %v", l, err)
	}
	c, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if n, _, err := c.Recv(make([]byte, proto.MaxFrame)); !errors.Is(err, io.EOF) {
		t.Errorf("it was sent %d bytes, %v", n, err)
	}
	if err := errors.Join(c.Close(), listener.Close()); err != nil {
		t.Error(err)
	}
}
