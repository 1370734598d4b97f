package rawhttp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// session is one connection to a server that may be told to misbehave.
type session struct {
	conn   net.Conn
	br     *bufio.Reader
	n      int // requests read
	header http.Header
	req    *http.Request
	out    []byte // the right answer to req
}

// next reads a request and prepares the right answer to it.
func (s *session) next() bool {
	req, err := http.ReadRequest(s.br)
	if err != nil {
		return false
	}
	s.n++
	rec := httptest.NewRecorder()
	rec.Header().Set("X-N", fmt.Sprint(s.n))
	s.header = rec.Header()
	Answer(rec, req)
	s.req = req
	res := rec.Result()
	res.Request = req // for HEAD
	res.ContentLength = int64(rec.Body.Len())
	var b bytes.Buffer
	if err := res.Write(&b); err != nil {
		return false
	}
	s.out = b.Bytes()
	return true
}

// write sends b; a client that has seen enough may be gone.
func (s *session) write(b []byte) { _, _ = s.conn.Write(b) }

// answer sends the right answer, with what was set in header since next.
func (s *session) answer() {
	if s.header.Get("Connection") == "close" {
		s.out = bytes.Replace(s.out, []byte("\r\n"), []byte("\r\nConnection: close\r\n"), 1)
	}
	s.write(s.out)
}

// halfClose ends the stream and waits for the client to close, so that nothing
// of the answer is lost by a reset.
func (s *session) halfClose() {
	if err := s.conn.(*net.TCPConn).CloseWrite(); err == nil {
		_, _ = io.Copy(io.Discard, s.br) // any end will do
	}
}

// wait waits until the client has closed.
func (s *session) wait() { _, _ = io.Copy(io.Discard, s.br) }

// broken starts a server whose connections are served by serve and then closed.
func broken(t *testing.T, serve func(*session)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				serve(&session{conn: conn, br: bufio.NewReader(conn)})
			})
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return l.Addr().String()
}

// each makes a session that answers right but for every fifth request, which
// flaw answers; it ends the connection by returning false.
func each(flaw func(*session) bool) func(*session) {
	return func(s *session) {
		for s.next() {
			if s.n%5 != 0 {
				s.answer()
			} else if !flaw(s) {
				return
			}
		}
	}
}

// behind answers each request with the answer to the one before.
func behind(s *session) {
	var last []byte
	for s.next() {
		s.out, last = last, s.out
		if s.out == nil {
			s.out = last
		}
		s.answer()
	}
}

func TestLoadCatches(t *testing.T) {
	get := Mix{Get: 1, Head: 1, Post: 1, Chunked: 1}
	for _, test := range []struct {
		name  string
		serve func(*session)
		mix   Mix
		kinds []Kind // any of these, and no other
	}{
		{"nothing wrong", each(func(s *session) bool { s.answer(); return true }), Mix{}, nil},
		{"close instead of an answer", each(func(s *session) bool { return false }), get, []Kind{Closed, Reset}},
		{"reset instead of an answer", each(func(s *session) bool {
			return s.conn.(*net.TCPConn).SetLinger(0) != nil
		}), get, []Kind{Reset}},
		{"close after an answer", each(func(s *session) bool { s.answer(); return false }), Mix{Get: 1, Idle: 1}, []Kind{Closed, Reset}},
		{"announced close", each(func(s *session) bool {
			s.header.Set("Connection", "close")
			s.answer()
			return false
		}), get, []Kind{Closed}},
		{"body cut short", each(func(s *session) bool {
			s.write(s.out[:len(s.out)-3])
			s.halfClose()
			return false
		}), Mix{Get: 1}, []Kind{Short}},
		{"head cut short", each(func(s *session) bool {
			s.write(s.out[:20])
			s.halfClose()
			return false
		}), get, []Kind{Short}},
		{"no answer", each(func(s *session) bool { s.wait(); return false }), get, []Kind{Late}},
		{"half an answer", each(func(s *session) bool {
			s.write(s.out[:len(s.out)-3])
			s.wait()
			return false
		}), Mix{Get: 1}, []Kind{Late}},
		{"answered twice", each(func(s *session) bool {
			s.write(append(s.out, s.out...))
			return true
		}), get, []Kind{Extra, Mismatch}},
		{"answered twice, the second time late", each(func(s *session) bool {
			s.answer()
			s.answer()
			return true
		}), Mix{Get: 2, Idle: 1}, []Kind{Extra, Mismatch}},
		{"extra byte", each(func(s *session) bool {
			s.write(append(s.out, '\n'))
			return true
		}), get, []Kind{Extra, Malformed}},
		{"two answers swapped", func(s *session) {
			for s.next() {
				first := s.out
				if !s.next() {
					return
				}
				s.answer()
				s.write(first)
			}
		}, Mix{Pipelined: 1}, []Kind{Mismatch, Late}}, // late: the pair is not complete while the first answer is waited for
		{"answer to the request before", behind, Mix{Get: 1}, []Kind{Mismatch}},
		{"answer to the HEAD before", behind, Mix{Head: 1}, []Kind{Mismatch}},
		{"one byte of the body wrong", each(func(s *session) bool {
			s.out[len(s.out)-1] ^= 1
			s.answer()
			return true
		}), Mix{Get: 1}, []Kind{Mismatch}},
		{"another status", each(func(s *session) bool {
			s.write([]byte("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"))
			return true
		}), get, []Kind{Status}},
		{"body on HEAD", each(func(s *session) bool {
			s.write(append(s.out, "body"...))
			return true
		}), Mix{Head: 1}, []Kind{Extra, Malformed}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			limit := 20 * time.Second
			if slices.Contains(test.kinds, Late) {
				limit = 100 * time.Millisecond
			}
			r := Load{Addr: broken(t, test.serve), Conns: 2, For: 150 * time.Millisecond, Mix: test.mix,
				Idle: 5 * time.Millisecond, Limit: limit}.Run(t.Context())
			left := r.Failures
			for _, k := range test.kinds {
				left -= r.ByKind[k]
			}
			if (len(test.kinds) > 0) != (r.Failures > 0) || left != 0 {
				t.Errorf("want only %q\n%v\n%v", test.kinds, r, r.Err())
			}
			if r.Requests == 0 && test.name != "two answers swapped" {
				t.Errorf("no request came through: %v", r)
			}
			for _, f := range r.Details {
				if f.Err == nil || f.Local == "" {
					t.Errorf("failure without details: %+v", f)
				}
			}
		})
	}
}
