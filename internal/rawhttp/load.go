package rawhttp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Closes says which closes by the server a Load takes as part of the game.
type Closes int

// The values of Closes.
const (
	// NeverCloses: every close is a failure. For in-process hosting over plain
	// HTTP, where connections outlive the process that serves them.
	NeverCloses Closes = iota
	// ReopenOnAnnounced: a close that was announced with Connection: close, and
	// one of an idle connection, is counted, and the connection opened anew.
	ReopenOnAnnounced
)

// Mix weighs what a connection of a Load does next. The zero value is a mix of all.
type Mix struct {
	Get, Head, Post, Chunked, Pipelined, Idle int
}

// Load keeps Conns connections busy. Each connection does one thing of the mix
// after the other and verifies every byte that comes back. Server: Answer.
type Load struct {
	Addr   string        // as for Dial
	Host   string        // field Host; "" is Addr
	Path   string        // where Answer is; "" is "/id"
	Conns  int           // connections at a time; 0 is 1
	For    time.Duration // 0: until ctx ends
	Seed   uint64        // of the mix; 0 picks one, which the Report names
	Closes Closes
	Mix    Mix
	Pause  time.Duration             // longest pause in the middle of a request; 0 is 3 ms
	Idle   time.Duration             // longest idle pause; 0 is 30 ms
	Limit  time.Duration             // Conn.Limit; 0 is 10 s
	Dial   func() (*Conn, error)     // instead of Dial(Addr), for TLS
	On     func(*Request, *Response) // sees each verified answer; concurrent
}

// Request is what Load.On learns of the request.
type Request struct {
	ID, Method, Shape string
	Latency           time.Duration // from its last byte sent to the last byte of the answer
}

// withDefaults fills in what is zero.
func (l Load) withDefaults() Load {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&l.Pause, 3*time.Millisecond)
	set(&l.Idle, 30*time.Millisecond)
	set(&l.Limit, defaultLimit)
	if l.Host == "" {
		l.Host = l.Addr
	}
	if l.Path == "" {
		l.Path = "/id"
	}
	l.Conns = max(l.Conns, 1)
	if l.Seed == 0 {
		l.Seed = rand.Uint64()
	}
	if l.Mix == (Mix{}) {
		l.Mix = Mix{Get: 4, Head: 1, Post: 2, Chunked: 1, Pipelined: 3, Idle: 1}
	}
	if l.Dial == nil {
		l.Dial = func() (*Conn, error) { return Dial(l.Addr) }
	}
	return l
}

// Run runs the load until For has passed or ctx ends, whichever is first; each
// connection then finishes what it has begun and makes sure that nothing more
// comes. It returns when all connections are closed.
func (l Load) Run(ctx context.Context) *Report {
	l = l.withDefaults()
	if l.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.For)
		defer cancel()
	}
	total := newReport(l.Seed)
	began := time.Now()
	var (
		wg sync.WaitGroup
		mu sync.Mutex // guards total
	)
	for i := range l.Conns {
		wg.Go(func() {
			c := l.client(i)
			c.run(ctx)
			mu.Lock()
			defer mu.Unlock()
			total.merge(c.report)
		})
	}
	wg.Wait()
	total.Elapsed = time.Since(began)
	return total
}

// client returns the client for connection number i of the load.
func (l *Load) client(i int) *client {
	rng := rand.New(rand.NewPCG(l.Seed, uint64(i)))
	return &client{load: l, rng: rng, report: newReport(l.Seed),
		builder: builder{rng: rng, path: l.Path, host: l.Host, prefix: fmt.Sprintf("%x.%d", l.Seed, i)}}
}
