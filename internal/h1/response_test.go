package h1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
)

const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

func TestExchange_DeliversResponse(t *testing.T) {
	for _, tt := range []struct {
		name, method, upstream string
		status                 int
		body                   string
		header                 map[string]string // "" must be absent
	}{
		{"length", "GET", "HTTP/1.1 201 Made\r\nContent-Length: 2\r\nX-a: b\r\n\r\nhi", 201, "hi", map[string]string{"X-A": "b", "Content-Length": "2", "Content-Type": ""}},
		{"chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Type: a/b\r\n\r\n2;x=y\r\nhi\r\n00A \t\r\n0123456789\r\n0\r\n\r\n", 200, "hi0123456789", map[string]string{"Content-Type": "a/b"}},
		{"until the end", "GET", "HTTP/1.0 200 OK\r\n\r\nhi", 200, "hi", nil},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", map[string]string{"Content-Length": "0"}},
		{"equal lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", map[string]string{"Content-Length": "2"}},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", 200, "", map[string]string{"Content-Length": "1000"}},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", map[string]string{"Content-Length": "", "Transfer-Encoding": ""}},
		{"304", "GET", "HTTP/1.1 304\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n", 304, "", map[string]string{"Etag": `"x"`}},
		{"hop by hop", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x-mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=9\r\nUpgrade: h2c\r\nProxy-Authenticate: x\r\nX-Yours: 2\r\n\r\n", 200, "",
			map[string]string{"X-Mine": "", "Keep-Alive": "", "Upgrade": "", "Proxy-Authenticate": "", "X-Yours": "2", "Connection": ""}},
		{"replaces what was set before", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: theirs\r\n\r\n", 200, "", map[string]string{"Server": "theirs"}},
		{"odd status", "GET", "HTTP/1.1 999 Go Away\r\nContent-Length: 0\r\n\r\n", 999, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := scriptUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) error {
				if _, err := readHeadText(br); err != nil {
					return err
				}
				// Byte by byte, so that no state of the parser is left out.
				for _, b := range []byte(tt.upstream) {
					if _, err := c.Write([]byte{b}); err != nil {
						return err
					}
				}
				return nil
			})
			f := serveFront(t, u, func(w http.ResponseWriter, _ *Request) { w.Header().Set("Server", "ours") })
			resp, body, _ := f.roundTrip(t, tt.method, tt.method+" / HTTP/1.1\r\nHost: h\r\n\r\n")
			if err := f.err(t); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || body != tt.body {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, body, tt.status, tt.body)
			}
			for name, want := range tt.header {
				if got := strings.Join(resp.Header[name], ", "); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
		})
	}
}

// TestExchange_BadUpstream has an upstream that answers one request with what
// is there and closes the connection.
func TestExchange_BadUpstream(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	const chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		name, upstream string
		stage          Stage
		answered       bool
	}{
		{"nothing", "", Await, false},
		{"half a head", "HTTP/1.1 200 OK\r\nX: y\r\n", Await, false},
		{"only interim", "HTTP/1.1 103 Early Hints\r\n\r\n", Await, false},
		{"not http", "SSH-2.0-OpenSSH_9\r\n\r\n", Malformed, false},
		{"http 2", "HTTP/2.0 200 OK\r\n\r\n", Malformed, false},
		{"http 1.2", "HTTP/1.2 200 OK\r\n\r\n", Malformed, false},
		{"status of two digits", "HTTP/1.1 20 OK\r\n\r\n", Malformed, false},
		{"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", Malformed, false},
		{"status 099", "HTTP/1.1 099 OK\r\n\r\n", Malformed, false},
		{"signed status", "HTTP/1.1 +20 OK\r\n\r\n", Malformed, false},
		{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", Malformed, false},
		{"bare CR", ok + "X: a\rb\r\n\r\n", Malformed, false},
		{"NUL", ok + "X: a\x00b\r\n\r\n", Malformed, false},
		{"folded", ok + "X: a\r\n b\r\n\r\n", Malformed, false},
		{"folded first", ok + " X: a\r\n\r\n", Malformed, false},
		{"space before colon", ok + "X : a\r\n\r\n", Malformed, false},
		{"no colon", ok + "X\r\n\r\n", Malformed, false},
		{"no name", ok + ": x\r\n\r\n", Malformed, false},
		{"negative length", ok + "Content-Length: -1\r\n\r\n", Malformed, false},
		{"signed length", ok + "Content-Length: +1\r\n\r\nx", Malformed, false},
		{"list of lengths", ok + "Content-Length: 1, 1\r\n\r\nx", Malformed, false},
		{"empty length", ok + "Content-Length:\r\n\r\nx", Malformed, false},
		{"length out of range", ok + "Content-Length: 9223372036854775808\r\n\r\nx", Malformed, false},
		{"lengths differ", ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", Malformed, false},
		{"length and chunks", ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Malformed, false},
		{"chunked twice", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Malformed, false},
		{"gzip, chunked", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Malformed, false},
		{"chunked in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Malformed, false},
		{"framing as trailer", ok + "Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n", Malformed, false},
		{"upgrade that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", Malformed, false},
		{"interim without end", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 101), Malformed, false},
		{"long head", ok + "X: " + strings.Repeat("x", 70000) + "\r\n\r\n", HeaderTooLarge, false},
		{"long head without end", ok + "X: " + strings.Repeat("x", 70000), HeaderTooLarge, false},
		{"many fields", ok + strings.Repeat("X: y\r\n", 257) + "\r\n", HeaderTooLarge, false},
		{"body cut", ok + "Content-Length: 5\r\n\r\nhell", Body, true},
		{"long body cut", ok + "Content-Length: 5000000\r\n\r\nhell", Body, true},
		{"chunk cut", chunked + "5\r\nhell", Body, true},
		{"no last chunk", chunked + "5\r\nhello\r\n", Body, true},
		{"no end of trailers", chunked + "0\r\n", Body, true},
		{"trailers cut", chunked + "0\r\nX: y\r\n", Body, true},
		{"chunk too long", chunked + "2\r\nhello\r\n0\r\n\r\n", Malformed, true},
		{"chunk size", chunked + "x\r\n", Malformed, true},
		{"negative chunk size", chunked + "-1\r\n", Malformed, true},
		{"no chunk size", chunked + "\r\n", Malformed, true},
		{"huge chunk size", chunked + "1000000000000000\r\n", Malformed, true},
		{"chunk line with LF", chunked + "5\nhello\r\n0\r\n\r\n", Malformed, true},
		{"chunk line with CR", chunked + "5;a\rb\r\nhello\r\n0\r\n\r\n", Malformed, true},
		{"long chunk line", chunked + "5;" + strings.Repeat("a", 5000) + "\r\nhello\r\n0\r\n\r\n", Malformed, true},
		{"much that is not data", chunked + strings.Repeat("1;"+strings.Repeat("a", 3000)+"\r\nx\r\n", 10), Malformed, true},
		{"bad trailer", chunked + "0\r\nX : y\r\n\r\n", Malformed, true},
		{"long trailers", chunked + "0\r\nX: " + strings.Repeat("x", 70000) + "\r\n\r\n", HeaderTooLarge, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := scriptUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) error {
				if _, err := readHeadText(br); err != nil {
					return err
				}
				_, err := io.WriteString(c, tt.upstream)
				return err
			})
			f := serveFront(t, u, nil)
			c, br := f.dial(t)
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			failed := f.failure(t)
			if failed.Stage != tt.stage || failed.Answered != tt.answered {
				t.Errorf("got %v, answered %v; want stage %q, answered %v", failed, failed.Answered, tt.stage, tt.answered)
			}
			all, _ := io.ReadAll(br)
			if !tt.answered && !strings.Contains(string(all), "HTTP/1.1 502 ") {
				t.Errorf("the caller could not answer: %q", all)
			}
			if tt.answered && strings.HasSuffix(string(all), "0\r\n\r\n") {
				t.Errorf("a broken response looks whole: %q", all)
			}
			if s := u.Stats(); s.Idle != 0 || s.Retried != 0 || s.Active != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestExchange_DialFails(t *testing.T) {
	ln := listen(t)
	ln.Close()
	f := serveFront(t, &Upstream{Dial: dialTo(ln)}, nil)
	if resp, _, _ := f.roundTrip(t, "GET", get); resp.StatusCode != 502 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if failed := f.failure(t); failed.Stage != Dial || failed.Answered {
		t.Errorf("got %v", failed)
	}
}

func TestExchange_Trailers(t *testing.T) {
	const text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\n\r\n"
	u := scriptUpstream(t, answer(text))
	f := serveFront(t, u, nil)
	c, br := f.dial(t)
	for range 2 {
		if _, err := io.WriteString(c, get); err != nil {
			t.Fatal(err)
		}
		resp, body := readResponse(t, br, "GET")
		if got := fmt.Sprint(body, resp.Trailer); got != "himap[X-More:[2] X-Sum:[1]]" {
			t.Errorf("got %s", got)
		}
	}
	if s := u.Stats(); s.Dialed != 1 {
		t.Errorf("%+v: the connection was not reused", s)
	}
	if resp, body, _ := f.roundTrip(t, "GET", "GET / HTTP/1.0\r\n\r\n"); body != "hi" || len(resp.Trailer) != 0 || resp.Header.Get("Trailer") != "" {
		t.Errorf("HTTP/1.0 got %q, %v, %v", body, resp.Header, resp.Trailer)
	}
}

func TestExchange_Interim(t *testing.T) {
	const text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	f := serveFront(t, scriptUpstream(t, answer(text)), nil)
	c, br := f.dial(t)
	if _, err := io.WriteString(c, get); err != nil {
		t.Fatal(err)
	}
	early, err := http.ReadResponse(br, nil)
	if err != nil || early.StatusCode != 103 || early.Header.Get("Link") != "</a>" {
		t.Fatalf("got %v, %v; want 103", early, err)
	}
	if resp, body := readResponse(t, br, "GET"); resp.StatusCode != 200 || body != "hi" || resp.Header.Get("Link") != "" {
		t.Errorf("got %v, %q", resp, body)
	}
	if resp, _, _ := f.roundTrip(t, "GET", "GET / HTTP/1.0\r\n\r\n"); resp.StatusCode != 200 {
		t.Errorf("HTTP/1.0 got %d", resp.StatusCode)
	}
}

// flushes counts how often a response was flushed before its end.
type flushes struct {
	http.ResponseWriter
	n int
}

func (f *flushes) FlushError() error {
	f.n++
	return http.NewResponseController(f.ResponseWriter).Flush()
}

func (f *flushes) Unwrap() http.ResponseWriter { return f.ResponseWriter }

func TestExchange_FlushesOnlyBeforeWaiting(t *testing.T) {
	next := make(chan string)
	u := serveUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/small" {
			_, _ = io.WriteString(w, "hello")
			return
		}
		for event := range next {
			_, _ = io.WriteString(w, event)
			_ = http.NewResponseController(w).Flush()
		}
	})
	counts := make(chan int, 1)
	f := httptestFront(t, func(w http.ResponseWriter, r *http.Request) {
		counting := &flushes{ResponseWriter: w}
		if err := u.Exchange(counting, &Request{Inbound: r, Target: r.RequestURI, Host: r.Host}); err != nil {
			t.Error(err)
		}
		counts <- counting.n
	})
	c, br := f.dial(t)
	if _, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	readResponse(t, br, "GET")
	if n := <-counts; n != 0 {
		t.Errorf("a small response was flushed %d times", n)
	}

	// Every event must come through before the next one is sent.
	if _, err := io.WriteString(c, "GET /events HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	next <- "event 0\n"
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(resp.Body)
	for i := range 20 {
		if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("event %d\n", i) {
			t.Fatalf("event %d: %q, %v", i, line, err)
		}
		if i < 19 {
			next <- fmt.Sprintf("event %d\n", i+1)
		}
	}
	close(next)
	<-counts
}

// A client that only says that it sends no more still wants its answer.
func TestExchange_HalfClosedClientIsAnswered(t *testing.T) {
	u := serveUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done() // net/http's word for the same
		_, _ = io.WriteString(w, "answer")
	})
	f := serveFront(t, u, nil)
	c, br := f.dial(t)
	if _, err := io.WriteString(c, get); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "answer" {
		t.Errorf("got %q, %v", body, err)
	}
	if s := u.Stats(); s.Idle != 0 {
		t.Errorf("%+v: a half-closed connection is kept", s)
	}
}

// lastRead is a body that ends in the moment in which the client's leaving is noticed:
// net/http looks for that when it has read the end.
type lastRead struct {
	io.Reader
	leave func()
}

func (b *lastRead) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.leave()
		for range 1000 {
			runtime.Gosched() // for those who are told of it
		}
	}
	return n, err
}

func (b *lastRead) Close() error { return nil }

// A client that half-closes behind its upload has sent all of it.
func TestExchange_HalfClosedBehindTheBody(t *testing.T) {
	for _, length := range []int64{-1, 100_000} {
		for _, expect := range []string{"", "100-continue"} {
			got := make(chan error, 1)
			u := serveUpstream(t, func(_ http.ResponseWriter, r *http.Request) {
				n, err := io.Copy(io.Discard, r.Body)
				if n != 100_000 {
					err = errors.Join(err, fmt.Errorf("%d bytes", n))
				}
				got <- err
			})
			ctx, leave := context.WithCancel(t.Context())
			r := httptest.NewRequestWithContext(ctx, "POST", "/", &lastRead{strings.NewReader(strings.Repeat("x", 100_000)), leave})
			r.ContentLength = length
			if expect != "" {
				r.Header.Set("Expect", expect)
			}
			w := httptest.NewRecorder()
			if err := u.Exchange(w, &Request{Inbound: r, Target: "/", Host: "h"}); err != nil || expect == "" && w.Code != 200 { // a recorder keeps the first status, 100 included
				t.Errorf("length %d, expect %q: %v, %d", length, expect, err, w.Code)
			}
			if err := <-got; err != nil {
				t.Errorf("length %d, expect %q: the upstream got %v", length, expect, err)
			}
		}
	}
}

// A short chunked response stays a chunked one.
func TestExchange_ChunkedStaysChunked(t *testing.T) {
	u := serveUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one")
		_ = http.NewResponseController(w).Flush()
	})
	f := serveFront(t, u, nil)
	c, br := f.dial(t)
	if _, err := io.WriteString(c, get); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.TransferEncoding) != 1 || resp.ContentLength != -1 {
		t.Errorf("got transfer encoding %q, length %d", resp.TransferEncoding, resp.ContentLength)
	}
}

func TestExchange_ClientGone(t *testing.T) {
	t.Run("while waiting", func(t *testing.T) {
		ended := make(chan error, 1)
		got := make(chan struct{})
		u := serveUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			close(got)
			<-r.Context().Done()
			ended <- r.Context().Err()
			panic(http.ErrAbortHandler) // nobody is there for an answer
		})
		f := serveFront(t, u, nil)
		c, _ := f.dial(t)
		if _, err := io.WriteString(c, get); err != nil {
			t.Fatal(err)
		}
		<-got
		c.Close()
		if err := <-ended; err != context.Canceled {
			t.Errorf("upstream saw %v", err)
		}
		if failed := f.failure(t); failed.Stage != ClientGone || failed.Answered {
			t.Errorf("got %v, answered %v", failed, failed.Answered)
		}
		if s := u.Stats(); s.Idle != 0 {
			t.Errorf("%+v: a connection that was cut is kept", s)
		}
	})
	for _, length := range []string{"", "Content-Length: 10000000\r\n"} {
		t.Run("while streaming "+length, func(t *testing.T) {
			u := scriptUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) error {
				if _, err := readHeadText(br); err != nil {
					return err
				}
				_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n"+length+"\r\n")
				for err == nil {
					_, err = c.Write(make([]byte, 1000))
				}
				return err
			})
			f := serveFront(t, u, nil)
			c, br := f.dial(t)
			if _, err := io.WriteString(c, get); err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, br, 5000); err != nil {
				t.Fatal(err)
			}
			c.Close()
			if failed := f.failure(t); failed.Stage != ClientGone || !failed.Answered {
				t.Errorf("got %v, answered %v", failed, failed.Answered)
			}
		})
	}
}

func TestExchange_LargeBody(t *testing.T) {
	const size = 64<<20 + 12345
	for _, length := range []bool{true, false} {
		t.Run(fmt.Sprintf("length %v", length), func(t *testing.T) {
			u := serveUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
				if length {
					w.Header().Set("Content-Length", fmt.Sprint(size))
				}
				_, _ = io.Copy(w, newPattern(size))
			})
			f := serveFront(t, u, nil)
			resp, err := f.Client().Get(f.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			checkPattern(t, resp.Body, size)
			if err := f.err(t); err != nil {
				t.Fatal(err)
			}
			if s := u.Stats(); s.Idle != 1 {
				t.Errorf("%+v: the connection is not kept", s)
			}
		})
	}
}

// pattern is a reader of size bytes that tell their position well enough.
type pattern struct {
	block    []byte
	left, at int64
}

// newPattern's period is a prime, so that no buffer size divides it.
func newPattern(size int64) *pattern {
	block := make([]byte, 1048573)
	_, _ = rand.NewChaCha8([32]byte{}).Read(block) // never fails
	return &pattern{block: block, left: size}
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.left)]
	n := copy(b, p.block[p.at%int64(len(p.block)):])
	p.at += int64(n)
	p.left -= int64(n)
	return n, nil
}

func checkPattern(t *testing.T, r io.Reader, size int64) {
	t.Helper()
	want := newPattern(size)
	got, expected := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := r.Read(got)
		m, _ := io.ReadFull(want, expected[:n]) // fewer than n: the comparison tells
		if !bytes.Equal(got[:n], expected[:m]) {
			t.Fatalf("wrong bytes before position %d", want.at)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", want.at, err)
		}
	}
	if want.left != 0 {
		t.Fatalf("%d bytes are missing", want.left)
	}
}

func TestExchange_KeepAliveLimit(t *testing.T) {
	for _, tt := range []struct {
		fields string
		dialed uint64
	}{
		{"", 1},
		{"Keep-Alive: timeout=5, max=100\r\n", 1},
		{"Keep-Alive: timeout=1\r\n", 3},
		{"Connection: close\r\n", 3},
	} {
		t.Run(tt.fields, func(t *testing.T) {
			u := scriptUpstream(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"+tt.fields+"\r\n"))
			f := serveFront(t, u, nil)
			for range 3 {
				f.roundTrip(t, "GET", get)
				if err := f.err(t); err != nil {
					t.Fatal(err)
				}
			}
			if s := u.Stats(); s.Dialed != tt.dialed {
				t.Errorf("%+v, want %d connections", s, tt.dialed)
			}
		})
	}
	t.Run("idle", func(t *testing.T) {
		u := scriptUpstream(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
		u.IdleTimeout = 20 * time.Millisecond
		f := serveFront(t, u, nil)
		f.roundTrip(t, "GET", get)
		waitFor(t, func() bool { return u.Stats().Idle == 0 })
	})
}

// waitFor polls until ok holds.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}
