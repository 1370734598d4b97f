package suite

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"aerie/internal/rawhttp"
)

// live are the tests of requests that are more than question and answer.
func (s *suite) live() []test {
	return []test{
		{"server-sent events are flushed", s.sse, ""},
		{"Expect: 100-continue", s.expect, ""},
		{"body is not asked for by who does not want it", s.expectRefused, ""},
		{"early answer", s.early, ""},
		{"client abort: GET", s.abort("GET", "", false), ""},
		{"client abort: POST", s.abort("POST", "", false), ""},
		{"client abort: in the middle of the answer", s.abort("GET", "&flush=1", false), ""},
		{"client abort: by reset", s.abort("GET", "", true), ""},
		{"client abort: in the middle of the body", s.abortBody, ""},
		{"read deadline", s.readDeadline, ""},
		{"write deadline", s.writeDeadline, ""},
	}
}

func (s *suite) sse(t *testing.T) {
	c, other, id := s.dial(t), s.dial(t), unique(t)
	send(t, c, s.head("GET", "/sse?id="+id))
	r := readHead(t, c, 200) // before there is an event
	next := func(data string) {
		send(t, other, s.head("GET", fmt.Sprintf("/sse/next?id=%s&data=%s", id, data)))
		read(t, other, "GET", 204)
	}
	for i := 1; i <= 5; i++ {
		next(fmt.Sprintf("event%d", i))
		want := fmt.Sprintf("id: %d\ndata: event%d\n\n", i, i)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("%q %v, want %q", got, err, want)
		}
	}
	next("end")
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("at the end: %q %v", rest, err)
	}
	s.usable(t, c)
}

func (s *suite) expect(t *testing.T) {
	c := s.dial(t)
	for _, field := range []string{"Content-Length: 5", "Transfer-Encoding: chunked"} {
		send(t, c, s.head("POST", "/facts", field, "Expect: 100-continue"))
		r, err := c.ReadInterim()
		if err != nil || r.Status != 100 {
			t.Fatalf("%v, want 100", err)
		}
		body := "hello"
		if strings.HasSuffix(field, "chunked") {
			body = "5\r\nhello\r\n0\r\n\r\n"
		}
		if f := facts(t, c, []byte(body)); f.Body != "hello" {
			t.Errorf("the handler read %q", f.Body)
		}
	}
	s.usable(t, c)
	send(t, c, s.head("POST", "/facts", "Content-Length: 5", "Expect: the-unexpected"))
	read(t, c, "POST", 417)
}

func (s *suite) expectRefused(t *testing.T) {
	for _, path := range []string{"/early413", "/status?c=401"} {
		c := s.dial(t)
		send(t, c, s.head("POST", path, "Content-Length: 1000000", "Expect: 100-continue"))
		r, err := c.ReadResponse("POST")
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Interim) > 0 || r.Status < 400 {
			t.Errorf("%s: %d after %d interim answers", path, r.Status, len(r.Interim))
		}
		if r.Close { // otherwise the server still waits for the body, which is its right
			ends(t, c)
		}
	}
}

// early: an answer that comes before the body is sent reaches the client. With
// chunks it may wait for the 256 KiB that net/http reads for the handler.
func (s *suite) early(t *testing.T) {
	c := s.dial(t)
	send(t, c, s.head("POST", "/early413", "Content-Length: 10000000"), make([]byte, 1000))
	read(t, c, "POST", 413)
	c = s.dial(t)
	send(t, c, s.head("POST", "/early413", "Transfer-Encoding: chunked"), chunk(make([]byte, 300_000)))
	read(t, c, "POST", 413)
}

// abort: a handler whose client goes away learns it from the request's context.
func (s *suite) abort(method, query string, reset bool) func(*testing.T) {
	return func(t *testing.T) {
		c, id := s.dial(t), unique(t)
		send(t, c, s.head(method, "/hang?id="+id+query, "Content-Length: 4"), []byte("body"))
		s.ask(t, "/hang/begun?id="+id)
		if query != "" {
			r := readHead(t, c, 200)
			if _, err := io.ReadFull(r, make([]byte, 6)); err != nil {
				t.Fatal(err)
			}
		}
		end := c.Close
		if reset {
			end = c.Abort
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if seen := s.ask(t, "/hang/seen?id="+id); seen == "" {
			t.Error("the context is done without a cause")
		}
	}
}

// abortBody: a handler that reads a body learns that the rest will not come.
func (s *suite) abortBody(t *testing.T) {
	for _, framing := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked"} {
		c, id := s.dial(t), unique(t)
		send(t, c, s.head("POST", "/hang?id="+id, framing), []byte("64\r\n"+strings.Repeat("x", 100)))
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if seen := s.ask(t, "/hang/seen?id="+id); !strings.HasPrefix(seen, "body: ") {
			t.Errorf("%s: the handler took a part for the whole: %q", framing, seen)
		}
	}
}

func (s *suite) readDeadline(t *testing.T) {
	c := s.dial(t)
	send(t, c, s.head("POST", "/deadline?op=read", "Content-Length: 10"), []byte("half "))
	if r := read(t, c, "POST", 200); string(r.Body) != "timeout" {
		t.Errorf("the handler saw %q", r.Body)
	}
}

func (s *suite) writeDeadline(t *testing.T) {
	c, id := s.dial(t), unique(t)
	send(t, c, s.head("GET", "/deadline?op=write&id="+id))
	if seen := s.ask(t, "/deadline/seen?id="+id); seen != "timeout" {
		t.Errorf("the handler saw %q", seen)
	}
	r, err := c.ReadHead("GET")
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if kind := rawhttp.KindOf(err); kind != rawhttp.Short && kind != rawhttp.Reset {
		t.Errorf("the broken answer looks whole: %v", err)
	}
}
