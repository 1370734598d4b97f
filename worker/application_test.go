package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"aerie/config"
	"aerie/internal/rawhttp"
	"aerie/module"
)

// notes is a module that remembers the problems of requests.
type notes struct {
	mu  sync.Mutex // guards below
	got []module.Problem
}

func (n *notes) Name() string { return "notes" }
func (n *notes) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(&notedWriter{w, n}, r) })
}

// take returns what was noted since the last call.
func (n *notes) take() []module.Problem {
	n.mu.Lock()
	defer n.mu.Unlock()
	got := n.got
	n.got = nil
	return got
}

type notedWriter struct {
	http.ResponseWriter
	notes *notes
}

func (w *notedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w *notedWriter) RequestID() string           { return "id of the request" }
func (w *notedWriter) Quiet()                      {}
func (w *notedWriter) Note(p module.Problem) {
	w.notes.mu.Lock()
	defer w.notes.mu.Unlock()
	w.notes.got = append(w.notes.got, p)
}

// site starts a server of one site with those limits.
func site(t *testing.T, h http.HandlerFunc, limits config.SiteLimits, head HeadLimits) (addr string, log *lines, n *notes) {
	t.Helper()
	log, n = &lines{}, &notes{}
	s := newServer(t, Options{Logger: log.logger(), Limits: testLimits})
	l := listenTCP(t)
	s.SetTable(NewTable(TableOptions{
		Sites:   []Site{{Name: "test", Bindings: []config.Binding{{Port: portOf(l.Addr())}}, Paths: []string{"/"}, Limits: limits}},
		App:     func(*Site, string) http.Handler { return s.Bounded(h) },
		Modules: func(*Site, string) []module.Module { return []module.Module{n} },
		Default: http.NotFoundHandler(), Logger: s.opts.Logger, Head: head,
	}))
	if err := s.Listen(l, Source{}); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), log, n
}

func TestLimits(t *testing.T) {
	// net/http waits for the rest of a small body before it closes; the minimum
	// rate bounds that.
	limits := config.SiteLimits{MaxURL: 20, MaxQuery: 10, MaxBody: 100, MinBodyRate: 240, RateGrace: time.Millisecond}
	head := HeadLimits{MaxRequestLine: 60, MaxHeaderSize: 500, MaxHeaderCount: 8}
	addr, _, n := site(t, readAll, limits, head)
	x := func(n int) string { return strings.Repeat("x", n) }
	fields := func(n int) string { return strings.Repeat("A: b\r\n", n) }
	for _, test := range []struct {
		name, method, uri, fields, body string
		status, sub                     int
	}{
		{"path at its limit", "GET", "/" + x(19), "", "", 200, 0},
		{"path", "GET", "/" + x(20), "", "", 414, 14},
		{"query at its limit", "GET", "/?" + x(10), "", "", 200, 0},
		{"query", "GET", "/?" + x(11), "", "", 414, 15},
		{"request line at its limit", x(60 - len(" /"+" HTTP/1.1")), "/", "", "", 200, 0},
		{"request line", x(61 - len(" /"+" HTTP/1.1")), "/", "", "", 414, 14},
		{"fields at their limit", "GET", "/", fields(7), "", 200, 0},
		{"fields", "GET", "/", fields(8), "", 431, 0},
		{"size of fields at its limit", "GET", "/", "A: " + x(500-len("Host: test\r\n"+"A: \r\n")) + "\r\n", "", 200, 0},
		{"size of fields", "GET", "/", "A: " + x(501-len("Host: test\r\n"+"A: \r\n")) + "\r\n", "", 431, 0},
		{"body at its limit", "POST", "/", "Content-Length: 100\r\n", x(100), 200, 0},
		{"body", "POST", "/", "Content-Length: 101\r\n", "", 413, 1},
		{"huge body", "POST", "/", "Content-Length: 100000000000\r\n", "", 413, 1},
		{"chunked body at its limit", "POST", "/", "Transfer-Encoding: chunked\r\n", "64\r\n" + x(100) + "\r\n0\r\n\r\n", 200, 0},
		{"chunked body", "POST", "/", "Transfer-Encoding: chunked\r\n", "65\r\n" + x(101) + "\r\n0\r\n\r\n", 413, 0}, // the handler's answer
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, addr)
			send(t, c, test.method+" "+test.uri+" HTTP/1.1\r\nHost: test\r\n"+test.fields+"\r\n"+test.body)
			r := read(t, c, test.method, test.status)
			if r.Close != (test.status != 200) {
				t.Errorf("close announced: %v", r.Close)
			}
			if r.Close {
				if err := c.ReadEOF(); err != nil {
					t.Error(err)
				}
			}
			got := n.take()
			if noted := test.status != 200 && !strings.HasPrefix(test.name, "chunked"); noted != (len(got) == 1) {
				t.Fatalf("noted %+v", got)
			} else if noted && (got[0].Status != test.status || got[0].SubStatus != test.sub || got[0].Reason == "") {
				t.Errorf("noted %+v, want sub-status %d", got[0], test.sub)
			}
			if len(got) == 1 && strings.Contains(string(r.Body), got[0].Reason) {
				t.Errorf("the page tells the reason: %q", r.Body)
			}
		})
	}
	t.Run("head that net/http does not read", func(t *testing.T) {
		c := dial(t, addr)
		send(t, c, "GET / HTTP/1.1\r\nHost: test\r\nA: "+x(testLimits.MaxHeadBytes+8<<10))
		if r := read(t, c, "GET", 431); !r.Close {
			t.Error("the connection goes on")
		}
	})
}

// readAll answers 413 to a body that is too large, as http.MaxBytesReader
// wants it.
func readAll(w http.ResponseWriter, r *http.Request) {
	_, err := io.ReadAll(r.Body)
	if e := new(http.MaxBytesError); errors.As(err, &e) {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	} else if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func TestPanics(t *testing.T) {
	before := func(http.ResponseWriter) {}
	for _, test := range []struct {
		name   string
		begin  func(w http.ResponseWriter) // what the handler does before
		value  any
		status int // 0: the connection is cut
		logged bool
	}{
		{"before the answer", before, "ouch", 500, true},
		{"with a header set", func(w http.ResponseWriter) { w.Header().Set("Content-Length", "1000") }, errors.New("ouch"), 500, true},
		{"nil", before, nil, 500, true},
		{"after a 1xx answer", func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) }, "ouch", 500, true},
		{"after the status", func(w http.ResponseWriter) { w.WriteHeader(200) }, "ouch", 0, true},
		{"in the body", func(w http.ResponseWriter) { fmt.Fprint(w, "half") }, "ouch", 0, true},
		{"after a string", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "half") }, "ouch", 0, true},
		{"after a flush", func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, "ouch", 0, true},
		{"after a copy", func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader("half")) }, "ouch", 0, true},
		{"abort", before, http.ErrAbortHandler, 0, false},
		{"wrapped abort", before, fmt.Errorf("relay: %w", http.ErrAbortHandler), 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr, log, n := site(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/panic" {
					test.begin(w)
					panic(test.value)
				}
				echo(w, r)
			}, config.SiteLimits{}, HeadLimits{})
			other := dial(t, addr)
			send(t, other, get(1))
			read(t, other, "GET", 200)
			c := dial(t, addr)
			send(t, c, "GET /panic HTTP/1.1\r\nHost: test\r\n\r\n")
			r, err := c.ReadResponse("GET")
			switch {
			case test.status == 0 && err == nil:
				t.Errorf("the answer looks whole: %d %q", r.Status, r.Body)
			case test.status != 0 && (err != nil || r.Status != test.status || r.Close):
				t.Errorf("answer %+v, %v", r, err)
			case test.status != 0:
				if got := n.take(); len(got) != 1 || got[0].Status != test.status || strings.Contains(string(r.Body), "ouch") {
					t.Errorf("noted %+v; page %q", got, r.Body)
				}
				send(t, c, get(2))
				read(t, c, "GET", 200)
			}
			if got := log.String(); strings.Contains(got, "TestPanics") != test.logged || strings.Contains(got, "http: panic") {
				t.Errorf("log: %s", got)
			}
			send(t, other, get(3))
			read(t, other, "GET", 200)
		})
	}
}

// recorder is a connection that notes how its bytes were given to it. It hides
// everything else that the socket can do.
type recorder struct {
	net.Conn
	mu       sync.Mutex // guards below
	readFrom []string   // types that ReadFrom was called with
}

func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	what := fmt.Sprintf("%T", src)
	if lr, ok := src.(*io.LimitedReader); ok {
		what = fmt.Sprintf("%T", lr.R)
	}
	r.mu.Lock()
	r.readFrom = append(r.readFrom, what)
	r.mu.Unlock()
	return r.Conn.(io.ReaderFrom).ReadFrom(src)
}

// A file that a handler copies goes through the kernel; in pieces, so that the
// heartbeat sees whether the client takes any of it.
func TestSendfile(t *testing.T) {
	content := make([]byte, 3*sendChunk+12345)
	rawhttp.Pattern(content, 0)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, Options{})
	s.SetTable(OneApplication(s.Bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		switch r.URL.Path {
		case "/serve":
			http.ServeFile(w, r, path)
		case "/copy":
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			_, err = io.Copy(w, f)
		case "/part":
			w.Header().Set("Content-Length", "100000")
			_, err = io.CopyN(w, f, 100000)
		case "/chunked":
			_, err = io.Copy(w, f)
		case "/short":
			w.Header().Set("Content-Length", "5000")
			_, err = io.Copy(w, strings.NewReader(strings.Repeat("x", 5000)))
		}
		if err != nil {
			t.Error(err)
		}
	})), s.opts.Logger))
	for _, test := range []struct {
		uri   string
		want  []byte
		calls int
	}{
		{"/serve", content, 4}, {"/copy", content, 4}, {"/part", content[:100000], 1}, {"/chunked", content, 0},
	} {
		l := listenTCP(t)
		c := dial(t, l.Addr().String())
		raw, err := l.Accept()
		if err := errors.Join(err, l.Close()); err != nil {
			t.Fatal(err)
		}
		rec := &recorder{Conn: raw}
		if err := s.ServeConn(rec, Source{}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			send(t, c, "GET "+test.uri+" HTTP/1.1\r\nHost: test\r\n\r\n")
			if r := read(t, c, "GET", 200); !bytes.Equal(r.Body, test.want) {
				t.Errorf("%s: %d bytes, want %d", test.uri, len(r.Body), len(test.want))
			}
		}
		rec.mu.Lock()
		calls := strings.Join(rec.readFrom, " ")
		rec.mu.Unlock()
		if n := strings.Count(calls, "os."); n < 2*test.calls || n > 2*(test.calls+1) || test.calls == 0 && n > 0 {
			t.Errorf("%s: handed to the kernel: %q", test.uri, calls)
		}
	}
}

// What net/http's own writer can do, the writer of an application can.
func TestWriterOfApplications(t *testing.T) {
	addr, _, _ := site(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		w.Header().Set("Link", "</x>")
		w.WriteHeader(http.StatusEarlyHints)
		if _, ok := w.(http.Flusher); !ok {
			t.Error("no Flusher")
		}
		if _, ok := w.(io.StringWriter); !ok {
			t.Error("no StringWriter")
		}
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("no ReaderFrom")
		}
		if _, err := io.WriteString(w, "one "); err != nil {
			t.Error(err)
		}
		if err := rc.Flush(); err != nil {
			t.Error(err)
		}
		body, err := io.ReadAll(r.Body) // the client sends it when it has the first part
		if err != nil {
			t.Error(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Error(err)
		}
		w.Header().Set(http.TrailerPrefix+"X-End", "yes")
	}, config.SiteLimits{}, HeadLimits{})
	c := dial(t, addr)
	send(t, c, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n")
	r, err := c.ReadHead("POST")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Interim) != 1 || r.Interim[0].Status != 103 || r.Interim[0].Header.Value("Link") != "</x>" {
		t.Errorf("1xx answers %+v", r.Interim)
	}
	part := make([]byte, 4)
	if _, err := io.ReadFull(r, part); err != nil || string(part) != "one " {
		t.Fatalf("%q, %v", part, err)
	}
	send(t, c, "two")
	rest, err := io.ReadAll(r)
	if err != nil || string(rest) != "two" || r.Trailer.Value("X-End") != "yes" {
		t.Errorf("%q, trailer %v, %v", rest, r.Trailer, err)
	}
}

// A flush to a client that is gone is an error.
func TestFlushReportsErrors(t *testing.T) {
	failed := make(chan error, 1)
	_, addr := serve(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		var err error
		for err == nil {
			_, _ = io.WriteString(w, "event\n") // net/http keeps it
			err = http.NewResponseController(w).Flush()
		}
		failed <- err
	}))
	c := dial(t, addr)
	send(t, c, get(1))
	if err := c.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil {
		t.Error("no error")
	}
}

func TestOriginOfAStranger(t *testing.T) {
	r, err := http.NewRequest("GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if o := OriginOf(r); o != (Origin{}) || ConnOf(r.Context()) != nil || PathBase(r) != "" {
		t.Errorf("%+v", o)
	}
	if a := AddrPort(&net.UnixAddr{}); a != (netip.AddrPort{}) {
		t.Error(a)
	}
}
