package h1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestExchange_FullDuplex(t *testing.T) {
	const size = 64 << 20
	for _, framing := range []string{"length", "chunks"} {
		t.Run(framing, func(t *testing.T) {
			u := serveUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				rc := http.NewResponseController(w)
				if err := rc.EnableFullDuplex(); err != nil {
					t.Error(err)
				}
				w.WriteHeader(200)
				_ = rc.Flush()
				_, _ = io.Copy(w, r.Body)
			})
			f := serveFront(t, u, nil)
			c, br := f.dial(t)
			sending := make(chan error, 1)
			go func() { sending <- sendPattern(c, size, framing == "chunks") }()
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkPattern(t, resp.Body, size)
			if err := errors.Join(<-sending, f.err(t)); err != nil {
				t.Fatal(err)
			}
			// Both connections must be good for another request.
			if _, err := io.WriteString(c, get); err != nil {
				t.Fatal(err)
			}
			readResponse(t, br, "GET")
			if s := u.Stats(); s.Dialed != 1 || s.Reused != 1 {
				t.Errorf("%+v", s)
			}
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			if m.HeapAlloc > 32<<20 {
				t.Errorf("%d bytes on the heap", m.HeapAlloc)
			}
		})
	}
}

func sendPattern(c net.Conn, size int64, chunked bool) error {
	head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size)
	if chunked {
		head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	}
	w := bufio.NewWriterSize(c, 64<<10)
	_, _ = w.WriteString(head) // a bufio.Writer keeps its first error for Flush
	p := newPattern(size)
	buf := make([]byte, 50000)
	for {
		n, err := p.Read(buf)
		if err == io.EOF {
			break
		}
		if chunked {
			fmt.Fprintf(w, "%x\r\n%s\r\n", n, buf[:n])
		} else {
			_, _ = w.Write(buf[:n])
		}
	}
	if chunked {
		_, _ = w.WriteString("0\r\n\r\n")
	}
	return w.Flush()
}

// TestExchange_AnswerBeforeBody has an upstream that answers 413 without
// reading, and a client that goes on sending until it is cut off.
func TestExchange_AnswerBeforeBody(t *testing.T) {
	for _, tt := range []struct{ name, framing, fields string }{
		{"endless chunks", "Transfer-Encoding: chunked\r\n", ""},
		{"endless chunks, upstream closes", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n"},
		{"length", "Content-Length: 1000000000\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			release := make(chan struct{})
			u := scriptUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) error {
				if _, err := readHeadText(br); err != nil {
					return err
				}
				_, err := io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n"+tt.fields+"\r\nno")
				if tt.fields == "" {
					<-release // holds the connection and reads nothing
				}
				return err
			})
			defer close(release)
			f := serveFront(t, u, nil)
			c, br := f.dial(t)
			if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\n"+tt.framing+"\r\n"); err != nil {
				t.Fatal(err)
			}
			sending := make(chan struct{})
			go func() {
				defer close(sending)
				for {
					if _, err := fmt.Fprintf(c, "%x\r\n%s\r\n", 4096, strings.Repeat("x", 4096)); err != nil {
						return
					}
				}
			}()
			resp, body := readResponse(t, br, "POST")
			if resp.StatusCode != 413 || body != "no" || !resp.Close {
				t.Errorf("got %d %q, close %v", resp.StatusCode, body, resp.Close)
			}
			if err := f.err(t); err != nil {
				t.Error(err)
			}
			<-sending // net/http has closed the connection
			if s := u.Stats(); s.Idle != 0 {
				t.Errorf("%+v: a connection in the middle of a request is kept", s)
			}
		})
	}
}

// TestExchange_AnswerBeforeIdleBody is the same with a client that waits for
// the answer instead of sending its body.
func TestExchange_AnswerBeforeIdleBody(t *testing.T) {
	u := scriptUpstream(t, answer("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"))
	f := serveFront(t, u, nil)
	c, br := f.dial(t)
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhe"); err != nil {
		t.Fatal(err)
	}
	resp, body := readResponse(t, br, "POST")
	if resp.StatusCode != 413 || body != "no" || !resp.Close {
		t.Errorf("got %d %q, close %v", resp.StatusCode, body, resp.Close)
	}
	// The rest of the body must never be read as a request.
	if _, err := io.WriteString(c, "llo, all"+get); err == nil {
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Errorf("the connection went on: %q", rest)
		}
	}
	if err := f.err(t); err != nil {
		t.Error(err)
	}
	if len(f.errs) != 0 {
		t.Error("a second request was served")
	}
}

func TestExchange_Continue(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
	t.Run("asked for", func(t *testing.T) {
		ask := make(chan struct{})
		u := scriptUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) error {
			head, err := readHeadText(br)
			if err != nil || !strings.Contains(head, "Expect: 100-continue\r\n") {
				return err
			}
			<-ask
			if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return err
			}
			body := make([]byte, 5)
			if _, err := io.ReadFull(br, body); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n%s", body)
			return err
		})
		f := serveFront(t, u, nil)
		c, br := f.dial(t)
		if _, err := io.WriteString(c, head); err != nil {
			t.Fatal(err)
		}
		close(ask)
		if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 100 {
			t.Fatalf("got %v, %v; want 100", resp, err)
		}
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if resp, body := readResponse(t, br, "POST"); resp.StatusCode != 200 || body != "hello" {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
		if err := f.err(t); err != nil {
			t.Error(err)
		}
		waitFor(t, func() bool { return u.Stats().Idle == 1 })
	})
	t.Run("refused", func(t *testing.T) {
		u := scriptUpstream(t, answer("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"))
		f := serveFront(t, u, nil)
		resp, _, closed := f.roundTrip(t, "POST", head)
		if resp.StatusCode != 417 || !closed {
			t.Errorf("got %d, close %v", resp.StatusCode, closed)
		}
		if err := f.err(t); err != nil {
			t.Error(err)
		}
		if s := u.Stats(); s.Idle != 0 {
			t.Errorf("%+v: a connection that waits for a body is kept", s)
		}
	})
	t.Run("no word", func(t *testing.T) {
		u := scriptUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) error {
			if _, err := readHeadText(br); err != nil {
				return err
			}
			body := make([]byte, 5)
			if _, err := io.ReadFull(br, body); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n%s", body)
			return err
		})
		u.ContinueTimeout = 10 * time.Millisecond
		f := serveFront(t, u, nil)
		c, br := f.dial(t)
		if _, err := io.WriteString(c, head); err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 100 {
			t.Fatalf("got %v, %v; want 100", resp, err)
		}
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if resp, body := readResponse(t, br, "POST"); resp.StatusCode != 200 || body != "hello" {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
	})
}

func TestExchange_ClientBodyFails(t *testing.T) {
	for _, tt := range []struct {
		name, raw string
		limit     int64
		buffered  bool
		half      bool // the client ends its sending
		stage     Stage
		is        error
	}{
		{name: "malformed chunk", raw: "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX" + get, stage: ClientBody},
		{name: "too large", raw: "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhello\r\n", limit: 7, stage: ClientBody, is: new(http.MaxBytesError)},
		{name: "too large, buffered", raw: "Content-Length: 10\r\n\r\nhellohello", limit: 7, buffered: true, stage: ClientBody, is: new(http.MaxBytesError)},
		{name: "ends early", raw: "Content-Length: 10\r\n\r\nhello", half: true, stage: ClientGone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cut := make(chan error, 1)
			u := serveUpstream(t, func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(io.Discard, r.Body)
				cut <- err
			})
			f := serveFront(t, u, func(w http.ResponseWriter, req *Request) {
				req.Buffered = tt.buffered
				if tt.limit > 0 {
					req.Inbound.Body = http.MaxBytesReader(w, req.Inbound.Body, tt.limit)
				}
			})
			c, br := f.dial(t)
			if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\n"+tt.raw); err != nil {
				t.Fatal(err)
			}
			if tt.half && !closeWrite(c) {
				t.Fatal("cannot close one half")
			}
			failed := f.failure(t)
			if failed.Stage != tt.stage || failed.Answered {
				t.Errorf("got %v, answered %v; want stage %q", failed, failed.Answered, tt.stage)
			}
			if tt.is != nil {
				if _, ok := errors.AsType[*http.MaxBytesError](failed); !ok {
					t.Errorf("%v is not a %T", failed, tt.is)
				}
			}
			all, _ := io.ReadAll(br) // ends only if the connection is closed
			if n := strings.Count(string(all), "HTTP/1.1 "); n > 1 {
				t.Errorf("%d responses: %q", n, all)
			}
			if !tt.buffered {
				if err := <-cut; err == nil {
					t.Error("the upstream took the body for whole")
				}
			}
		})
	}
}

func TestExchange_UpstreamEndsDuringBody(t *testing.T) {
	u := scriptUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) error {
		_, err := readHeadText(br)
		return err
	})
	f := serveFront(t, u, nil)
	c, br := f.dial(t)
	// The client waits in the middle of its body; that must not keep anybody.
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello"); err != nil {
		t.Fatal(err)
	}
	if resp, _ := readResponse(t, br, "POST"); resp.StatusCode != 502 || !resp.Close {
		t.Errorf("got %d, close %v", resp.StatusCode, resp.Close)
	}
	if failed := f.failure(t); failed.Answered || failed.Stage != Await && failed.Stage != Send {
		t.Errorf("got %v", failed)
	}
	if s := u.Stats(); s.Retried != 0 {
		t.Errorf("%+v: a body that is gone was sent twice", s)
	}
}

// TestExchange_HTTP2 has a client of the other protocol, whose bodies net/http
// reads in another way.
func TestExchange_HTTP2(t *testing.T) {
	u := serveUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			w.Header().Set("Connection", "close")
			w.WriteHeader(413)
			return
		}
		w.Header().Set("Trailer", "X-Sum")
		_ = http.NewResponseController(w).EnableFullDuplex() // net/http can
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
	})
	failures := make(chan error, 10)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		failures <- u.Exchange(w, &Request{Inbound: r, Target: r.RequestURI, Host: r.Host})
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()

	req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL, io.NopCloser(newPattern(1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{"X-Sum": {"7"}}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	checkPattern(t, resp.Body, 1<<20)
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.Trailer.Get("X-Sum") != "7" {
		t.Errorf("HTTP/%d, trailer %v", resp.ProtoMajor, resp.Trailer)
	}
	if err := <-failures; err != nil {
		t.Error(err)
	}

	// A body that never ends must not keep the exchange.
	pr, pw := io.Pipe()
	defer pw.Close()
	resp, err = srv.Client().Post(srv.URL+"/refuse", "", pr)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := <-failures; resp.StatusCode != 413 || err != nil {
		t.Errorf("got %d, %v", resp.StatusCode, err)
	}
}
