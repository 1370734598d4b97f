package rawhttp

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// dial connects to addr with a short limit.
func dial(t *testing.T, addr string) *Conn {
	t.Helper()
	c, err := Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Limit = 5 * time.Second
	t.Cleanup(func() { _ = c.Close() }) // some tests have closed it
	return c
}

// says starts a server that sends out as it is to the first request, and ends.
func says(t *testing.T, out string) *Conn {
	t.Helper()
	c := dial(t, broken(t, func(s *session) {
		if _, err := http.ReadRequest(s.br); err == nil {
			s.write([]byte(out))
			s.halfClose()
		}
	}))
	if err := c.Send([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestResponses(t *testing.T) {
	for _, test := range []struct {
		name, method, in, body string
		framing                Framing
		close                  bool
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", ByLength, false},
		{"length 0", "GET", "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", "", ByLength, false},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n", "abc0123456789", Chunked, false},
		{"until close", "GET", "HTTP/1.1 200 OK\r\n\r\nabc", "abc", UntilClose, true},
		{"announced close", "GET", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\na", "a", ByLength, true},
		{"1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", "a", ByLength, true},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "", NoBody, false},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", "", NoBody, false},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "", NoBody, false},
		{"101", "GET", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "", NoBody, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := says(t, test.in)
			r, err := c.ReadResponse(test.method)
			if err != nil {
				t.Fatal(err)
			}
			if string(r.Body) != test.body || r.Framing != test.framing || r.Close != test.close || c.Closing() != test.close {
				t.Errorf("got %q %v close=%v", r.Body, r.Framing, r.Close)
			}
			if err := c.ReadEOF(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestInterimTrailersAndOrder(t *testing.T) {
	c := says(t, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"+
		"HTTP/1.1 200 OK\r\nB: 1\r\na: 2\r\nb: \t3 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: u\r\n\r\n")
	r, err := c.ReadResponse("GET")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Interim) != 2 || r.Interim[0].Status != 100 || r.Interim[1].Header.Value("link") != "a" {
		t.Errorf("interim %v", r.Interim)
	}
	want := Header{{"B", "1"}, {"a", "2"}, {"b", "3"}, {"Transfer-Encoding", "chunked"}}
	if !slices.Equal(r.Header, want) || !slices.Equal(r.Header.Values("b"), []string{"1", "3"}) {
		t.Errorf("header %q", r.Header)
	}
	if !slices.Equal(r.Trailer, Header{{"T", "u"}}) {
		t.Errorf("trailer %q", r.Trailer)
	}
}

func TestBadResponses(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\n"
	for in, want := range map[string]Kind{
		"":                                       Closed,
		"HTTP/1.1 200 OK\nContent-Length: 0\n\n": Malformed,
		"HTTP/1.1 200\r\n\r\n":                   Malformed,
		"HTTP/1.1 2x0 OK\r\n\r\n":                Malformed,
		"HTTP/2.0 200 OK\r\n\r\n":                Malformed,
		"\r\n" + head + "\r\n":                   Malformed,
		head + "A : b\r\n\r\n":                   Malformed,
		head + "A: b\r\n c\r\n\r\n":              Malformed,
		head + "A: b\x00\r\n\r\n":                Malformed,
		head + "A\r\n\r\n":                       Malformed,
		head + "A: " + strings.Repeat("x", bufferSize) + "\r\n\r\n":               Malformed,
		head + strings.Repeat("A: b\r\n", maxFields+1) + "\r\n":                   Malformed,
		head + "Content-Length: -1\r\n\r\n":                                       Malformed,
		head + "Content-Length: +1\r\n\r\na":                                      Malformed,
		head + "Content-Length: 1, 1\r\n\r\na":                                    Malformed,
		head + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na":                  Malformed,
		head + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n":              Short,
		head + "Transfer-Encoding: gzip, chunked\r\n\r\n":                         Malformed,
		head + "Content-Length: 3\r\n\r\nab":                                      Short,
		head + "Content-Length: 3\r\n":                                            Short,
		head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n":                   Short,
		head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n":              Short,
		head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n":             Malformed,
		head + "Transfer-Encoding: chunked\r\n\r\n-1\r\n":                         Malformed,
		head + "Transfer-Encoding: chunked\r\n\r\n\r\n":                           Malformed,
		head + "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n":                  Malformed,
		"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n":                    Malformed,
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n":              Malformed,
		head + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": Malformed,
	} {
		_, err := says(t, in).ReadResponse("GET")
		if KindOf(err) != want {
			t.Errorf("%.80q: got %v, want %s", in, err, want)
		}
	}
}

func TestIdleAndClose(t *testing.T) {
	release := make(chan string)
	c := dial(t, broken(t, func(s *session) {
		for out := range release {
			s.write([]byte(out))
		}
	}))
	if err := c.Idle(20 * time.Millisecond); err != nil {
		t.Errorf("silence: %v", err)
	}
	release <- "x"
	if err := c.Idle(time.Minute); KindOf(err) != Extra {
		t.Errorf("a byte: %v", err)
	}
	if err := c.ReadEOF(); KindOf(err) != Extra {
		t.Errorf("a byte instead of the close: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	c.Limit = 20 * time.Millisecond
	if err := c.ReadEOF(); KindOf(err) != Late {
		t.Errorf("no close: %v", err)
	}
	if _, err := c.ReadHead("GET"); KindOf(err) != Late {
		t.Errorf("no answer: %v", err)
	}
	close(release)
	if err := c.Idle(time.Minute); KindOf(err) != Closed {
		t.Errorf("a close: %v", err)
	}
}

func TestInterimIsAwaited(t *testing.T) {
	addr := server(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	})
	c := dial(t, addr)
	if err := c.Send([]byte("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if r, err := c.ReadInterim(); err != nil || r.Status != 100 {
		t.Fatalf("%v %v", r, err)
	}
	if err := c.Send([]byte("h"), []byte("i")); err != nil {
		t.Fatal(err)
	}
	if r, err := c.ReadResponse("POST"); err != nil || string(r.Body) != "hi" {
		t.Fatalf("%v %v", r, err)
	}
	if err := c.Send([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadInterim(); KindOf(err) != Status {
		t.Errorf("a final answer: %v", err)
	}
}

func TestFailureTellsWhatWasSentAndSeen(t *testing.T) {
	c := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nonly this")
	_, err := c.ReadResponse("GET")
	for _, part := range []string{"short", "only this", "Host: x", c.LocalAddr().String()} {
		if !strings.Contains(fmt.Sprint(err), part) {
			t.Errorf("%q not in %v", part, err)
		}
	}
}

func TestPattern(t *testing.T) {
	all := make([]byte, 100_000)
	Pattern(all, 0)
	for _, off := range []int64{1, 7, 8, 9, 4097, 65_536} {
		part := make([]byte, 100)
		Pattern(part, off)
		if !bytes.Equal(part, all[off:off+100]) {
			t.Errorf("offset %d", off)
		}
	}
	var check PatternChecker
	if n, err := io.Copy(&check, PatternReader(100_000)); err != nil || n != 100_000 || check.N != n {
		t.Errorf("%d %v", n, err)
	}
	if _, err := check.Write([]byte{0}); err == nil {
		t.Error("a wrong byte was taken")
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	h.add(time.Hour * 24 * 365 * 200)
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond} {
		if got := h.quantile(q); got > want || got < want-want/16 {
			t.Errorf("quantile %v: %v", q, got)
		}
	}
}
