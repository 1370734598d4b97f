package accesslog

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aerie/module"
)

// fields are those of every line, in their order.
var fields = []string{"time", "site", "app", "pool", "hosting", "via", "pid", "generation", "method", "uri", "host", "proto",
	"status", "substatus", "reason", "bytes_in", "bytes_out", "duration_us", "client", "user", "referer", "user_agent", "request_id"}

// log is a module under test and what it writes.
type log struct {
	*Module
	out memory
}

func newLog(t *testing.T, opts Options) *log {
	t.Helper()
	l := &log{}
	opts.Sink = NewSink(&l.out, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() { _ = opts.Sink.Close() }) // the writer has no errors
	l.Module = New(opts)
	return l
}

// line is the only line that was written.
func (l *log) line(t *testing.T) map[string]any {
	t.Helper()
	if err := l.sink.Flush(); err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(l.out.text()), &m); err != nil {
		t.Fatalf("line %q: %v", l.out.text(), err)
	}
	return m
}

// want compares some fields of a line.
func want(t *testing.T, line map[string]any, fields map[string]any) {
	t.Helper()
	for name, v := range fields {
		if line[name] != v {
			t.Errorf("%s = %#v, want %#v", name, line[name], v)
		}
	}
}

func TestLine(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 7_000_000, time.UTC)
	l := newLog(t, Options{
		Site: `the "shop"`, App: "/", Pool: "shop", Hosting: "inprocess", Generation: 4,
		Via:  func(*http.Request) string { return "handover" },
		User: func(*http.Request) string { return "ada" },
		Now:  func() time.Time { now = now.Add(1500 * time.Microsecond); return now },
	})
	var id string
	h := l.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id = module.NoterOf(w).RequestID()
		r.Method, r.RequestURI = "CHANGED", "/changed"
		r.Header.Del("User-Agent")
		_, _ = io.Copy(io.Discard, r.Body) // reading a string
		w.WriteHeader(http.StatusCreated)
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "hello")
	}))
	r := httptest.NewRequest("POST", "http://shop.localhost:8080/a%20b?q=\"x\"", strings.NewReader("12345678"))
	r.Header.Set("User-Agent", "curl/8\x01\xff")
	r.Header.Set("Referer", "http://elsewhere/")
	h.ServeHTTP(httptest.NewRecorder(), r)

	line := l.line(t)
	want(t, line, map[string]any{
		"time": "2026-05-04T03:02:01.008Z", "site": `the "shop"`, "app": "/", "pool": "shop", "hosting": "inprocess",
		"via": "handover", "pid": float64(os.Getpid()), "generation": 4.0, "method": "POST",
		"uri": "http://shop.localhost:8080/a%20b?q=\"x\"", "host": "shop.localhost:8080", "proto": "HTTP/1.1",
		"status": 201.0, "substatus": 0.0, "reason": "", "bytes_in": 8.0, "bytes_out": 5.0, "duration_us": 1500.0,
		"client": "192.0.2.1:1234", "user": "ada", "referer": "http://elsewhere/", "user_agent": "curl/8\x01\ufffd",
		"request_id": id,
	})
	if len(id) != 32 {
		t.Errorf("request id %q", id)
	}
	var order []string
	dec := json.NewDecoder(strings.NewReader(l.out.text()))
	for i := 0; ; i++ {
		token, err := dec.Token()
		if err != nil {
			break
		}
		if name, ok := token.(string); ok && i%2 == 1 {
			order = append(order, name)
		}
	}
	if !slices.Equal(order, fields) {
		t.Errorf("fields %q", order)
	}
}

// Both kinds of process write the same fields, whatever happens.
func TestLineHasAllFields(t *testing.T) {
	l := newLog(t, Options{})
	l.Wrap(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	line := l.line(t)
	if got := slices.Sorted(maps.Keys(line)); !slices.Equal(got, slices.Sorted(slices.Values(fields))) {
		t.Errorf("fields %q", got)
	}
	want(t, line, map[string]any{"status": 404.0, "via": "host", "user": "", "bytes_in": 0.0})
}

// In the host the generation is known only once a request has got one, by
// whoever stands anywhere behind the module.
func TestAnswered(t *testing.T) {
	l := newLog(t, Options{})
	l.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		Answered(&wrapped{w}, 7)
		Answered(httptest.NewRecorder(), 8) // not logged: nothing happens
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	want(t, l.line(t), map[string]any{"generation": 7.0})
}

// wrapped is the response writer of a module in between.
type wrapped struct{ http.ResponseWriter }

func (w *wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// How a request ended is in its line.
func TestEnds(t *testing.T) {
	problem := module.Problem{Status: 502, SubStatus: 3, Reason: "connection refused"}
	for _, test := range []struct {
		name    string
		method  string
		handler func(http.ResponseWriter)
		panics  any
		want    map[string]any
	}{
		{"nothing written", "GET", func(http.ResponseWriter) {}, nil, map[string]any{"status": 200.0, "reason": ""}},
		{"problem", "GET", func(w http.ResponseWriter) {
			module.NoterOf(w).Note(problem)
			w.WriteHeader(502)
		}, nil, map[string]any{"status": 502.0, "substatus": 3.0, "reason": "connection refused"}},
		{"problem after the head", "GET", func(w http.ResponseWriter) {
			w.WriteHeader(200)
			module.NoterOf(w).Note(problem)
			panic(http.ErrAbortHandler)
		}, http.ErrAbortHandler, map[string]any{"status": 200.0, "substatus": 0.0, "reason": "aborted: connection refused"}},
		{"problem without an answer", "GET", func(w http.ResponseWriter) {
			module.NoterOf(w).Note(problem)
		}, nil, map[string]any{"status": 502.0, "substatus": 3.0, "reason": "connection refused"}},
		{"head request", "HEAD", func(w http.ResponseWriter) {
			_, _ = w.Write([]byte("not sent")) // httptest's has no errors
		}, nil, map[string]any{"status": 200.0, "bytes_out": 0.0}},
		{"panic", "GET", func(http.ResponseWriter) { panic("boom") }, "boom",
			map[string]any{"status": 500.0, "reason": "panic"}},
		{"panic after the head", "GET", func(w http.ResponseWriter) {
			w.WriteHeader(200)
			panic("boom")
		}, "boom", map[string]any{"status": 200.0, "reason": "panic"}},
		{"abort", "GET", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, http.ErrAbortHandler,
			map[string]any{"status": 0.0, "reason": "aborted"}},
		{"flushed", "GET", func(w http.ResponseWriter) {
			w.(http.Flusher).Flush()
			w.WriteHeader(404)
		}, nil, map[string]any{"status": 200.0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLog(t, Options{})
			h := l.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { test.handler(w) }))
			func() {
				defer func() {
					if got := recover(); got != test.panics {
						t.Errorf("panic %v, want %v", got, test.panics)
					}
				}()
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(test.method, "/", nil))
			}()
			want(t, l.line(t), test.want)
		})
	}
}

func explode() { panic("boom") }

// Whoever recovers outside still sees where the handler panicked.
func TestPanicKeepsItsStack(t *testing.T) {
	l := newLog(t, Options{})
	h := l.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { explode() }))
	defer func() {
		if v := recover(); v != "boom" || !strings.Contains(string(debug.Stack()), "accesslog.explode") {
			t.Errorf("recovered %v with the stack\n%s", v, debug.Stack())
		}
	}()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

// A handler that ends its goroutine, as t.FailNow does, is logged too.
func TestGoexit(t *testing.T) {
	l := newLog(t, Options{})
	h := l.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runtime.Goexit() }))
	var wg sync.WaitGroup
	wg.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) })
	wg.Wait()
	want(t, l.line(t), map[string]any{"status": 0.0, "reason": "aborted"})
}

// readerFrom is a response writer with a ReadFrom of its own, as net/http's.
type readerFrom struct {
	*httptest.ResponseRecorder
	reached io.Reader
}

func (r *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	r.reached = src
	return io.Copy(r.ResponseRecorder, src)
}

// io.Copy of a file reaches the ReadFrom that does sendfile, with the file.
func TestSendfileIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLog(t, Options{})
	w := &readerFrom{ResponseRecorder: httptest.NewRecorder()}
	l.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, path)
	})).ServeHTTP(w, httptest.NewRequest("GET", "/file", nil))
	limited, ok := w.reached.(*io.LimitedReader)
	if !ok {
		t.Fatalf("ReadFrom got %T", w.reached)
	}
	if _, ok := limited.R.(*os.File); !ok {
		t.Errorf("ReadFrom got a %T of %T", w.reached, limited.R)
	}
	want(t, l.line(t), map[string]any{"status": 200.0, "bytes_out": 100_000.0})
}

// A response writer without ReadFrom gets writes, and no endless recursion.
func TestReadFromWithoutIt(t *testing.T) {
	l := newLog(t, Options{})
	w := httptest.NewRecorder()
	l.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n, err := io.Copy(w, io.LimitReader(strings.NewReader("abcdef"), 4)); n != 4 || err != nil {
			t.Errorf("Copy: %d, %v", n, err)
		}
	})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Body.String() != "abcd" {
		t.Errorf("body %q", w.Body)
	}
	want(t, l.line(t), map[string]any{"status": 200.0, "bytes_out": 4.0})
}

// On a real server: what the response controller can do it still can.
func TestController(t *testing.T) {
	l := newLog(t, Options{})
	srv := httptest.NewServer(l.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		w.WriteHeader(http.StatusEarlyHints)
		soon := time.Now().Add(time.Minute)
		if err := errors.Join(c.EnableFullDuplex(), c.SetReadDeadline(soon), c.SetWriteDeadline(soon), c.Flush()); err != nil {
			t.Error(err)
		}
	})))
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close() // empty
	srv.Close()
	want(t, l.line(t), map[string]any{"status": 200.0})
}

func TestHijack(t *testing.T) {
	l := newLog(t, Options{})
	logged := make(chan struct{})
	h := l.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if _, ok := conn.(*net.TCPConn); !ok {
			t.Errorf("connection is a %T", conn)
		}
		_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		if err := errors.Join(err, conn.Close()); err != nil {
			t.Error(err)
		}
	}))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(logged)
		h.ServeHTTP(w, r)
	}))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	<-logged
	want(t, l.line(t), map[string]any{"status": 101.0})
}

// BenchmarkModule is what the module adds to a request.
func BenchmarkModule(b *testing.B) {
	s := NewSink(io.Discard, slog.New(slog.DiscardHandler))
	defer s.Close()
	m := New(Options{Site: "shop", App: "/", Pool: "shop", Hosting: "inprocess", Generation: 1, Sink: s})
	w := nothing{http.Header{}}
	body := []byte("Hello, World!")
	h := m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })) // nothing fails
	r := httptest.NewRequest("GET", "/some/path?with=query", nil)
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

// nothing is a response writer that costs nothing.
type nothing struct{ header http.Header }

func (n nothing) Header() http.Header         { return n.header }
func (n nothing) Write(p []byte) (int, error) { return len(p), nil }
func (n nothing) WriteHeader(int)             {}
