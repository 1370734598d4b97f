package apppool

import (
	"context"
	"errors"
	"time"
)

// Why Acquire gives no lease, beside a *StartError and the cause of ctx.
var (
	ErrStopped      = errors.New("pool is stopped")
	ErrFailed       = errors.New("pool has failed too often and was given up")
	ErrClosed       = errors.New("pool is closed")
	ErrQueueFull    = errors.New("queue_length requests wait for the pool already")
	ErrQueueTimeout = errors.New("pool was not ready within queue_timeout")
)

// Reason is HTTP.sys's word for why Acquire gave no lease: "QueueFull",
// "Timer_AppPool" or "AppOffline"; "" if the caller's own ctx had ended.
func Reason(err error) string {
	switch {
	case errors.Is(err, ErrQueueFull):
		return "QueueFull"
	case errors.Is(err, ErrQueueTimeout):
		return "Timer_AppPool"
	case errors.Is(err, ErrStopped), errors.Is(err, ErrFailed), errors.Is(err, ErrClosed):
		return "AppOffline"
	}
	if _, ok := errors.AsType[*StartError](err); ok {
		return "AppOffline"
	}
	return ""
}

// Lease is a claim on one generation of a pool, for one request or one hand-over:
// the generation is not stopped before it is released, unless a bound cuts it. A
// connection that was handed over needs none: the worker itself counts it.
// The zero Lease is of no generation.
type Lease struct{ gen *generation }

// Worker is the worker process to use.
func (l Lease) Worker() Worker { return l.gen.worker }

// Generation is the number of the generation.
func (l Lease) Generation() int { return l.gen.number }

// Release gives the claim back. It must be called exactly once for each lease
// that was given, however often that was copied. It does not block.
func (l Lease) Release() { l.gen.leases.drop() }

// gate is what a request finds at the pool's door. It is immutable.
type gate struct {
	gen     *generation   // serves; nil if none does
	err     error         // with gen == nil: the answer, at once; nil if requests wait
	asleep  bool          // with neither: nothing starts before somebody asks for it
	length  int           // queue_length
	timeout time.Duration // queue_timeout
	next    chan struct{} // closed when another gate has taken this one's place
}

// Acquire claims the generation that serves. While none does because one starts,
// it waits in the pool's bounded queue: until a generation is ready, for
// queue_timeout (ErrQueueTimeout), or until ctx ends (its cause); if the queue is
// full it returns ErrQueueFull. A pool that is idle is started.
//
// It returns at once with ErrStopped, ErrFailed, ErrClosed, or an error that wraps
// a *StartError when there is nothing to wait for.
//
// It is for a request, or a connection on which one has come: a connection on which
// nobody asks for anything starts no process and takes no place in a queue.
func (p *Pool) Acquire(ctx context.Context) (Lease, error) { return p.AcquireFor(ctx, nil) }

// AcquireFor is Acquire for one of whom who tells, while it waits, for Waiters to
// show; its Since does not count.
func (p *Pool) AcquireFor(ctx context.Context, who func() Waiter) (Lease, error) {
	if g := p.gate.Load().gen; g != nil && g.claim() {
		return Lease{g}, nil
	}
	return p.wait(ctx, who)
}

// Current claims the generation that serves, if there is one, and never waits.
func (p *Pool) Current() (Lease, bool) {
	for {
		t := p.gate.Load()
		if t.gen != nil && t.gen.claim() {
			return Lease{t.gen}, true
		}
		if p.gate.Load() == t {
			return Lease{}, false
		}
	}
}

// wait is Acquire for those who do not get a lease at once.
func (p *Pool) wait(ctx context.Context, who func() Waiter) (Lease, error) {
	var timeout *time.Timer // set while in the queue
	for {
		t := p.gate.Load()
		if t.gen != nil && t.gen.claim() {
			return Lease{t.gen}, nil
		}
		if t.err != nil {
			return Lease{}, t.err
		}
		if t.asleep {
			select {
			case p.demands <- struct{}{}:
			default: // somebody else has said so
			}
		}
		if p.gate.Load() != t {
			continue // t's generation was replaced meanwhile
		}
		if timeout == nil {
			place := p.queue.enter(t.length, who)
			if place == nil {
				return Lease{}, ErrQueueFull
			}
			defer p.queue.leave(place)
			timeout = time.NewTimer(t.timeout)
			defer timeout.Stop()
		}
		select {
		case <-t.next:
		case <-ctx.Done():
			return Lease{}, context.Cause(ctx)
		case <-timeout.C:
			return Lease{}, ErrQueueTimeout
		}
	}
}
