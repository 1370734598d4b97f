package apppool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
)

func TestAcquire_QueueIsBounded(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.start()
		a := r.next()
		var waiting []*call
		for range 5 {
			c := r.acquire()
			c.waits()
			waiting = append(waiting, c)
		}
		r.acquire().want(ErrQueueFull)
		if s := r.Status(); s.Queued != 5 {
			t.Errorf("%d queued, want 5", s.Queued)
		}
		cause := errors.New("client went away")
		waiting[0].cancel(cause)
		waiting[0].want(cause)
		last := r.acquire() // in its place
		last.waits()
		a.ready()
		for _, c := range append(waiting[1:], last) {
			c.want(nil)
		}
		if s := r.Status(); s.Queued != 0 {
			t.Errorf("%d queued, want none", s.Queued)
		}
	})
}

// Who waits can be seen, the first one first, and who has left cannot.
func TestWaiters(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.start()
		a := r.next()
		began := time.Now()
		ask := func(client string) *call {
			return r.call(func(ctx context.Context) error {
				l, err := r.AcquireFor(ctx, func() Waiter { return Waiter{Client: client, Request: "GET /"} })
				if err == nil {
					l.Release()
				}
				return err
			})
		}
		first := ask("a")
		first.waits()
		time.Sleep(time.Second)
		second := ask("b")
		second.waits()
		unknown := r.acquire()
		unknown.waits()
		want := []Waiter{{began, "a", "GET /"}, {began.Add(time.Second), "b", "GET /"}, {began.Add(time.Second), "", ""}}
		if got := r.Waiters(); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		cause := errors.New("client went away")
		first.cancel(cause)
		first.want(cause)
		if got := r.Waiters(); !slices.Equal(got, want[1:]) {
			t.Errorf("%v, want %v", got, want[1:])
		}
		a.ready()
		second.want(nil)
		unknown.want(nil)
		if got := r.Waiters(); len(got) > 0 {
			t.Errorf("%v wait for nothing", got)
		}
	})
}

// A request that comes between New and Start waits where the start is expected.
func TestAcquire_ExpectedPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, expected := range []bool{false, true} {
			p := New(Options{Config: testConfig(), Expected: expected})
			ctx, cancel := context.WithCancelCause(t.Context())
			got := make(chan error, 1)
			go func() {
				_, err := p.Acquire(ctx)
				got <- err
			}()
			synctest.Wait()
			cause := errors.New("enough")
			cancel(cause)
			want := ErrStopped
			if expected {
				want = cause
			}
			if err := <-got; !errors.Is(err, want) {
				t.Errorf("expected %v: %v, want %v", expected, err, want)
			}
		}
	})
}

func TestAcquire_QueueTimeout(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.start()
		a := r.next()
		c := r.acquire()
		time.Sleep(20*time.Second - 1)
		c.waits()
		time.Sleep(time.Nanosecond)
		c.want(ErrQueueTimeout)
		// The time is one for the whole wait, however often the pool tries.
		w := a.ready()
		w.crash()
		c = r.acquire()
		time.Sleep(restartDelay)
		b := r.next()
		time.Sleep(18 * time.Second)
		w = newFakeWorker(2)
		b.result <- startResult{worker: w}
		c.want(nil)
		w.crash()
	})
}

func TestAcquire_DeadWorker(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		w := r.up()
		w.crash()
		// The pool may not have seen it yet: the process's end is enough.
		if l, ok := r.Current(); ok {
			t.Errorf("Current gave generation %d, whose process had ended", l.Generation())
		}
		c := r.acquire()
		c.waits()
		time.Sleep(restartDelay)
		r.next().ready()
		c.want(nil)
	})
}

func TestReason(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{ErrQueueFull, "QueueFull"},
		{fmt.Errorf("acquire: %w", ErrQueueTimeout), "Timer_AppPool"},
		{ErrStopped, "AppOffline"},
		{ErrClosed, "AppOffline"},
		{fmt.Errorf("pool: %w", &StartError{}), "AppOffline"},
		{context.Canceled, ""},
	} {
		if got := Reason(tt.err); got != tt.want {
			t.Errorf("Reason(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestLease_ReleasedTwice(t *testing.T) {
	for _, retired := range []bool{false, true} {
		g := &generation{leases: leases{none: make(chan struct{})}}
		g.leases.take()
		if retired {
			g.leases.close()
		}
		Lease{g}.Release()
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("no panic, retired %v", retired)
				}
			}()
			Lease{g}.Release()
		}()
	}
}

// autoStarter starts workers at once, which drain when they are asked to.
type autoStarter struct{}

func (autoStarter) Start(_ context.Context, s Spec) (Worker, error) {
	w := newFakeWorker(s.Generation)
	close(w.finish)
	return w, nil
}

func autoPool(t testing.TB) *Pool {
	cfg := testConfig()
	cfg.QueueLength = 1000
	cfg.MaxDraining = 1 << 30
	p := New(Options{Config: cfg, Starter: func(config.Hosting) Starter { return autoStarter{} }})
	p.Open()
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestAcquire_NeverOnADrainedGeneration swaps generations while others acquire:
// while a lease is held its generation may begin to drain, but is not stopped.
func TestAcquire_NeverOnADrainedGeneration(t *testing.T) {
	p := autoPool(t)
	ctx, cancel := context.WithCancel(t.Context())
	var given, late atomic.Int64
	held := make(chan struct{}, 1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				l, err := p.Acquire(ctx)
				if ctx.Err() != nil && errors.Is(err, ErrStopped) {
					return
				}
				if err != nil {
					t.Errorf("Acquire: %v", err)
					return
				}
				w := l.Worker().(*fakeWorker)
				if closed(w.stopping) {
					t.Errorf("generation %d was drained before its lease was given", l.Generation())
				}
				if l.Generation()%2 == 0 {
					select {
					case held <- struct{}{}:
					default:
					}
					<-w.draining // hold it into the drain
					late.Add(1)
				}
				if closed(w.stopping) {
					t.Errorf("generation %d was stopped under a lease", l.Generation())
				}
				given.Add(1)
				l.Release()
			}
		})
	}
	for i := range 200 {
		if err := p.Recycle(t.Context(), "test"); err != nil {
			t.Errorf("recycle %d: %v", i, err)
			break
		}
		if p.Status().Generation%2 == 0 {
			<-held // on a busy machine nobody may have come yet
		}
	}
	// Those who hold an even generation wait for one more drain.
	if err := p.Recycle(t.Context(), "test"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := p.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	t.Logf("%d leases, %d of them held into a drain", given.Load(), late.Load())
	if late.Load() == 0 {
		t.Error("no lease was held into a drain: the test has shown nothing")
	}
}

// TestLeases races takers with close: after none is closed, no take succeeds.
func TestLeases(t *testing.T) {
	for range 500 {
		l := leases{none: make(chan struct{})}
		var over atomic.Bool
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for {
					was := over.Load()
					if !l.take() {
						return
					}
					if was {
						t.Error("lease given after the last one was dropped")
					}
					l.drop()
				}
			})
		}
		l.close()
		<-l.none
		over.Store(true)
		wg.Wait()
		if n := l.count(); n != 0 {
			t.Fatalf("%d leases are out, want none", n)
		}
	}
}

// TestStatus_Concurrent reads the status while the pool lives.
func TestStatus_Concurrent(t *testing.T) {
	p := autoPool(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		last := 0
		for !closed(stop) {
			s := p.Status()
			if s.Generation < last {
				t.Errorf("generation %d after %d", s.Generation, last)
			}
			last = s.Generation
		}
	})
	for range 100 {
		if err := p.Recycle(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		if s := p.Status(); s.State != "running" {
			t.Fatalf("state is %s after Recycle has returned", s.State)
		}
		if err := p.Drained(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := p.Status(); len(s.Workers) != 1 {
			t.Fatalf("workers are %+v after Drained has returned", s.Workers)
		}
	}
	close(stop)
	wg.Wait()
}

// TestAcquire_SwapNeedsNoQueue recycles a pool whose queue has no place: nobody
// may need one while a generation serves.
func TestAcquire_SwapNeedsNoQueue(t *testing.T) {
	p := autoPool(t)
	cfg := testConfig()
	cfg.QueueLength, cfg.MaxDraining = 0, 1<<30
	if err := p.Reconfigure(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for !closed(stop) {
				l, err := p.Acquire(context.Background())
				if err != nil {
					t.Errorf("Acquire: %v", err)
					return
				}
				l.Release()
				if l, ok := p.Current(); ok {
					l.Release()
				} else {
					t.Error("Current has no lease during a swap")
				}
			}
		})
	}
	for range 200 {
		if err := p.Recycle(t.Context(), "test"); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

func BenchmarkAcquire(b *testing.B) {
	p := autoPool(b)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		l, err := p.Acquire(ctx)
		if err != nil {
			b.Fatal(err)
		}
		l.Release()
	}
}

func TestAcquire_DoesNotAllocate(t *testing.T) {
	p := autoPool(t)
	ctx := t.Context()
	n := testing.AllocsPerRun(100, func() {
		l, _ := p.Acquire(ctx)
		l.Release()
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
