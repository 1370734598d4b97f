package suite

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"aerie/internal/rawhttp"
	"aerie/test/behave"
)

// others are the tests of other sites on a connection. They come last: a host
// remembers a client that mixes sites, and does not hand it over any more.
func (s *suite) others() []test {
	return []test{
		{"many sites on one connection", s.manySites, when(s.OtherHost != "", "no other site")},
	}
}

// messages are the tests of single requests and of their order.
func (s *suite) messages() []test {
	return []test{
		{"methods", s.methods, ""},
		{"chunked answer", s.chunked, ""},
		{"trailers", s.trailers, ""},
		{"HEAD, 204, 304 and other statuses", s.bodiless, ""},
		{"103 early hints", s.earlyHints, ""},
		{"pipelined requests", s.pipelined, ""},
		{"head split at each byte", s.split, ""},
		{"Connection: close and HTTP/1.0", s.clientCloses, ""},
		{"half-close", s.halfClose, ""},
		{"load", s.load, ""},
	}
}

func (s *suite) methods(t *testing.T) {
	c := s.dial(t)
	for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH"} {
		f := facts(t, c, s.head(m, "/facts", "Content-Length: 4"), []byte("body"))
		if f.Method != m || f.Body != "body" {
			t.Errorf("%s: the handler saw %s with %q", m, f.Method, f.Body)
		}
	}
}

func (s *suite) chunked(t *testing.T) {
	c := s.dial(t)
	r := s.get(t, c, "/chunked")
	if string(r.Body) != "piece 0\npiece 1\npiece 2\n" || r.Framing != rawhttp.Chunked {
		t.Errorf("%s, %q", r.Framing, r.Body)
	}
	s.usable(t, c)
	f := facts(t, c, s.head("POST", "/facts", "Transfer-Encoding: chunked"),
		[]byte("3;ext=\"x\"\r\nabc\r\n"), []byte("1"), []byte("0\r\n0123456789abcdef\r\n"), []byte("0\r\n\r\n"))
	if f.Body != "abc0123456789abcdef" {
		t.Errorf("the handler read %q", f.Body)
	}
	s.usable(t, c)
}

func (s *suite) trailers(t *testing.T) {
	c := s.dial(t)
	send(t, c, s.head("POST", "/trailers", "Transfer-Encoding: chunked", "Trailer: X-Late", "TE: trailers"),
		[]byte("3\r\nabc\r\n0\r\nX-Late: yes\r\n\r\n"))
	r := read(t, c, "POST", 200)
	const sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if string(r.Body) != "abc" || r.Trailer.Value("X-Sum") != sum || r.Trailer.Value("X-Echo-X-Late") != "yes" {
		t.Errorf("%q, trailers %q", r.Body, r.Trailer)
	}
	s.usable(t, c)
}

func (s *suite) bodiless(t *testing.T) {
	c := s.dial(t)
	send(t, c, s.head("HEAD", "/big?n=100000&length=1"))
	if r := read(t, c, "HEAD", 200); r.Length != 100000 {
		t.Errorf("HEAD: %q", r.Header)
	}
	s.usable(t, c)
	for _, code := range []int{200, 204, 304, 400, 404, 500} {
		for _, method := range []string{"GET", "HEAD"} {
			send(t, c, s.head(method, fmt.Sprintf("/status?c=%d", code)))
			r := read(t, c, method, code)
			want := fmt.Sprintf("status %d\n", code)
			if method == "HEAD" || code == 204 || code == 304 {
				want = ""
			}
			if string(r.Body) != want || r.Header.Value("X-Status") != fmt.Sprint(code) {
				t.Errorf("%s %d: %q %q", method, code, r.Header, r.Body)
			}
			if code == 304 && r.Header.Value("ETag") != `"behave"` {
				t.Errorf("304 lost its ETag: %q", r.Header)
			}
			for _, name := range []string{"Date", "Content-Type", "Content-Length", "Transfer-Encoding"} {
				if v := r.Header.Values(name); len(v) > 1 {
					t.Errorf("%s %d: %s: %q", method, code, name, v)
				}
			}
			s.usable(t, c)
		}
	}
}

func (s *suite) earlyHints(t *testing.T) {
	c := s.dial(t)
	r := s.get(t, c, "/1xx")
	if len(r.Interim) != 1 || r.Interim[0].Status != 103 || r.Interim[0].Header.Value("Link") != "</style.css>; rel=preload" {
		t.Errorf("before the answer: %+v", r.Interim)
	}
	if r.Header.Has("Link") || string(r.Body) != "after the hints\n" {
		t.Errorf("%q %q", r.Header, r.Body)
	}
	s.usable(t, c)
}

func (s *suite) pipelined(t *testing.T) {
	c := s.dial(t)
	var all []byte
	for i := range 30 {
		id := fmt.Sprintf("X-Id: p%d", i)
		if i%3 == 2 {
			all = append(all, s.head("POST", fmt.Sprintf("/id?id=p%d", i), id, "Content-Length: 5")...)
			all = append(all, "hello"...)
		} else {
			all = append(all, s.head("GET", fmt.Sprintf("/id?id=p%d", i), id)...)
		}
	}
	send(t, c, all)
	for i := range 30 {
		if r := read(t, c, "GET", 200); r.Header.Value("X-Id") != fmt.Sprintf("p%d", i) {
			t.Fatalf("answer %d is to %q", i, r.Header.Value("X-Id"))
		}
	}
	if err := c.Idle(20 * time.Millisecond); err != nil {
		t.Error(err)
	}
}

// split sends one and a half requests, waits for the answer to the first, and
// then sends the other half; for each length of the half.
func (s *suite) split(t *testing.T) {
	c := s.dial(t)
	head := s.head("GET", "/id?id=split", "X-Id: split")
	for cut := 1; cut < len(head); cut++ {
		send(t, c, append(s.head("GET", "/id?id=first", "X-Id: first"), head[:cut]...))
		if r := read(t, c, "GET", 200); r.Header.Value("X-Id") != "first" {
			t.Fatalf("cut at %d: %q", cut, r.Body)
		}
		send(t, c, head[cut:])
		if r := read(t, c, "GET", 200); r.Header.Value("X-Id") != "split" {
			t.Fatalf("cut at %d: %q", cut, r.Body)
		}
	}
}

func (s *suite) clientCloses(t *testing.T) {
	c := s.dial(t)
	send(t, c, s.head("GET", "/pid", "Connection: close"))
	if r := read(t, c, "GET", 200); !r.Close {
		t.Errorf("close is not announced: %q", r.Header)
	}
	ends(t, c)
	c = s.dial(t)
	send(t, c, fmt.Appendf(nil, "GET %s/facts HTTP/1.0\r\nHost: %s\r\n\r\n", s.PathBase, s.Host))
	r := read(t, c, "GET", 200)
	var f behave.Facts
	decode(t, r.Body, &f)
	if !r.Close || r.Framing == rawhttp.Chunked {
		t.Errorf("to HTTP/1.0: %q", r.Header)
	}
	ends(t, c)
}

// halfClose: a client that has said all may end its half and still be answered.
func (s *suite) halfClose(t *testing.T) {
	c := s.dial(t)
	send(t, c, s.head("POST", "/id?id=half", "X-Id: half", "Content-Length: 5"), []byte("hello"))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if r := read(t, c, "POST", 200); !strings.HasPrefix(string(r.Body), "half 5 ") {
		t.Errorf("%q", r.Body)
	}
	ends(t, c)
}

func (s *suite) manySites(t *testing.T) {
	c := s.dial(t)
	for i := range 6 {
		host, name := s.Host, s.AppName
		if i%2 == 1 {
			host, name = s.OtherHost, s.OtherName
		}
		send(t, c, s.headTo(host, "GET", "/facts"))
		r, err := c.ReadResponse("GET")
		if err != nil {
			t.Fatal(err)
		}
		if r.Status == 421 && i%2 == 1 { // it may be refused, but only so
			if r.Close {
				return
			}
			continue
		}
		var f behave.Facts
		decode(t, r.Body, &f)
		if f.Host != host || name != "" && f.Name != name {
			t.Errorf("request %d to %s: app %q answered, and saw %s", i, host, f.Name, f.Host)
		}
	}
}

func (s *suite) load(t *testing.T) {
	conns := s.MaxConns
	if conns == 0 {
		conns = 8
	}
	r := rawhttp.Load{Addr: s.Addr, Host: s.Host, Path: s.PathBase + "/id", Conns: conns,
		For: 500 * time.Millisecond}.Run(t.Context())
	t.Log(r)
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if r.Opened != int64(conns) || r.Requests == 0 {
		t.Errorf("%d requests on %d connections, want %d", r.Requests, r.Opened, conns)
	}
}
