package suite

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"aerie/internal/rawhttp"
)

// limits are the tests of what a server must not take for ever, or at all.
func (s *suite) limits() []test {
	timeout := when(s.HeaderTimeout > 0, "no header timeout")
	return []test{
		{"half a head and silence", s.silence, timeout},
		{"head byte by byte", s.drip, timeout},
		{"nothing at all", s.nothing, timeout},
		{"half a head and the end", s.halfHead, ""},
		{"half a head keeps nobody waiting", s.nobodyWaits, ""},
		{"too large head", s.largeHead, when(s.MaxHeader > 0, "no limit")},
		{"too long URL", s.longURL, when(s.MaxURL > 0, "no limit")},
		{"too large body", s.largeBody, when(s.MaxBody > 0, "no limit")},
	}
}

// timedOut reads the end of a connection whose head did not come in time.
func (s *suite) timedOut(t *testing.T, c *rawhttp.Conn) {
	t.Helper()
	c.Limit = s.HeaderTimeout + 3*time.Second
	r, err := c.ReadResponse("GET")
	switch {
	case s.TimeoutVaries && rawhttp.KindOf(err) == rawhttp.Closed:
		return
	case err != nil:
		t.Error(err)
		return
	case r.Status != 408 && !(s.TimeoutVaries && r.Status == 400) || !r.Close:
		t.Errorf("status %d, close %v, want 408 and a close", r.Status, r.Close)
	}
	ends(t, c)
}

func (s *suite) silence(t *testing.T) {
	for _, half := range []string{"G", "GET / HT", string(s.head("GET", "/pid")[:30])} {
		c := s.dial(t)
		send(t, c, []byte(half))
		if err := c.Idle(s.HeaderTimeout / 2); err != nil {
			t.Errorf("%q: before the time-out: %v", half, err)
		}
		s.timedOut(t, c)
	}
	c := s.dial(t) // in the second request of a connection too
	s.usable(t, c)
	send(t, c, []byte("GET / HTTP/1.1\r\nHo"))
	s.timedOut(t, c)
}

// drip: the limit is for the whole head, not for the pause between two bytes.
func (s *suite) drip(t *testing.T) {
	c := s.dial(t)
	begun := time.Now()
	head := s.head("GET", "/pid", "X-Long: "+strings.Repeat("x", 1000))
	for i := range head {
		if err := c.Send(head[i : i+1]); err != nil {
			break
		}
		if err := c.Idle(s.HeaderTimeout / 8); err != nil {
			break
		}
	}
	if took := time.Since(begun); took > 2*s.HeaderTimeout+time.Second {
		t.Errorf("ended after %v, want %v", took, s.HeaderTimeout)
	}
}

// nothing: a connection on which nothing was sent gets no answer, which the
// client would take for that to its next request.
func (s *suite) nothing(t *testing.T) {
	c := s.dial(t)
	if err := c.Idle(s.HeaderTimeout + s.HeaderTimeout/2); err != nil && rawhttp.KindOf(err) != rawhttp.Closed {
		t.Error(err)
	}
	c = s.dial(t)
	s.usable(t, c)
	if err := c.Idle(s.HeaderTimeout + s.HeaderTimeout/2); err != nil {
		t.Errorf("an idle connection does not fall under the header time-out: %v", err)
	}
}

// halfHead: a client that ends in the middle of a head is noticed at once.
func (s *suite) halfHead(t *testing.T) {
	c := s.dial(t)
	if s.HeaderTimeout > 0 {
		c.Limit = s.HeaderTimeout / 2
	}
	send(t, c, []byte("GET / HTTP/1.1\r\nHost: x\r\nX-Ha"))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	r, err := c.ReadResponse("GET")
	switch kind := rawhttp.KindOf(err); {
	case err == nil:
		if r.Status != 400 && r.Status != 408 || !r.Close {
			t.Errorf("status %d, close %v", r.Status, r.Close)
		}
		ends(t, c)
	case kind != rawhttp.Closed && kind != rawhttp.Reset:
		t.Errorf("not closed: %v", err)
	}
}

func (s *suite) nobodyWaits(t *testing.T) {
	for i := range 20 {
		send(t, s.dial(t), s.head("GET", "/pid")[:1+i])
	}
	c := s.dial(t)
	c.Limit = time.Second
	s.usable(t, c)
}

// refused sends too much of something. The server may close before it has read
// it all, so only the answer counts.
func (s *suite) refused(t *testing.T, status int, wire []byte) {
	t.Helper()
	before := s.count(t)
	c := s.dial(t)
	sendErr := c.Send(wire)
	r, err := c.ReadResponse("GET")
	if err != nil {
		t.Fatalf("%v (sending: %v)", err, sendErr)
	}
	if r.Status != status || !r.Close {
		t.Errorf("status %d, close %v, want %d and a close", r.Status, r.Close, status)
	}
	ends(t, c)
	if n := s.count(t) - before; n > 0 && status != 413 {
		t.Errorf("%d requests reached the app", n)
	}
}

func (s *suite) largeHead(t *testing.T) {
	for _, line := range []string{"X-Long: " + strings.Repeat("x", s.MaxHeader+10_000),
		strings.TrimSuffix(strings.Repeat("X-Many: x\r\n", s.MaxHeader/11+1000), "\r\n")} {
		s.refused(t, 431, s.head("GET", "/pid", line))
	}
}

func (s *suite) longURL(t *testing.T) {
	s.refused(t, 414, s.head("GET", "/facts/"+strings.Repeat("x", s.MaxURL)))
	f := facts(t, s.dial(t), s.head("GET", "/facts/"+strings.Repeat("x", s.MaxURL-len(s.PathBase+"/facts/"))))
	if len(f.Path) != s.MaxURL {
		t.Errorf("a URL of just the limit came as %d bytes", len(f.Path))
	}
}

func (s *suite) largeBody(t *testing.T) {
	s.refused(t, 413, s.head("POST", "/sink", fmt.Sprintf("Content-Length: %d", s.MaxBody+1)))
	body := bytes.Repeat([]byte("x"), int(s.MaxBody)+600_000) // past what net/http reads after the handler
	s.refused(t, 413, append(s.head("POST", "/sink", "Transfer-Encoding: chunked"), chunk(body)...))
	c := s.dial(t)
	send(t, c, s.head("POST", "/sink", fmt.Sprintf("Content-Length: %d", s.MaxBody)), body[:s.MaxBody])
	read(t, c, "POST", 200)
}
