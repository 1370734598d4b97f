package rawhttp

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func server(t *testing.T, h http.HandlerFunc) (addr string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestLoadOnNetHTTP(t *testing.T) {
	addr := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Generation", "7")
		Answer(w, r)
	})
	shapes := make(chan string, 1<<20)
	r := Load{Addr: addr, Conns: 8, For: 400 * time.Millisecond,
		On: func(r *Request, _ *Response) { shapes <- r.Shape }}.Run(t.Context())
	t.Log(r)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if r.Opened != 8 || r.Requests < 100 || len(r.Pids) != 1 || r.Generations["7"] != r.Requests {
		t.Errorf("report: %v", r)
	}
	if r.P50 <= 0 || r.P50 > r.P99 || r.P99 > r.Max {
		t.Errorf("latency: p50 %v, p99 %v, max %v", r.P50, r.P99, r.Max)
	}
	close(shapes)
	seen := map[string]bool{}
	for s := range shapes {
		seen[strings.Fields(s)[0]] = true
	}
	if len(seen) != 4 {
		t.Errorf("shapes %v, want get, head, post and chunked", seen)
	}
}

func TestLoadOfOneSeedRepeats(t *testing.T) {
	load := Load{Seed: 5, Addr: "x"}.withDefaults()
	one, two, other := load.client(1).builder, load.client(1).builder, load.client(2).builder
	for range 50 {
		a, b, c := one.simple().wire, two.simple().wire, other.simple().wire
		if !bytes.Equal(a, b) || bytes.Equal(a, c) {
			t.Fatalf("\n%s\n%s\n%s", a, b, c)
		}
	}
}

func TestAnnouncedCloses(t *testing.T) {
	var n atomic.Int64
	addr := server(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%10 == 0 {
			w.Header().Set("Connection", "close")
		}
		Answer(w, r)
	})
	load := Load{Addr: addr, Conns: 4, For: 200 * time.Millisecond, Closes: ReopenOnAnnounced, Mix: Mix{Get: 1, Post: 1, Chunked: 1}}
	r := load.Run(t.Context())
	t.Log(r)
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if r.AnnouncedCloses == 0 || r.Opened < r.AnnouncedCloses {
		t.Errorf("report: %v", r)
	}
	load.Closes = NeverCloses
	if r := load.Run(t.Context()); r.ByKind[Closed] == 0 || r.ByKind[Closed] != r.AnnouncedCloses {
		t.Errorf("closes are not failures: %v", r)
	}
}

func TestRequestsBehindAnAnnouncedCloseAreNotFailures(t *testing.T) {
	addr := broken(t, func(s *session) {
		for s.next() {
			s.header.Set("Connection", "close")
			s.answer()
			s.halfClose()
			return
		}
	})
	r := Load{Addr: addr, Conns: 2, For: 200 * time.Millisecond, Closes: ReopenOnAnnounced, Mix: Mix{Pipelined: 1}}.Run(t.Context())
	t.Log(r)
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if r.Unserved == 0 {
		t.Errorf("no request counted behind a close")
	}
}

func TestLoadEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr := server(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		Answer(w, r)
	})
	if r := (Load{Addr: addr, Conns: 2}).Run(ctx); r.Err() != nil {
		t.Error(r.Err())
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	s := httptest.NewServer(nil)
	s.Close()
	r := Load{Addr: s.Listener.Addr().String(), For: 50 * time.Millisecond}.Run(t.Context())
	if r.ByKind[Refused] == 0 || r.Failures != r.ByKind[Refused] {
		t.Errorf("report: %v", r)
	}
}
