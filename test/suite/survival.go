package suite

import (
	"io"
	"testing"

	"aerie/internal/rawhttp"
)

// survival are the tests of handlers that go wrong.
func (s *suite) survival() []test {
	return []test{
		{"panic", s.panics, ""},
		{"panic after the answer has begun", s.panicsLater, ""},
	}
}

func (s *suite) panics(t *testing.T) {
	pid := s.ask(t, "/pid")
	c := s.dial(t)
	send(t, c, s.head("GET", "/panic"))
	if s.PanicCloses {
		ends(t, c)
	} else if r := read(t, c, "GET", 500); r.Close {
		ends(t, c)
	} else {
		s.usable(t, c)
	}
	if now := s.ask(t, "/pid"); now != pid {
		t.Errorf("process %s answers, before it was %s", now, pid)
	}
}

// panicsLater: an answer that is broken off must not look whole.
func (s *suite) panicsLater(t *testing.T) {
	pid := s.ask(t, "/pid")
	c := s.dial(t)
	send(t, c, s.head("GET", "/panic-after-write"))
	body, err := io.ReadAll(readHead(t, c, 200))
	if kind := rawhttp.KindOf(err); string(body) != "begun\n" || kind != rawhttp.Short && kind != rawhttp.Reset {
		t.Errorf("%q, then %v; want the answer broken off", body, err)
	}
	if now := s.ask(t, "/pid"); now != pid {
		t.Errorf("process %s answers, before it was %s", now, pid)
	}
}
