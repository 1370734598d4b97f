package apppool

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"aerie/config"
)

// Options are what a pool is made of.
type Options struct {
	Config  *config.Pool                 // its settings, as config.Load gives them; required
	Starter func(config.Hosting) Starter // who starts its worker processes; required, called from any goroutine
	Logger  *slog.Logger                 // nil discards
	Failed  Failed                       // runs on_failed; nil does nothing

	// Adopted are generations of a host before this one: the pool begins with them.
	// That of the highest number serves at once, unless it is draining.
	Adopted []Adopted

	// Expected says that the pool is to run. If it starts on demand it is idle
	// from the beginning. Otherwise Start will follow: requests that come before
	// it wait, as they do while the pool starts, instead of finding it stopped.
	Expected bool
}

// Pool is an application pool. See the package's comment for what it promises.
type Pool struct {
	name     string
	starter  func(config.Hosting) Starter
	onFailed Failed
	log      *slog.Logger

	// What callers read without asking the pool's goroutine.
	gate     atomic.Pointer[gate]
	snapshot atomic.Pointer[snapshot]
	queue    queue

	// To the pool's goroutine.
	orders   chan order
	started  chan started
	departed chan departed
	findings chan finding
	demands  chan struct{} // holds one: that a request found the pool idle

	life    context.Context // ended when what is left is to be killed
	end     context.CancelCauseFunc
	hooks   context.Context // ended when commands are to end: the pool closes
	noHooks context.CancelFunc
	tasks   sync.WaitGroup // starts, departures, watches and commands under way
	opened  sync.Once
	closed  sync.Once
	closing chan struct{} // closed by Close
	done    chan struct{} // closed when the pool's goroutine and its tasks have ended

	adopted    []Adopted          // what Open begins with
	machine    *machine           // the pool's goroutine's own
	impossible func(state, event) // told of what cannot happen
	spread     func() float64     // in [0, 1), at random
}

// New returns a pool that is stopped, or idle. It must be opened before its other methods
// are used.
func New(o Options) *Pool {
	p := &Pool{
		name:     o.Config.Name,
		starter:  o.Starter,
		onFailed: o.Failed,
		log:      o.Logger,
		orders:   make(chan order),
		started:  make(chan started),
		departed: make(chan departed),
		findings: make(chan finding),
		demands:  make(chan struct{}, 1),
		spread:   rand.Float64,
		closing:  make(chan struct{}),
		done:     make(chan struct{}),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.log = p.log.With("pool", p.name)
	p.impossible = func(s state, e event) {
		p.log.Error("event cannot happen in this state", "state", s.String(), "event", e.String())
	}
	p.life, p.end = context.WithCancelCause(context.Background())
	p.hooks, p.noHooks = context.WithCancel(p.life)
	p.machine = newMachine(p, o.Config, o.Expected)
	p.adopted = o.Adopted
	return p
}

// Open starts the pool's goroutine, and no worker process. A pool that has adopted a
// generation runs when Open returns. It is repeatable. The goroutine ends with Close.
func (p *Pool) Open() {
	p.opened.Do(func() {
		p.machine.inherit(p.adopted)
		go p.machine.run()
	})
}

// Close stops the pool for good: the generation that serves and those that are
// replaced drain as they do in Stop, until ctx ends; then they are killed. It
// returns when every process and goroutine of the pool is gone: nil, or the cause
// of ctx if that cut it short. It is repeatable, and the first ctx to end counts.
func (p *Pool) Close(ctx context.Context) error {
	p.opened.Do(func() { close(p.done) })
	p.closed.Do(func() { close(p.closing) })
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	p.end(context.Cause(ctx))
	<-p.done
	return fmt.Errorf("close pool %q: %w", p.name, context.Cause(ctx))
}

// Start starts the pool and returns when a generation serves, at once if one does
// already. If the start does not succeed the error wraps the *StartError, and the pool
// goes on trying by its back-off until it is stopped.
func (p *Pool) Start(ctx context.Context) error {
	return p.give(ctx, "start", order{event: evStart, reason: "start"})
}

// Stop stops the pool: from now on Acquire returns ErrStopped, and a start in
// flight is cancelled. Stop returns when the generation that served, and those
// that were draining before it, are gone.
func (p *Pool) Stop(ctx context.Context) error {
	if err := p.give(ctx, "stop", order{event: evStop, reason: "stop"}); err != nil {
		return err
	}
	return p.Drained(ctx)
}

// Recycle replaces the generation that serves by a new one, without a gap: it
// returns when the new one serves, while the old one drains in the background. If
// the new one does not become ready the old one goes on and the error says why. A
// pool that is stopped is started. reason is for the log and the status.
func (p *Pool) Recycle(ctx context.Context, reason string) error {
	return p.give(ctx, "recycle", order{event: evRecycle, reason: cmp.Or(reason, "recycle")})
}

// Reconfigure makes cfg the pool's settings; its name must be the pool's. What
// concerns the pool itself (its queue, time-outs and back-off) holds from then on:
// a start, drain or wait that has begun keeps its bound. If the program, or a
// setting that only a worker process can apply, is another one, the pool is
// recycled with it; if that does not succeed, generation and settings stay as they
// were and the error says why. A stopped pool stays stopped, and settings without
// a program stop it; if a stop comes in between, the settings hold nevertheless.
func (p *Pool) Reconfigure(ctx context.Context, cfg *config.Pool) error {
	return p.give(ctx, "reconfigure", order{event: evReconfigure, settings: cfg})
}

// Drained returns when the generations that are leaving at the time of the call,
// whether they drain or stop, are gone.
func (p *Pool) Drained(ctx context.Context) error {
	for _, g := range p.snapshot.Load().leaving {
		select {
		case <-g.gone:
		case <-ctx.Done():
			return fmt.Errorf("drain pool %q: %w", p.name, context.Cause(ctx))
		}
	}
	return nil
}

// give gives the pool's goroutine an order and returns its outcome.
func (p *Pool) give(ctx context.Context, verb string, o order) error {
	reply := make(chan error, 1) // so that the pool's goroutine never waits for a caller
	o.callers = []caller{{reply: reply, settings: o.settings != nil}}
	var err error
	select {
	case p.orders <- o:
		select {
		case err = <-reply:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	case <-p.closing:
		err = ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s pool %q: %w", verb, p.name, err)
	}
	return nil
}
