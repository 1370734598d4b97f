package worker

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"aerie/module"
)

// Concurrency bounds the requests that run at once in one process.
type Concurrency struct {
	MaxConcurrent int           // requests that run at once; 0 is no limit
	QueueLength   int           // requests that wait for one of those slots
	QueueTimeout  time.Duration // how long one of them waits; 0 is no limit
	MaxStreams    int           // upgraded and long requests beside those; 0 is no limit
	StreamAfter   time.Duration // a request that runs for longer is a stream; 0: only upgraded ones are
}

// The reasons for which a gate turns a request away.
var (
	errQueueFull    = errors.New("QueueFull: as many requests wait as queue_length allows")
	errQueueTimeout = errors.New("the request waited for queue_timeout")
	errStreamsFull  = errors.New("as many upgraded and long requests run as max_streams allows")
)

// Gate lets a bounded number of requests through at once. Others wait in
// order, in a bounded queue. A request that is upgraded or runs for long gives
// its slot back and is counted as a stream from then on, so that a few hundred
// event streams do not starve everybody else.
type Gate struct {
	clock func() int64 // the server's coarse clock, nanoseconds
	left  func()       // called after a request has left, with no lock held

	mu       sync.Mutex // guards below
	limits   Concurrency
	active   int
	streams  int
	upgrades int // requests that ask for an upgrade, in the gate or its queue, and are no streams yet
	total    uint64
	finished uint64  // requests that have left
	running  slot    // head of the ring of running slots, the oldest first
	queue    []*slot // waiting, in order
}

// slot is one request's place in the gate.
type slot struct {
	gate       *Gate // that it is in, or was last
	prev, next *slot
	since      int64
	stream     bool
	upgrade    bool          // counted in upgrades
	request    *http.Request // while it waits
	in         bool
	ready      chan struct{} // closed when a waiting request may run
}

func newGate(limits Concurrency, clock func() int64, left func()) *Gate {
	g := &Gate{limits: limits, clock: clock, left: left}
	g.running.prev, g.running.next = &g.running, &g.running
	return g
}

// enter waits for a slot. It returns one of the reasons above, or the cause of
// ctx, if the request may not run; otherwise the caller must leave.
func (g *Gate) enter(r *http.Request, s *slot, upgrade bool) error {
	g.mu.Lock()
	g.total++
	free := g.limits.MaxConcurrent <= 0 || g.active < g.limits.MaxConcurrent
	switch {
	case upgrade && g.streamsFullLocked():
		g.mu.Unlock()
		return errStreamsFull
	case !free && len(g.queue) >= g.limits.QueueLength:
		g.mu.Unlock()
		return errQueueFull
	}
	if s.upgrade = upgrade; upgrade {
		g.upgrades++
	}
	if free {
		g.admitLocked(s)
		g.mu.Unlock()
		return nil
	}
	s.ready, s.request, s.since = make(chan struct{}), r, time.Now().UnixNano()
	g.queue = append(g.queue, s)
	wait := g.limits.QueueTimeout
	g.mu.Unlock()
	return g.await(r.Context(), s, wait)
}

func (g *Gate) await(ctx context.Context, s *slot, wait time.Duration) error {
	var late <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		late = t.C
	}
	var err error
	select {
	case <-s.ready:
		return nil
	case <-late:
		err = errQueueTimeout
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.in { // its turn came at the same moment
		return nil
	}
	if i := slices.Index(g.queue, s); i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
		s.request = nil
	}
	g.settleLocked(s)
	return err
}

// streamsFullLocked reports whether there is no room for one more stream, those
// counted that have asked to become one.
func (g *Gate) streamsFullLocked() bool {
	return g.limits.MaxStreams > 0 && g.streams+g.upgrades >= g.limits.MaxStreams
}

// settleLocked ends the request's claim to become a stream.
func (g *Gate) settleLocked(s *slot) {
	if s.upgrade {
		s.upgrade = false
		g.upgrades--
	}
}

func (g *Gate) admitLocked(s *slot) {
	s.gate, s.since, s.stream, s.in, s.request = g, g.clock(), false, true, nil
	s.prev, s.next = g.running.prev, &g.running
	s.prev.next, s.next.prev = s, s
	g.active++
}

// leave gives the slot back.
func (g *Gate) leave(s *slot) {
	g.mu.Lock()
	s.prev.next, s.next.prev = s.next, s.prev
	s.prev, s.next, s.in = nil, nil, false
	g.settleLocked(s)
	g.finished++
	if s.stream {
		g.streams--
	} else {
		g.active--
		g.nextLocked()
	}
	g.mu.Unlock()
	g.left()
}

// promote makes a stream of the request that holds the slot, if one does.
func (s *slot) promote() {
	if g := s.gate; g != nil {
		g.mu.Lock()
		g.promoteLocked(s)
		g.mu.Unlock()
	}
}

func (g *Gate) promoteLocked(s *slot) {
	if !s.in || s.stream {
		return
	}
	g.settleLocked(s)
	s.stream = true
	g.streams++
	g.active--
	g.nextLocked()
}

// nextLocked lets waiting requests in while there are free slots.
func (g *Gate) nextLocked() {
	for len(g.queue) > 0 && (g.limits.MaxConcurrent <= 0 || g.active < g.limits.MaxConcurrent) {
		s := g.queue[0]
		g.queue[0] = nil // it is part of a connection, which may end long before the array goes
		g.queue = g.queue[1:]
		g.admitLocked(s)
		close(s.ready)
	}
}

// beat makes streams of the requests that have run for long enough, as far as
// there is room for streams.
func (g *Gate) beat(now int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limits.StreamAfter <= 0 {
		return
	}
	for s := g.running.next; s != &g.running && now-s.since > int64(g.limits.StreamAfter); s = s.next {
		if s.upgrade || !g.streamsFullLocked() {
			g.promoteLocked(s)
		}
	}
}

// idle reports whether no request runs or waits.
func (g *Gate) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.active == 0 && g.streams == 0 && len(g.queue) == 0
}

// Configure changes the limits for requests that come from now on.
func (g *Gate) Configure(limits Concurrency) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits = limits
	g.nextLocked()
}

// Wrap returns next behind the gate. A request must not pass two gates.
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := slotOf(r)
		if err := g.enter(r, s, wantsUpgrade(r)); err != nil {
			Fail(w, turnedAway(err))
			return
		}
		defer g.leave(s)
		next.ServeHTTP(w, r)
	})
}

func slotOf(r *http.Request) *slot {
	if c := ConnOf(r.Context()); c != nil && r.ProtoMajor == 1 {
		return &c.slot // HTTP/1.1 has one request at a time
	}
	return new(slot)
}

// wantsUpgrade reports whether the request may become something else than HTTP.
// h2c does not count: some clients offer it with every request, and it is never
// taken up.
func wantsUpgrade(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Upgrade"], func(v string) bool { return !strings.EqualFold(v, "h2c") })
}

// turnedAway is the answer to a request that the gate does not let through.
// HTTP.sys calls a full queue "QueueFull"; 503.2 is IIS's concurrency limit.
func turnedAway(err error) module.Problem {
	p := module.Problem{Status: http.StatusServiceUnavailable, Reason: err.Error(), RetryAfter: 1}
	switch {
	case errors.Is(err, errStreamsFull):
		p.SubStatus = 2
	case errors.Is(err, context.Canceled):
		p = module.Problem{Status: statusClientGone, Reason: "the client left while its request waited"}
	}
	return p
}

// Waiter is a request that waits for a slot.
type Waiter struct {
	Since   time.Time
	Client  string // address
	Request string // method and target
}

// Waiters are the first of the requests that wait, in order, most at most.
func (g *Gate) Waiters(most int) []Waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]Waiter, min(most, len(g.queue)))
	for i := range list {
		s := g.queue[i]
		list[i] = Waiter{Since: time.Unix(0, s.since), Client: s.request.RemoteAddr, Request: s.request.Method + " " + s.request.RequestURI}
	}
	return list
}

// oldest is the time for which the oldest running request has run.
func (g *Gate) oldest(now int64) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	for s := g.running.next; s != &g.running; s = s.next {
		if !s.stream {
			return time.Duration(now - s.since)
		}
	}
	return 0
}

// Stats returns the gate's figures; Connections is 0.
func (g *Gate) Stats() Stats {
	oldest := g.oldest(time.Now().UnixNano())
	g.mu.Lock()
	defer g.mu.Unlock()
	return Stats{Requests: g.total, Finished: g.finished, Active: g.active, Queued: len(g.queue), Streams: g.streams, Oldest: oldest}
}
