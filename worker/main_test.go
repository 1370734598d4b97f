package worker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aerie/config"
	"aerie/internal/rawhttp"
)

func TestMain(m *testing.M) {
	code := m.Run()
	for deadline := time.Now().Add(5 * time.Second); len(leaked()) > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "leaked goroutines:\n%s\n", strings.Join(leaked(), "\n\n"))
			code = 1
			break
		}
	}
	os.Exit(code)
}

// leaked is the stacks of goroutines that this package or net/http has left.
func leaked() []string {
	buf := make([]byte, 1<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	return slices.DeleteFunc(stacks, func(s string) bool {
		return strings.Contains(s, "worker.TestMain(") || !strings.Contains(s, "aerie/worker.") && !strings.Contains(s, "net/http.")
	})
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// testLimits are limits that no well-behaved test runs into.
var testLimits = Limits{HeaderTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeadBytes: 32 << 10}

// lines is a log that tests can look into.
type lines struct {
	mu   sync.Mutex // guards below
	text []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

func listenTCP(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newServer returns a server that is closed at the end of the test. Its log
// goes to the test's output unless opts has one.
func newServer(t testing.TB, opts Options) *Server {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s := NewServer(opts)
	t.Cleanup(func() { closeServer(t, s) })
	return s
}

func closeServer(t testing.TB, s *Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close server: %v", err)
	}
}

// serve starts a server that is one application, and returns it with its address.
func serve(t testing.TB, opts Options, h http.Handler) (*Server, string) {
	t.Helper()
	s := newServer(t, opts)
	s.SetTable(OneApplication(s.Bounded(h), s.opts.Logger))
	return s, open(t, s)
}

// open makes s listen and returns the address.
func open(t testing.TB, s *Server) string {
	t.Helper()
	l := listenTCP(t)
	if err := s.Listen(l, Source{}); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// oneSite is a table of one site that answers for every name on the address.
func oneSite(h http.Handler, addr net.Addr, limits config.SiteLimits, head HeadLimits) *Table {
	return NewTable(TableOptions{
		Sites: []Site{{Name: "test", Bindings: []config.Binding{{Port: portOf(addr)}}, Paths: []string{"/"}, Limits: limits}},
		App:   func(*Site, string) http.Handler { return h }, Default: http.NotFoundHandler(),
		Logger: slog.New(slog.DiscardHandler), Head: head,
	})
}

func portOf(addr net.Addr) uint16 { return netip.MustParseAddrPort(addr.String()).Port() }

// dial connects a client that is closed at the end of the test.
func dial(t testing.TB, addr string) *rawhttp.Conn {
	t.Helper()
	c, err := rawhttp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // some tests close it before
	return c
}

// send sends each part in a segment of its own.
func send(t testing.TB, c *rawhttp.Conn, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err := c.Send([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
}

// read reads the answer to a request with that method and compares its status.
func read(t testing.TB, c *rawhttp.Conn, method string, status int) *rawhttp.Response {
	t.Helper()
	r, err := c.ReadResponse(method)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != status {
		t.Fatalf("status %d, want %d; body %q", r.Status, status, r.Body)
	}
	return r
}

// await fails the test if done is not closed in time.
func await(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("waited too long for %s", what)
	}
}

// eventually polls until ok; for facts that nobody announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
	}
}

func dialUnix(path string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}
