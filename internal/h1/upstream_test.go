package h1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

const okResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

// TestExchange_ChecksBeforeReuse has an upstream that ends, or speaks on, its
// first connection after one response.
func TestExchange_ChecksBeforeReuse(t *testing.T) {
	for _, tt := range []struct {
		name, after string
		idle        int // connections kept after the first response
	}{
		{"closed", "", 1},
		{"speaks", "HTTP/1.1 408 Too Late\r\nContent-Length: 0\r\n\r\n", 1},
		{"speaks at once", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			idle := make(chan struct{})
			done := make(chan struct{})
			u := scriptUpstream(t, func(n int, c net.Conn, br *bufio.Reader) error {
				if n > 1 {
					return answer(okResponse)(n, c, br)
				}
				if _, err := readHeadText(br); err != nil {
					return err
				}
				text := okResponse
				if tt.idle == 0 {
					text += "HTTP"
				}
				if _, err := io.WriteString(c, text); err != nil {
					return err
				}
				<-idle
				defer close(done)
				if tt.after == "" {
					return c.Close()
				}
				if _, err := io.WriteString(c, tt.after); err != nil {
					return err
				}
				done <- struct{}{}
				_, err := readHeadText(br) // hold the connection until the other side ends it
				return err
			})
			f := serveFront(t, u, nil)
			f.roundTrip(t, "GET", get)
			if err := f.err(t); err != nil {
				t.Fatal(err)
			}
			if s := u.Stats(); s.Idle != tt.idle {
				t.Errorf("%+v, want %d idle", s, tt.idle)
			}
			close(idle)
			<-done
			resp, body, _ := f.roundTrip(t, "POST", "POST / HTTP/1.1\r\nHost: h\r\n\r\n")
			if resp.StatusCode != 200 || body != "hi" {
				t.Errorf("got %d %q, %v", resp.StatusCode, body, f.err(t))
			}
			if s := u.Stats(); s.Dialed != 2 || s.Reused != 0 || s.Retried != 0 {
				t.Errorf("%+v, want a second connection without a retry", s)
			}
		})
	}
}

// TestExchange_Retries has an upstream that ends its first connection when the
// second request comes: that cannot be seen before it is sent.
func TestExchange_Retries(t *testing.T) {
	for _, tt := range []struct {
		method, raw string
		speaks      string // before it closes
		retried     uint64
	}{
		{"GET", get, "", 1},
		{"PUT", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", "", 1},
		{"GET", get, "HTTP", 0},
		{"POST", "POST / HTTP/1.1\r\nHost: h\r\n\r\n", "", 0},
		{"PATCH", "PATCH / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", "", 0},
		{"PUT", "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "", 0},
	} {
		t.Run(tt.method+" "+tt.speaks, func(t *testing.T) {
			u := scriptUpstream(t, func(n int, c net.Conn, br *bufio.Reader) error {
				if n > 1 {
					return answer(okResponse)(n, c, br)
				}
				if _, err := readHeadText(br); err != nil {
					return err
				}
				if _, err := io.WriteString(c, okResponse); err != nil {
					return err
				}
				if _, err := readHeadText(br); err != nil {
					return err
				}
				_, err := io.WriteString(c, tt.speaks)
				return err
			})
			f := serveFront(t, u, func(_ http.ResponseWriter, req *Request) { req.Buffered = true })
			f.roundTrip(t, "GET", get)
			if err := f.err(t); err != nil {
				t.Fatal(err)
			}
			resp, _, _ := f.roundTrip(t, tt.method, tt.raw)
			want := 502
			if tt.retried > 0 {
				want = 200
			}
			if resp.StatusCode != want {
				t.Errorf("got %d, want %d", resp.StatusCode, want)
			}
			if s := u.Stats(); s.Reused != 1 || s.Retried != tt.retried || s.Dialed != 1+tt.retried {
				t.Errorf("%+v, want %d retried", s, tt.retried)
			}
		})
	}
}

// TestExchange_RetriesOnce has an upstream that answers one request on each
// connection and ends it at the next, so that every retry would fail as well.
func TestExchange_RetriesOnce(t *testing.T) {
	u := scriptUpstream(t, func(n int, c net.Conn, br *bufio.Reader) error {
		if _, err := readHeadText(br); err != nil || n > 1 {
			return err
		}
		if _, err := io.WriteString(c, okResponse); err != nil {
			return err
		}
		_, err := readHeadText(br)
		return err
	})
	f := serveFront(t, u, nil)
	f.roundTrip(t, "GET", get)
	if resp, _, _ := f.roundTrip(t, "GET", get); resp.StatusCode != 502 {
		t.Errorf("got %d", resp.StatusCode)
	}
	if s := u.Stats(); s.Retried != 1 || s.Dialed != 2 {
		t.Errorf("%+v", s)
	}
}

func TestUpstream_Idle(t *testing.T) {
	block := make(chan struct{})
	u := scriptUpstream(t, func(n int, c net.Conn, br *bufio.Reader) error {
		for {
			if _, err := readHeadText(br); err != nil {
				return err
			}
			<-block
			if _, err := io.WriteString(c, okResponse); err != nil {
				return err
			}
		}
	})
	u.MaxIdle = 2
	f := serveFront(t, u, nil)
	serve := func(n int) {
		t.Helper()
		var conns []*bufio.Reader
		for range n {
			c, br := f.dial(t)
			if _, err := io.WriteString(c, get); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, br)
		}
		waitFor(t, func() bool { return u.Stats().Active == n })
		for range n {
			block <- struct{}{}
		}
		for _, br := range conns {
			readResponse(t, br, "GET")
		}
		waitFor(t, func() bool { return u.Stats().Active == 0 })
	}
	serve(3)
	if s := u.Stats(); s.Idle != 2 || s.Dialed != 3 {
		t.Errorf("%+v, want 2 of 3 kept", s)
	}
	u.CloseIdle()
	if s := u.Stats(); s.Idle != 0 {
		t.Errorf("%+v after CloseIdle", s)
	}
	serve(1)
	if s := u.Stats(); s.Idle != 1 || s.Dialed != 4 {
		t.Errorf("%+v after CloseIdle and a request", s)
	}
	for range 4 {
		<-f.errs
	}
	u.Close()
	u.Close()
	f.roundTrip(t, "GET", get)
	if failed := f.failure(t); failed.Stage != Dial || !strings.Contains(failed.Error(), ErrClosed.Error()) {
		t.Errorf("got %v after Close", failed)
	}
}
