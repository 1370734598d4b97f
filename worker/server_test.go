package worker

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
	"aerie/internal/rawhttp"
	"aerie/proto"
)

func TestCloseEndsEverything(t *testing.T) {
	var ended sync.Map // of Options.Closed
	s := NewServer(Options{Logger: (&lines{}).logger(), Limits: testLimits, Closed: func(c *Conn, back bool) {
		if _, twice := ended.LoadOrStore(c, back); twice {
			t.Error("Closed was called twice for one connection")
		}
	}})
	entered, left := make(chan struct{}), make(chan struct{})
	s.SetTable(OneApplication(s.Bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/wait":
			close(entered)
			<-r.Context().Done()
			close(left)
		case "/hijack":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			// A handler that renews its deadline must not outlive the server.
			for err == nil {
				if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
					break
				}
				_, err = conn.Read(make([]byte, 1))
			}
			if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("close of a connection that is cut: %v", err)
			}
		}
	})), s.opts.Logger))
	l := listenTCP(t)
	if err := s.Listen(l, Source{}); err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	fresh, begun, idle, busy, hijacked := dial(t, addr), dial(t, addr), dial(t, addr), dial(t, addr), dial(t, addr)
	send(t, begun, "GET / HT")
	send(t, idle, get(1))
	read(t, idle, "GET", 200)
	send(t, busy, "GET /wait HTTP/1.1\r\nHost: test\r\n\r\n")
	<-entered
	send(t, hijacked, "GET /hijack HTTP/1.1\r\nHost: test\r\n\r\n")
	eventually(t, "all are here", func() bool { st := s.Stats(); return st.Connections == 5 && st.Streams == 1 })

	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() { closeServer(t, s) })
	}
	closers.Wait()
	closeServer(t, s)
	for _, c := range []*rawhttp.Conn{fresh, begun, idle, busy, hijacked} {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF && rawhttp.KindOf(err) != rawhttp.Reset {
			t.Errorf("a connection of a closed server: %v", err)
		}
	}
	await(t, "the handler's context", left)
	eventually(t, "all have left", s.gate.idle)
	n := 0
	ended.Range(func(_, back any) bool { n++; return !back.(bool) })
	if st := s.Stats(); n != 5 || st.Connections != 0 {
		t.Errorf("Closed told of %d connections; %+v", n, st)
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close() // it must not be there
		t.Error("the listener is open")
	}
	useAfterClose(t, s)
}

func useAfterClose(t *testing.T, s *Server) {
	t.Helper()
	l := listenTCP(t)
	if err := s.Listen(l, Source{}); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Listen after Close: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("its listener: %v", err)
	}
	client, raw := net.Pipe()
	if err := s.ServeConn(raw, Source{}); !errors.Is(err, ErrServerClosed) {
		t.Errorf("ServeConn after Close: %v", err)
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("its connection: %v", err)
	}
	s.Finish()
	s.SetConcurrency(Concurrency{})
	if err := s.Wait(t.Context()); err != nil {
		t.Errorf("Wait after Close: %v", err)
	}
}

// A listener that is closed by somebody else, or that fails for a while.
func TestListenersThatFail(t *testing.T) {
	s, _ := serve(t, Options{}, http.HandlerFunc(echo))
	l := &failing{Listener: listenTCP(t)}
	l.fail.Store(2)
	if err := s.Listen(l, Source{}); err != nil {
		t.Fatal(err)
	}
	c := dial(t, l.Addr().String())
	send(t, c, get(1))
	read(t, c, "GET", 200)
	if n := l.fail.Load(); n > 0 {
		t.Errorf("%d failures are left", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server forgets the listener", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.listeners) == 1
	})
	send(t, c, get(2))
	read(t, c, "GET", 200)
}

type failing struct {
	net.Listener
	fail atomic.Int64
}

func (f *failing) Accept() (net.Conn, error) {
	if f.fail.Add(-1) >= 0 {
		return nil, errors.New("out of descriptors")
	}
	return f.Listener.Accept()
}

func TestWait(t *testing.T) {
	inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
		entered, leave := make(chan struct{}), make(chan struct{})
		m.server.SetTable(oneSite(m.server.Bounded(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			entered <- struct{}{}
			<-leave
		})), m.addr, config.SiteLimits{}, HeadLimits{}))
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errLeft)
		if err := m.server.Wait(ctx); err != nil {
			m.Errorf("Wait of a server with nothing to wait for: %v", err)
		}
		c := m.connect(Source{})
		send(m, c, get(1))
		<-entered
		if err := m.server.Wait(ctx); err != errLeft {
			m.Errorf("Wait with a context that has ended: %v", err)
		}
		waited := make(chan error, 2)
		go func() { waited <- m.server.Wait(context.Background()) }() // before Drain
		synctest.Wait()
		m.server.Drain()
		m.server.Drain()
		go func() { waited <- m.server.Wait(context.Background()) }()
		synctest.Wait()
		close(leave)
		if r := read(m, c, "GET", 200); r.Close {
			m.Error("an answer that was begun before the drain announces the end")
		}
		synctest.Wait()
		select {
		case err := <-waited:
			m.Errorf("Wait did not wait for an idle connection: %v", err)
		default:
		}
		m.server.Finish()
		m.ended(c)
		for range 2 {
			if err := <-waited; err != nil {
				m.Error(err)
			}
		}
	})
}

// Until Drain nobody tells Wait of the end of a request.
func TestWaitThatBeganBeforeDrain(t *testing.T) {
	inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
		var s slot
		if err := m.server.gate.enter(httptest.NewRequest("GET", "/", nil), &s, false); err != nil {
			m.Fatal(err)
		}
		waited := make(chan error, 1)
		go func() { waited <- m.server.Wait(context.Background()) }()
		synctest.Wait()
		m.server.gate.leave(&s)
		m.server.Drain()
		synctest.Wait()
		select {
		case err := <-waited:
			if err != nil {
				m.Error(err)
			}
		default:
			m.Fatal("Wait still waits, for nothing")
		}
	})
}

// Connections of relaying processes stay, but not their requests unanswered: be
// they behind a gate or not.
func TestWaitForRelayedRequests(t *testing.T) {
	for _, gated := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
			s := NewServer(Options{Logger: (&lines{}).logger(), Relayed: func(*Conn, http.Header) (proto.Record, error) { return proto.Record{}, nil }})
			entered, leave := make(chan struct{}), make(chan struct{})
			h := http.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				entered <- struct{}{}
				<-leave
			}))
			if gated {
				h = s.NewGate(Concurrency{}).Wrap(h)
			}
			s.SetTable(OneApplication(h, s.opts.Logger))
			m := &memory{T: t, server: s, addr: addr}
			c := m.connect(Source{Relay: true})
			s.Finish()
			if err := s.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			send(t, c, get(1)[:5]) // on its way is enough
			synctest.Wait()
			waited := make(chan error, 1)
			go func() { waited <- s.Wait(context.Background()) }()
			synctest.Wait()
			select {
			case err := <-waited:
				t.Errorf("Wait did not wait for a relayed request: %v", err)
			default:
			}
			send(t, c, get(1)[5:])
			<-entered
			close(leave)
			if r := read(t, c, "GET", 200); r.Close {
				t.Error("the relay connection ends")
			}
			if err := <-waited; err != nil {
				t.Error(err)
			}
			closeServer(t, s)
		})
	}
}

// While a server drains its listeners are closed, but relayed requests that were
// begun elsewhere still come in, on new connections too.
func TestDrainAndListeners(t *testing.T) {
	s := newServer(t, Options{Relayed: func(*Conn, http.Header) (proto.Record, error) { return proto.Record{}, nil }})
	s.SetTable(OneApplication(http.HandlerFunc(echo), s.opts.Logger))
	clients, relays := listenTCP(t), listenTCP(t)
	if err := errors.Join(s.Listen(clients, Source{}), s.Listen(relays, Source{Relay: true})); err != nil {
		t.Fatal(err)
	}
	s.Drain()
	if c, err := net.Dial("tcp", clients.Addr().String()); err == nil {
		_ = c.Close() // it must not be there
		t.Error("the clients' listener is open")
	}
	c := dial(t, relays.Addr().String())
	send(t, c, get(1))
	if r := read(t, c, "GET", 200); r.Close {
		t.Error("the relay connection ends")
	}
}

// A connection that comes while the server closes is closed in any case.
func TestServeConnRacesWithClose(t *testing.T) {
	for range 100 {
		s := NewServer(Options{Logger: (&lines{}).logger()})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				client, raw := net.Pipe()
				if err := s.ServeConn(raw, Source{}); err != nil && !errors.Is(err, ErrServerClosed) {
					t.Error(err)
				}
				if _, err := client.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("connection of a closed server: %v", err)
				}
			})
		}
		wg.Go(func() { closeServer(t, s) })
		wg.Wait()
		if n := s.Stats().Connections; n != 0 {
			t.Fatalf("%d connections are left", n)
		}
	}
}

// SetLimits holds for connections that are open already.
func TestSetLimits(t *testing.T) {
	inMemory(t, config.SiteLimits{}, echo, func(m *memory) {
		c := m.connect(Source{})
		send(m, c, get(1))
		read(m, c, "GET", 200)
		begun := time.Now()
		m.server.SetLimits(Limits{HeaderTimeout: time.Second, IdleTimeout: 5 * time.Second})
		m.ended(c)
		m.within(begun, 5*time.Second)
	})
}
