package host

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestHostOf(t *testing.T) {
	long := strings.Repeat("a", peekBytes)
	for in, want := range map[string]struct {
		host string
		verdict
	}{
		"":                                      {"", undecided},
		"GET":                                   {"", undecided},
		"GET / HTTP/1.1\r\n":                    {"", undecided},
		"GET / HTTP/1.1\r\nHost: a":             {"", undecided},
		"GET / HTTP/1.1\r\nHost: a.test\r\n":    {"", undecided}, // the next line may belong to it
		"GET / HTTP/1.1\r\nHost: a.test\r\n\r":  {"a.test", decided},
		"GET / HTTP/1.1\r\nHost: a.test\r\nX":   {"a.test", decided},
		"GET / HTTP/1.1\nhOST:a.test:80 \t\n\n": {"a.test:80", decided},
		"POST /x?y HTTP/1.0\r\nA: b\r\nHost: \r\n\r\n":        {"", decided},
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":        {"a", decided}, // net/http refuses it
		"GET / HTTP/1.1\r\nHost:\r\n b\r\n\r\n":               {"", unusual},
		"GET / HTTP/1.1\r\nA: b\r\n c\r\nHost: a\r\n\r\n":     {"", unusual},
		"GET / HTTP/1.1\r\n\r\n":                              {"", unusual},
		"GET / HTTP/1.1\r\nno colon\r\nHost: a\r\n\r\n":       {"", unusual},
		"GET / HTTP/1.1\r\nHost : a\r\n\r\n":                  {"", unusual},
		"GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n": {"", unusual},
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n":               {"", unusual},
		"CONNECT a.test:443 HTTP/1.1\r\nHost: a\r\n\r\n":      {"", unusual},
		"PRI ":                                           {"", unusual},
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":               {"", unusual},
		"GET / HTTP/2.0\r\nHost: a\r\n\r\n":              {"", unusual},
		"GET /\r\nHost: a\r\n\r\n":                       {"", unusual},
		" / HTTP/1.1\r\nHost: a\r\n\r\n":                 {"", unusual},
		"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n":          {"", unusual},
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n": {"", unusual},
		"GET /" + long:                                   {"", unusual},
		"GET / HTTP/1.1\r\nCookie: " + long:              {"", unusual},
		"GET / HTTP/1.1\r\nCookie: " + long[:1000]:       {"", undecided},
	} {
		if host, v := hostOf([]byte(in)); host != want.host || v != want.verdict {
			t.Errorf("%.60q: %q %d, want %q %d", in, host, v, want.host, want.verdict)
		}
	}
}

// FuzzHostOf: what a peek decides is what net/http reads, or net/http refuses
// the request; and more bytes do not change a decision.
func FuzzHostOf(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET / HTTP/1.0\nA: b\nhost:\tb:80 \n\n", "GET / HTTP/1.1\r\nHost:\r\n b\r\n\r\n",
		"GET //c/ HTTP/1.1\r\nHost: a\r\r\n\r\n", "CONNECT / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: \xa0a\x85\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		host, v := hostOf(head)
		if v != decided {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(bytes.NewReader(head), strings.NewReader("\r\n\r\n"))))
		if err == nil && r.Host != host {
			t.Errorf("peek says %q, net/http %q: %q", host, r.Host, head)
		}
		for n := range head {
			if part, v := hostOf(head[:n]); v == decided && part != host {
				t.Errorf("of %d bytes %q, of all %q", n, part, host)
			}
		}
	})
}

func TestPeeker(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	at := func(s string) *peeker { return &peeker{buf: []byte(s)} }

	p := at(head)
	if p.look(5, nil) || p.look(20, nil) || !p.look(len(head), nil) || p.err != nil || p.host != "a.test" {
		t.Errorf("growing: %q, %v", p.host, p.err)
	}
	p = at(head)
	if first, again := p.look(5, nil), p.look(5, nil); first || again || p.err != nil || p.seen != 5 || p.wakeups != 1 {
		t.Errorf("no growth: %v", p.err)
	}
	p = at(head)
	if !p.look(0, nil) || !errors.Is(p.err, errPeekEmpty) {
		t.Errorf("closed: %v", p.err)
	}
	p = at(head)
	if !p.look(0, os.ErrInvalid) || !errors.Is(p.err, os.ErrInvalid) {
		t.Errorf("broken: %v", p.err)
	}
	p = at(head)
	wakeups := 1
	for !p.look(wakeups, nil) {
		wakeups++
	}
	if wakeups != peekWakeups || !errors.Is(p.err, errPeekUnusual) {
		t.Errorf("byte by byte: over after %d, %v", wakeups, p.err)
	}
}
