package worker

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// handBackWorks reports whether the net/http that is linked in behaves as
// hand-back needs it: between two requests it announces the idle state, sets
// the read deadline, and reads into all of its buffer that holds no unread
// byte; then it sets the deadline again before it reads on. If a future
// version does otherwise, connections are not handed back but end with
// "Connection: close". The test runs once per process.
var handBackWorks = sync.OnceValue(probeHandBack)

func probeHandBack() bool {
	client, server := net.Pipe()
	p := &probe{Conn: server, done: make(chan struct{})}
	idle, once := make(chan struct{}), sync.Once{}
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateIdle {
				p.note("idle", 0)
				once.Do(func() { close(idle) })
			}
		},
	}
	l := &oneConn{conn: p, closed: make(chan struct{})}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }() // ends with Close below
	ok := converse(client, idle)
	_ = client.Close() // a pipe's Close returns nil
	<-p.done
	_ = srv.Close() // its listener's Close returns nil
	<-served
	return ok && p.asExpected()
}

// converse sends a request with two bytes of the next one behind it, and the
// rest of that when the server has announced that it waits for it.
func converse(c net.Conn, idle <-chan struct{}) bool {
	_ = c.SetDeadline(time.Now().Add(5 * time.Second)) // a pipe takes deadlines
	const request = "GET / HTTP/1.1\r\nHost: probe\r\n\r\n"
	r := bufio.NewReader(c)
	if _, err := io.WriteString(c, request+request[:2]); err != nil {
		return false
	}
	if _, err := http.ReadResponse(r, nil); err != nil {
		return false
	}
	select {
	case <-idle:
	case <-time.After(5 * time.Second):
		return false
	}
	if _, err := io.WriteString(c, request[2:]); err != nil {
		return false
	}
	_, err := http.ReadResponse(r, nil)
	return err == nil
}

// probe records what net/http does with a connection.
type probe struct {
	net.Conn
	ended sync.Once
	done  chan struct{} // closed by the first Close: net/http closes a connection twice if Server.Close comes in between

	mu    sync.Mutex // guards below
	steps []step
}

type step struct {
	what string
	n    int
}

func (p *probe) note(what string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps = append(p.steps, step{what, n})
}

func (p *probe) Read(b []byte) (int, error) {
	p.note("read", len(b))
	return p.Conn.Read(b)
}

func (p *probe) SetReadDeadline(t time.Time) error {
	p.note("deadline", 0)
	return p.Conn.SetReadDeadline(t)
}

func (p *probe) Close() error {
	p.ended.Do(func() { close(p.done) })
	return p.Conn.Close()
}

// asExpected looks at the steps after the first idle: deadline, a read with
// room for all but the two bytes that were sent ahead, deadline.
func (p *probe) asExpected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range p.steps {
		if s.what == "idle" {
			want := []step{{"deadline", 0}, {"read", serverBuffer - 2}, {"deadline", 0}}
			after := p.steps[i+1:]
			for j := range want {
				if j >= len(after) || after[j] != want[j] {
					return false
				}
			}
			return true
		}
	}
	return false
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn   net.Conn
	once   sync.Once
	closed chan struct{}
	ended  sync.Once
}

func (l *oneConn) Accept() (c net.Conn, err error) {
	l.once.Do(func() { c = l.conn })
	if c != nil {
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	l.ended.Do(func() { close(l.closed) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }
