package apppool

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"aerie/config"
)

var (
	errDrainTimeout    = errors.New("drain_timeout is over")
	errTooManyDraining = errors.New("more than max_draining old generations")
	errStartupTimeout  = errors.New("startup_timeout is over")
)

// generation is one start of the pool's worker process. Its fields belong to the
// pool's goroutine, except those that are said to be fixed.
type generation struct {
	number  int          // fixed
	pool    *config.Pool // what it runs with; fixed
	reason  string       // why it was started; fixed
	changes bool         // pool is not yet in force: it is if this becomes ready
	callers []caller     // who waits for the outcome of its start
	dead    bool         // its process ended by itself

	replaces int    // the number of the one before, if it takes that one's place
	watch    *watch // looks after it while it serves; nil if nothing is to be looked at

	checking atomic.Bool  // a check of its health is under way
	checks   atomic.Int64 // checks that its worker counts as requests

	began   time.Time // of the start; fixed
	readyAt time.Time

	worker Worker          // nil until it is ready, fixed then
	done   <-chan struct{} // worker.Done(); fixed then

	leases leases

	abandon context.CancelCauseFunc // ends its start
	cut     context.CancelCauseFunc // ends its drain; nil until that begins
	kill    context.CancelCauseFunc // ends its stop
	wasCut  bool
	gone    chan struct{} // closed when nothing of it is left
}

// claim takes a lease, unless the generation takes no more or its process has ended.
func (g *generation) claim() bool {
	if !g.leases.take() {
		return false
	}
	if g.ended() {
		g.leases.drop()
		return false
	}
	return true
}

// ended says whether its process, which was ready, has ended.
func (g *generation) ended() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

// drains says whether an old generation has a process that drains or stops.
func (g *generation) drains() bool { return g.worker != nil && !g.dead }

// hurry ends the drain of an old generation, and its stop when called again.
func (g *generation) hurry(cause error) {
	if g.wasCut {
		g.kill(cause)
	}
	g.wasCut = true
	g.cut(cause)
}

// started is the outcome of a start: a worker, or an error.
type started struct {
	gen    *generation
	worker Worker
	err    error
}

// start starts g's worker process, when those before it are gone. It belongs to a
// goroutine of its own.
func (p *Pool) start(ctx context.Context, g *generation, before []*generation) {
	defer g.abandon(nil)
	for _, b := range before {
		select {
		case <-b.gone:
		case <-ctx.Done():
			p.started <- started{g, nil, context.Cause(ctx)}
			return
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, g.pool.StartupTimeout, errStartupTimeout)
	defer cancel()
	spec := Spec{Pool: g.pool, Program: g.pool.Program, Generation: g.number}
	w, err := p.starter(g.pool.Program.Hosting).Start(ctx, spec)
	if err == nil {
		if err = p.awaitHealth(ctx, g, w); err != nil {
			w = nil
		}
	}
	p.started <- started{g, w, err}
}

// departed is the end of a generation.
type departed struct {
	gen     *generation
	cause   error         // why the drain was cut; nil if it was not
	left    Stats         // when the drain ended
	leases  int           // not released when the drain ended
	drained time.Duration // how long the drain took
	stopped time.Duration // how long the stop took
	err     error         // of the stop
}

// depart drains g and then ends it with all that belongs to it; if its process has
// ended by itself there is nothing to drain. It belongs to a goroutine of its own.
func (p *Pool) depart(drain, stop context.Context, g *generation, limits *config.Pool) {
	defer g.cut(nil)
	defer g.kill(nil)
	d := departed{gen: g}
	began := time.Now()
	d.cause = g.drain(drain, limits.DrainTimeout)
	d.drained = time.Since(began)
	d.left, d.leases = g.worker.Stats(), g.leases.count()

	stop, cancel := context.WithTimeout(stop, limits.ShutdownTimeout)
	defer cancel()
	began = time.Now()
	d.err = g.worker.Stop(stop)
	d.stopped = time.Since(began)
	p.departed <- d
}

// drain waits until the worker has finished and no lease is out, the process has
// ended, or ctx or the time limit is over: then it returns the cause.
func (g *generation) drain(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errDrainTimeout)
	defer cancel()
	if err := g.worker.Drain(ctx); err != nil {
		return err
	}
	select {
	case <-g.leases.none:
		return nil
	case <-g.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leases counts the leases on one generation. When it is closed the sign bit of
// the count is set: no lease is given from then on, and none is closed once the
// last one was dropped.
type leases struct {
	n    atomic.Int64
	once sync.Once
	none chan struct{}
}

const closedBit = math.MinInt64

func (l *leases) take() bool {
	if l.n.Add(1) > 0 {
		return true
	}
	l.drop()
	return false
}

func (l *leases) drop() {
	switch n := l.n.Add(-1); {
	case n >= 0 && n < math.MaxInt64:
	case n == closedBit:
		l.once.Do(func() { close(l.none) })
	case n == -1 || n == math.MaxInt64: // open, or closed and wrapped round
		panic("apppool: lease released twice")
	}
}

// close refuses further leases. It is called once.
func (l *leases) close() {
	if l.n.Add(closedBit) == closedBit {
		l.once.Do(func() { close(l.none) })
	}
}

func (l *leases) count() int { return int(l.n.Load() &^ closedBit) }
