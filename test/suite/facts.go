package suite

import (
	"net"
	"slices"
	"strings"
	"testing"
)

// factsTests are what a handler can see of a request, by name.
func (s *suite) factsTests() []test {
	own := when(!s.PlainApp, "the app sees the host's connection")
	hosted := when(s.Mode != Bare, "no host in front")
	forward := when(s.Mode == Forward, "not forwarded")
	return []test{
		{"facts: remote address", s.remoteAddr, own},
		{"facts: local address", s.localAddr, own},
		{"facts: protocol, TLS, host", s.protocol, ""},
		{"facts: raw request URI", s.requestURI, ""},
		{"facts: header fields", s.fields, ""},
		{"facts: body framing", s.framing, ""},
		{"facts: response writer", s.writer, ""},
		{"facts: nothing forged", s.forged, hosted},
		{"facts: forwarded fields", s.forwarded, forward},
		{"facts: hop-by-hop fields", s.hopByHop, forward},
	}
}

func (s *suite) remoteAddr(t *testing.T) {
	c := s.dial(t)
	for range 2 {
		if f := facts(t, c, s.head("GET", "/facts")); f.RemoteAddr != c.LocalAddr().String() {
			t.Errorf("RemoteAddr %s, want %s", f.RemoteAddr, c.LocalAddr())
		}
	}
}

func (s *suite) localAddr(t *testing.T) {
	c := s.dial(t)
	if f := facts(t, c, s.head("GET", "/facts")); f.LocalAddr != c.RemoteAddr().String() {
		t.Errorf("LocalAddrContextKey %s, want %s", f.LocalAddr, c.RemoteAddr())
	}
}

func (s *suite) protocol(t *testing.T) {
	f := facts(t, s.dial(t), s.head("GET", "/facts"))
	if f.Proto != "HTTP/1.1" || f.TLS || f.Host != s.Host || f.PathBase != s.PathBase || f.Close {
		t.Errorf("%+v", f)
	}
	if s.AppName != "" && f.Name != s.AppName {
		t.Errorf("app %q answered, want %q", f.Name, s.AppName)
	}
}

func (s *suite) requestURI(t *testing.T) {
	c := s.dial(t)
	for _, uri := range []string{
		"/facts", "/facts?", "/facts/", "/facts//a///b", "/facts/a%2Fb%2fc", "/facts/%7Euser/~user", "/facts/a+b%20c",
		"/facts/%E2%82%AC", "/facts?a=1;b=2&c=%zz", "/facts?q=a/b?c", "/facts/a;v=1,b:c@d!$&'()*",
	} {
		if f := facts(t, c, s.head("GET", uri)); f.RequestURI != s.PathBase+uri {
			t.Errorf("RequestURI %q, want %q", f.RequestURI, s.PathBase+uri)
		}
	}
}

func (s *suite) fields(t *testing.T) {
	long := strings.Repeat("x", 4000)
	f := facts(t, s.dial(t), s.head("GET", "/facts", "x-multi: 1", "X-Other: \t o ", "X-MULTI: 2", "X-Multi: 3, 4",
		"X-Empty:", "X-Long: "+long, "Cookie: a=1; b=2", "Accept-Encoding: x-none", "User-Agent: suite"))
	for name, want := range map[string][]string{
		"X-Multi": {"1", "2", "3, 4"}, "X-Other": {"o"}, "X-Empty": {""}, "X-Long": {long},
		"Cookie": {"a=1; b=2"}, "Accept-Encoding": {"x-none"}, "User-Agent": {"suite"},
	} {
		if !slices.Equal(f.Header[name], want) {
			t.Errorf("%s: %.100q, want %.100q", name, f.Header[name], want)
		}
	}
	// Nothing may be added that the client has not sent.
	f = facts(t, s.dial(t), s.head("GET", "/facts"))
	for name, v := range f.Header {
		if !strings.HasPrefix(name, "X-Forwarded-") && name != "Forwarded" && name != "X-Request-Id" {
			t.Errorf("the handler sees %s: %q, which was not sent", name, v)
		}
	}
}

func (s *suite) framing(t *testing.T) {
	c := s.dial(t)
	for _, test := range []struct {
		name, field, body string
		length            int64
		te                []string
	}{
		{"length", "Content-Length: 4", "body", 4, nil},
		{"length 0", "Content-Length: 0", "", 0, nil},
		{"chunked", "Transfer-Encoding: chunked", "4\r\nbody\r\n0\r\n\r\n", -1, []string{"chunked"}},
		{"no body", "X: y", "", 0, nil},
	} {
		f := facts(t, c, s.head("POST", "/facts", test.field), []byte(test.body))
		if f.ContentLength != test.length || !slices.Equal(f.TransferEncoding, test.te) {
			t.Errorf("%s: ContentLength %d, TransferEncoding %q", test.name, f.ContentLength, f.TransferEncoding)
		}
	}
}

func (s *suite) writer(t *testing.T) {
	f := facts(t, s.dial(t), s.head("GET", "/facts"))
	if f.Pusher || !f.Hijacker || !f.Flusher || !f.ReaderFrom {
		t.Errorf("pusher %v, hijacker %v, flusher %v, reader from %v; want only the first false",
			f.Pusher, f.Hijacker, f.Flusher, f.ReaderFrom)
	}
}

// forged: what a client says in fields that apps believe the host with must
// not reach the app.
func (s *suite) forged(t *testing.T) {
	for _, name := range []string{
		"X-Forwarded-For", "x-forwarded-for", "X_Forwarded_For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix",
		"Aerie-Record", "aerie_record",
	} {
		c := s.dial(t)
		for _, fields := range [][]string{{name + ": 6.6.6.6"}, {name + ": 6.6.6.6", "Connection: keep-alive, " + name}} {
			f := facts(t, c, s.head("GET", "/facts", fields...))
			for seen, values := range f.Header {
				if !strings.EqualFold(seen, "Connection") && strings.Contains(strings.Join(values, " "), "6.6.6.6") {
					t.Errorf("the handler sees %s: %q, as the client has sent it", seen, values)
				}
			}
		}
	}
}

func (s *suite) forwarded(t *testing.T) {
	c := s.dial(t)
	f := facts(t, c, s.head("GET", "/facts"))
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"X-Forwarded-For": host, "X-Forwarded-Proto": "http", "X-Forwarded-Host": s.Host} {
		if !slices.Equal(f.Header[name], []string{want}) {
			t.Errorf("%s: %q, want %q", name, f.Header[name], want)
		}
	}
}

func (s *suite) hopByHop(t *testing.T) {
	f := facts(t, s.dial(t), s.head("GET", "/facts", "Connection: X-Mine", "X-Mine: 1", "Keep-Alive: timeout=5",
		"Proxy-Connection: keep-alive", "TE: trailers, deflate"))
	for _, name := range []string{"X-Mine", "Keep-Alive", "Proxy-Connection"} {
		if v := f.Header[name]; v != nil {
			t.Errorf("%s: %q went on", name, v)
		}
	}
	if te := f.Header["Te"]; te != nil && !slices.Equal(te, []string{"trailers"}) {
		t.Errorf("TE: %q", te)
	}
}
