package worker

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
	"aerie/internal/rawhttp"
)

// memory is a server in a synctest bubble, with clients over net.Pipe.
type memory struct {
	*testing.T
	server *Server
	addr   net.Addr
}

var memoryLimits = Limits{HeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}

// inMemory runs test in a bubble, where time is the bubble's own and passes
// only while everybody waits.
func inMemory(t *testing.T, limits config.SiteLimits, h http.HandlerFunc, test func(m *memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{T: t, addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}}
		m.server = NewServer(Options{Limits: memoryLimits, Logger: slog.New(slog.DiscardHandler)})
		m.server.SetTable(oneSite(m.server.Bounded(h), m.addr, limits, HeadLimits{}))
		test(m)
		closeServer(t, m.server)
	})
}

// piped is the server's end of a pipe that looks like TCP.
type piped struct {
	net.Conn
	addr net.Addr
}

// SetReadDeadline has no error, as on a socket: net.Pipe has one once the other
// end is closed.
func (p piped) SetReadDeadline(t time.Time) error {
	_ = p.Conn.SetReadDeadline(t) // see above
	return nil
}

func (p piped) LocalAddr() net.Addr  { return p.addr }
func (p piped) RemoteAddr() net.Addr { return p.addr }

// connect returns a client that waits for as long as it takes.
func (m *memory) connect(from Source) *rawhttp.Conn {
	m.Helper()
	client, server := net.Pipe()
	if err := m.server.ServeConn(piped{server, m.addr}, from); err != nil {
		m.Fatal(err)
	}
	c := rawhttp.NewConn(piped{client, m.addr})
	c.Limit = 24 * time.Hour
	m.Cleanup(func() { _ = c.Close() }) // has no error
	return c
}

// within checks that the time since begun is limit, as exactly as the heartbeat can.
func (m *memory) within(begun time.Time, limit time.Duration) {
	m.Helper()
	if d := time.Since(begun); d < limit-beat || d > limit+2*beat {
		m.Errorf("after %v, want %v", d, limit)
	}
}

// timedOut expects one whole 408 and the end.
func (m *memory) timedOut(c *rawhttp.Conn) {
	m.Helper()
	if r := read(m, c, "GET", 408); !r.Close || len(r.Body) == 0 {
		m.Errorf("close announced %v, body %q", r.Close, r.Body)
	}
	m.ended(c)
}

// ended expects the end without a byte before it.
func (m *memory) ended(c *rawhttp.Conn) {
	m.Helper()
	if err := c.ReadEOF(); err != nil {
		m.Error(err)
	}
}

func TestHeadTimeout(t *testing.T) {
	for _, part := range []string{"G", "GET", "GET ", "GET / HT", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: te", "GET / HTTP/1.1\r\nHost: test\r\n"} {
		for _, after := range []string{"", get(1)} {
			inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
				c := m.connect(Source{})
				if after != "" {
					send(m, c, after)
					read(m, c, "GET", 200)
				}
				time.Sleep(3 * time.Second) // the time-out begins with the first byte
				begun := time.Now()
				send(m, c, part)
				m.timedOut(c)
				m.within(begun, memoryLimits.HeaderTimeout)
			})
		}
	}
}

// Bytes of the head that were read ahead, behind the request before, count from
// the moment at which that one is answered.
func TestHeadTimeoutOfBytesReadAhead(t *testing.T) {
	for _, part := range []string{"G", "GET", "GET / HTTP/1.1\r\nHo"} {
		inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
			c := m.connect(Source{})
			begun := time.Now()
			send(m, c, get(1)+part)
			read(m, c, "GET", 200)
			m.timedOut(c)
			m.within(begun, memoryLimits.HeaderTimeout)
		})
	}
}

func TestHeadTimeoutIsNotProlongedByDripping(t *testing.T) {
	inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
		c := m.connect(Source{})
		begun := time.Now()
		var dripping sync.WaitGroup
		dripping.Go(func() {
			for b := range strings.SplitSeq("GET / HTTP/1.1\r\nHost: "+strings.Repeat("x", 1000), "") {
				if c.Send([]byte(b)) != nil {
					return // cut, as it should be
				}
				time.Sleep(beat)
			}
		})
		m.timedOut(c)
		m.within(begun, memoryLimits.HeaderTimeout)
		dripping.Wait()
	})
}

// The first bytes of the next head are waited for apart from the rest of it;
// the time-out is for both together.
func TestHeadTimeoutIsForTheWholeHead(t *testing.T) {
	inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
		c := m.connect(Source{})
		send(m, c, get(1))
		read(m, c, "GET", 200)
		time.Sleep(3 * time.Second)
		begun := time.Now()
		for _, part := range []string{"G", "ET", " /", " HTTP/1.1\r\n"} {
			send(m, c, part)
			time.Sleep(2 * time.Second)
		}
		m.timedOut(c)
		m.within(begun, memoryLimits.HeaderTimeout)
	})
}

func TestHeadThatComesInTime(t *testing.T) {
	inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
		c := m.connect(Source{})
		for range 3 {
			send(m, c, get(1)[:10])
			time.Sleep(memoryLimits.HeaderTimeout - 2*beat)
			send(m, c, get(1)[10:])
			if r := read(m, c, "GET", 200); r.Close {
				m.Error("the connection ends")
			}
			time.Sleep(memoryLimits.IdleTimeout - 2*beat)
		}
	})
}

// Who has sent nothing gets nothing: an answer could be taken for that to the
// next request.
func TestSilentConnectionsAreClosedSilently(t *testing.T) {
	for _, test := range []struct {
		name  string
		from  Source
		wire  string
		limit time.Duration
	}{
		{"new", Source{}, "", memoryLimits.HeaderTimeout},
		{"between two requests when it came", Source{Resumed: true}, "", memoryLimits.IdleTimeout},
		{"between two requests", Source{}, get(1), memoryLimits.IdleTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
				time.Sleep(time.Hour) // the heartbeat sleeps; its clock must not be an hour late
				c := m.connect(test.from)
				if test.wire != "" {
					send(m, c, test.wire)
					read(m, c, "GET", 200)
				}
				begun := time.Now()
				m.ended(c)
				m.within(begun, test.limit)
			})
		})
	}
}

// A relaying process keeps its connections for as long as it likes.
func TestRelayConnectionsMayBeSilent(t *testing.T) {
	inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
		c := m.connect(Source{Relay: true})
		if err := c.Idle(time.Hour); err != nil {
			m.Error(err)
		}
	})
}

func TestEmptyLinesAreNoRequest(t *testing.T) {
	inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
		c := m.connect(Source{Resumed: true, Prefix: []byte("\r\n")})
		begun := time.Now()
		for range 5 {
			time.Sleep(memoryLimits.HeaderTimeout)
			send(m, c, "\r\n")
		}
		m.ended(c)
		m.within(begun, memoryLimits.IdleTimeout)
	})
}

func TestPrefixCountsAsBegun(t *testing.T) {
	inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
		c := m.connect(Source{Resumed: true, Prefix: []byte("GE")})
		m.timedOut(c)
	})
	inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
		c := m.connect(Source{Resumed: true, Prefix: []byte("GE")})
		send(m, c, get(4)[2:])
		if r := read(m, c, "GET", 200); string(r.Body) != "/id/4 " {
			m.Errorf("answer %q", r.Body)
		}
	})
}

const rate = 1000 // bytes/s

var rateLimits = config.SiteLimits{MinBodyRate: rate, MinResponseRate: rate, RateGrace: 5 * time.Second}

// readBody answers 408 if the body does not come.
func readBody(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.WriteHeader(http.StatusRequestTimeout)
	case err != nil || n != r.ContentLength:
		w.WriteHeader(http.StatusBadRequest)
	}
}

func TestBodyRate(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 60000\r\n\r\n"
	for _, test := range []struct {
		name  string
		first int // bytes that come with the head
		piece int // that come each second
		after time.Duration
	}{
		{"nothing comes", 0, 0, 5 * time.Second},
		{"what came with the head counts", 3000, 0, 8 * time.Second},
		{"too slow", 0, rate / 2, 10 * time.Second}, // 500t < 1000(t-5)
	} {
		t.Run(test.name, func(t *testing.T) {
			inMemory(t, rateLimits, readBody, func(m *memory) {
				c := m.connect(Source{})
				begun := time.Now()
				send(m, c, head+strings.Repeat("x", test.first))
				var sending sync.WaitGroup
				sending.Go(func() {
					for test.piece > 0 && c.Send(bytes.Repeat([]byte("x"), test.piece)) == nil {
						time.Sleep(time.Second)
					}
				})
				if r := read(m, c, "POST", 408); !r.Close {
					m.Error("the connection goes on")
				}
				if d := time.Since(begun); d < test.after || d > test.after+2*time.Second {
					m.Errorf("after %v, want %v", d, test.after)
				}
				_ = c.Close() // has no error
				sending.Wait()
			})
		})
	}
	t.Run("fast enough", func(t *testing.T) {
		inMemory(t, rateLimits, readBody, func(m *memory) {
			c := m.connect(Source{})
			send(m, c, head)
			for range 60 {
				time.Sleep(time.Second)
				send(m, c, strings.Repeat("x", 1000))
			}
			read(m, c, "POST", 200)
		})
	})
	t.Run("the handler is slow, not the client", func(t *testing.T) {
		slow := func(w http.ResponseWriter, r *http.Request) {
			for p := make([]byte, 1000); ; {
				time.Sleep(10 * time.Second)
				if _, err := io.ReadFull(r.Body, p); err == io.EOF {
					return
				} else if err != nil {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
			}
		}
		inMemory(t, rateLimits, slow, func(m *memory) {
			c := m.connect(Source{})
			go func() { _ = c.Send([]byte(head), bytes.Repeat([]byte("x"), 60000)) }() // an answer that is not 200 tells
			read(m, c, "POST", 200)
		})
	})
}

func TestResponseRate(t *testing.T) {
	const size = 20000
	t.Run("the client does not read", func(t *testing.T) {
		var took chan time.Duration // made in the bubble
		var failed chan error
		h := func(w http.ResponseWriter, r *http.Request) {
			begun := time.Now()
			_, err := w.Write(make([]byte, size))
			took <- time.Since(begun)
			failed <- err
			<-r.Context().Done() // a handler that only waits learns of it too
		}
		inMemory(t, rateLimits, h, func(m *memory) {
			took, failed = make(chan time.Duration, 1), make(chan error, 1)
			c := m.connect(Source{})
			send(m, c, get(1))
			want := rateLimits.RateGrace + 4096*time.Second/rate // net/http's first write
			if d := <-took; d < want-2*time.Second || d > want+2*time.Second {
				m.Errorf("cut after %v, want %v", d, want)
			}
			if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
				m.Errorf("write: %v", err)
			}
		})
	})
	t.Run("the client reads slowly", func(t *testing.T) {
		h := func(w http.ResponseWriter, _ *http.Request) {
			for range 20 {
				if _, err := w.Write(make([]byte, size/20)); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		}
		inMemory(t, rateLimits, h, func(m *memory) {
			c := m.connect(Source{})
			send(m, c, get(1))
			r, err := c.ReadHead("GET")
			if err != nil {
				m.Fatal(err)
			}
			for p := make([]byte, 2000); err == nil; _, err = io.ReadFull(r, p) {
				time.Sleep(time.Second)
			}
			if err != io.EOF {
				m.Error(err)
			}
		})
	})
	t.Run("the handler is slow, not the client", func(t *testing.T) {
		h := func(w http.ResponseWriter, _ *http.Request) {
			for range 10 {
				if _, err := io.WriteString(w, "event\n"); err != nil {
					t.Errorf("write: %v", err)
				}
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Errorf("flush: %v", err)
				}
				time.Sleep(time.Minute)
			}
		}
		inMemory(t, rateLimits, h, func(m *memory) {
			c := m.connect(Source{})
			send(m, c, get(1))
			if r := read(m, c, "GET", 200); len(r.Body) != 60 {
				m.Errorf("body %q", r.Body)
			}
		})
	})
}

// The deadlines that a handler sets hold for its request and no longer.
func TestDeadlinesOfHandlers(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		switch r.URL.Path {
		case "/read":
			begun := time.Now()
			if err := rc.SetReadDeadline(begun.Add(3 * time.Second)); err != nil {
				t.Error(err)
			}
			_, err := io.ReadAll(r.Body)
			if d := time.Since(begun); !errors.Is(err, os.ErrDeadlineExceeded) || d != 3*time.Second {
				t.Errorf("%v after %v", err, d)
			}
		case "/write":
			begun := time.Now()
			if err := rc.SetWriteDeadline(begun.Add(3 * time.Second)); err != nil {
				t.Error(err)
			}
			_, err := w.Write(make([]byte, 1<<20))
			if d := time.Since(begun); !errors.Is(err, os.ErrDeadlineExceeded) || d != 3*time.Second {
				t.Errorf("%v after %v", err, d)
			}
		case "/both":
			for _, err := range []error{rc.SetReadDeadline(time.Now().Add(3 * time.Second)), rc.SetWriteDeadline(time.Now().Add(3 * time.Second))} {
				if err != nil {
					t.Error(err)
				}
			}
			if _, err := io.ReadAll(r.Body); err != nil {
				t.Error(err)
			}
		}
	}
	inMemory(t, config.SiteLimits{}, h, func(m *memory) {
		c := m.connect(Source{})
		send(m, c, "POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nabc")
		if r := read(m, c, "POST", 200); !r.Close {
			m.Error("the rest of the body may still come; the connection must end")
		}
	})
	inMemory(t, config.SiteLimits{}, h, func(m *memory) {
		c := m.connect(Source{})
		send(m, c, "GET /write HTTP/1.1\r\nHost: test\r\n\r\n")
		time.Sleep(time.Minute)
		if _, err := c.ReadResponse("GET"); rawhttp.KindOf(err) != rawhttp.Closed {
			m.Errorf("got %v, want a cut connection", err)
		}
	})
	for _, wire := range []string{
		"POST /both HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc", "GET /both HTTP/1.1\r\nHost: test\r\n\r\n",
		"POST /both HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		inMemory(t, config.SiteLimits{}, h, func(m *memory) {
			c := m.connect(Source{})
			for range 3 {
				send(m, c, wire)
				if r := read(m, c, "POST", 200); r.Close {
					m.Error("the connection ends")
				}
				time.Sleep(30 * time.Second)
				send(m, c, get(1))
				read(m, c, "GET", 200)
			}
		})
	}
}

// What the heartbeat decides while the awaited byte is being read must not
// end up in the middle of an answer.
func TestTimeoutAtTheMomentOfTheRequest(t *testing.T) {
	for _, test := range []struct {
		name   string
		why    expiry
		status int
	}{{"head", expiredHead, 408}, {"idle", expiredIdle, 200}} {
		t.Run(test.name, func(t *testing.T) {
			inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
				client, server := net.Pipe()
				raw := &late{Conn: piped{server, m.addr}}
				raw.when = func() { // while net/http reads the first bytes
					for _, c := range m.server.all() {
						c.mu.Lock()
						c.started = true
						c.expireLocked(test.why)
						c.mu.Unlock()
					}
				}
				if err := m.server.ServeConn(raw, Source{}); err != nil {
					m.Fatal(err)
				}
				c := rawhttp.NewConn(piped{client, m.addr})
				send(m, c, get(1))
				r := read(m, c, "GET", test.status)
				if r.Close != (test.status == 408) {
					m.Errorf("close announced: %v", r.Close)
				}
				if test.status == 408 {
					m.ended(c)
				} else if err := c.Idle(2 * memoryLimits.HeaderTimeout); err != nil {
					m.Error(err)
				}
				if err := c.Close(); err != nil {
					m.Error(err)
				}
			})
		})
	}
	t.Run("complete head", func(t *testing.T) {
		inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
			_, server := net.Pipe()
			c := &Conn{raw: server, server: m.server, started: true}
			c.expireLocked(expiredHead)
			c.onState(http.StateActive)
			if c.expired != notExpired || c.readDL {
				m.Error("a request whose head is complete is cut")
			}
		})
	})
}

// late calls when at its first Read, when the bytes are there.
type late struct {
	net.Conn
	when func()
}

func (l *late) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if l.when != nil {
		l.when()
		l.when = nil
	}
	return n, err
}

func TestFinish(t *testing.T) {
	var entered, leave chan struct{} // made in the bubble
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/id/2" {
			close(entered)
			<-leave
		}
		echo(w, r)
	}
	inMemory(t, config.SiteLimits{}, h, func(m *memory) {
		entered, leave = make(chan struct{}), make(chan struct{})
		fresh, idle, begun, busy, brisk := m.connect(Source{}), m.connect(Source{}), m.connect(Source{}), m.connect(Source{}), m.connect(Source{})
		for _, c := range []*rawhttp.Conn{idle, begun, brisk} {
			send(m, c, get(1))
			read(m, c, "GET", 200)
		}
		send(m, begun, "G")
		send(m, busy, get(2))
		<-entered
		synctest.Wait()
		m.server.Finish()
		send(m, brisk, get(4)) // its client asks one thing after the other
		if r := read(m, brisk, "GET", 200); !r.Close {
			m.Error("it is not told that this was the last answer")
		}
		m.ended(fresh)
		m.ended(idle)
		send(m, begun, get(3)[1:])
		read(m, begun, "GET", 200)
		close(leave)
		read(m, busy, "GET", 200)
	})
}
