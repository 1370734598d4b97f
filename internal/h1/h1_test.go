package h1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the package if a test leaves a goroutine of ours behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leaked(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
		code = 1
	}
	os.Exit(code)
}

func leaked() string {
	var left []string
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); <-tick.C {
		buf := make([]byte, 1<<20)
		left = left[:0]
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "aerie/internal/h1.") && !strings.Contains(g, "h1.TestMain") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return ""
		}
	}
	return strings.Join(left, "\n\n")
}

// listen opens a unix socket, as most upstreams of ours have one.
func listen(t testing.TB) net.Listener {
	t.Helper()
	dir, err := os.MkdirTemp("", "h1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func dialTo(ln net.Listener) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, ln.Addr().Network(), ln.Addr().String())
	}
}

// serveUpstream starts a net/http server and returns an Upstream for it.
func serveUpstream(t testing.TB, h http.HandlerFunc) *Upstream {
	t.Helper()
	ln := listen(t)
	srv := &httptest.Server{Listener: ln, Config: &http.Server{Handler: h}}
	srv.Start()
	t.Cleanup(srv.Close)
	u := &Upstream{Dial: dialTo(ln)}
	t.Cleanup(u.Close)
	return u
}

// scriptUpstream starts an upstream that runs script on each connection; n
// counts them from 1. A script that fails ends its connection.
func scriptUpstream(t testing.TB, script func(n int, c net.Conn, br *bufio.Reader) error) *Upstream {
	t.Helper()
	ln := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer c.Close()
				_ = script(n, c, bufio.NewReader(c)) // what it finds wrong shows at the other end
			}()
			t.Cleanup(func() { c.Close(); <-done })
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	u := &Upstream{Dial: dialTo(ln)}
	t.Cleanup(u.Close)
	return u
}

// answer is a script that reads request heads and answers each with text.
func answer(text string) func(int, net.Conn, *bufio.Reader) error {
	return func(_ int, c net.Conn, br *bufio.Reader) error {
		for {
			if _, err := readHeadText(br); err != nil {
				return err
			}
			if _, err := io.WriteString(c, text); err != nil {
				return err
			}
		}
	}
}

// readHeadText reads up to and with an empty line.
func readHeadText(br *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := br.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), err
		}
		if line == "\r\n" {
			return b.String(), nil
		}
	}
}

// front is a net/http server that exchanges every request with an upstream.
type front struct {
	*httptest.Server
	errs chan error // of every exchange
}

// serveFront starts a front for u. prepare may change the request.
func serveFront(t testing.TB, u *Upstream, prepare func(http.ResponseWriter, *Request)) *front {
	t.Helper()
	f := &front{errs: make(chan error, 1000)}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := &Request{Inbound: r, Target: r.RequestURI, Host: r.Host}
		if prepare != nil {
			prepare(w, req)
		}
		err := u.Exchange(w, req)
		f.errs <- err
		var failed *Error
		if !errors.As(err, &failed) {
			return
		}
		if failed.Answered {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	f.Config.ErrorLog = nil
	t.Cleanup(f.Close)
	return f
}

// dial opens a raw connection to the front, bounded in time.
func (f *front) dial(t testing.TB) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// err returns the result of the next exchange.
func (f *front) err(t testing.TB) error {
	t.Helper()
	select {
	case err := <-f.errs:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the exchange does not end")
		return nil
	}
}

// failure returns how the next exchange failed.
func (f *front) failure(t testing.TB) *Error {
	t.Helper()
	err := f.err(t)
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("got error %v, want an *Error", err)
	}
	return failed
}

// roundTrip sends raw bytes on a new connection and reads one response with
// its body, and whether the connection was closed after it.
func (f *front) roundTrip(t testing.TB, method, raw string) (resp *http.Response, body string, closed bool) {
	t.Helper()
	c, br := f.dial(t)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	resp, body = readResponse(t, br, method)
	return resp, body, resp.Close
}

func readResponse(t testing.TB, br *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read response: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read response body: %v", err)
	}
	return resp, string(b)
}

// httptestFront starts a front with a handler of the test's own.
func httptestFront(t testing.TB, h http.HandlerFunc) *front {
	t.Helper()
	f := &front{Server: httptest.NewServer(h)}
	t.Cleanup(f.Close)
	return f
}
