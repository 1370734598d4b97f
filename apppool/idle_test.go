package apppool

import (
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
)

func TestIdling(t *testing.T) {
	start := time.Now()
	i := idling{since: start}
	for n, step := range []struct {
		at       int // seconds
		busy     bool
		requests uint64
		want     int
	}{
		{1, false, 0, 1},
		{5, false, 0, 5},
		{6, true, 0, 0}, // a request that came before the first look still runs
		{9, false, 0, 3},
		{10, false, 7, 0}, // they came and went
		{12, false, 7, 2},
	} {
		if got := i.note(start.Add(time.Duration(step.at)*time.Second), step.busy, step.requests); got != time.Duration(step.want)*time.Second {
			t.Errorf("step %d: idle for %v, want %d s", n, got, step.want)
		}
	}
}

func TestIdleEvery(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{
		time.Nanosecond: 10 * time.Millisecond, 4 * time.Second: time.Second, time.Hour: 10 * time.Second,
	} {
		if got := idleEvery(limit); got != want {
			t.Errorf("%v: every %v, want %v", limit, got, want)
		}
	}
}

func idles() *config.Pool { return with(func(c *config.Pool) { c.IdleTimeout = idleTimeout }) }

func onDemand() *config.Pool {
	return with(func(c *config.Pool) { c.Start, c.IdleTimeout = config.StartOnDemand, idleTimeout })
}

// bubbleExpected is bubble with a pool that is to run.
func bubbleExpected(t *testing.T, cfg *config.Pool, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newRigOf(t, cfg, true)) })
}

// A pool that starts on demand has no process before the first request, which
// waits for it, as do those behind it.
func TestOnDemand(t *testing.T) {
	bubbleExpected(t, onDemand(), func(t *testing.T, r *rig) {
		r.is("idle", 0, "")
		time.Sleep(time.Hour)
		r.none()
		if _, ok := r.Current(); ok {
			t.Error("an idle pool has a generation")
		}
		first := r.acquire()
		a := r.next()
		second := r.acquire()
		r.is("starting", 1, "1 starting")
		first.waits()
		second.waits()
		if n := r.Status().Queued; n != 2 {
			t.Errorf("%d wait, want 2", n)
		}
		a.ready()
		first.want(nil)
		second.want(nil)
		r.is("running", 1, "1 running")
	})
}

// The first one may be a connection; and where none may wait it starts the pool
// all the same.
func TestOnDemand_NoQueue(t *testing.T) {
	cfg := onDemand()
	cfg.QueueLength = 0
	bubbleExpected(t, cfg, func(t *testing.T, r *rig) {
		r.acquire().want(ErrQueueFull)
		r.next().ready()
		r.acquire().want(nil)
	})
}

// One that does not start says so, and is restarted as any other.
func TestOnDemand_Unready(t *testing.T) {
	bubbleExpected(t, onDemand(), func(t *testing.T, r *rig) {
		first := r.acquire()
		r.next().fail()
		first.want(errNoWay)
		r.acquire().want(errNoWay)
		time.Sleep(restartDelay)
		r.next().ready()
		r.is("running", 2, "2 running")
	})
}

// Orders to an idle pool.
func TestOnDemand_Orders(t *testing.T) {
	bubbleExpected(t, onDemand(), func(t *testing.T, r *rig) {
		cfg := onDemand()
		cfg.Program.Args = []string{"-v"}
		r.reconfigure(cfg).want(nil) // for the next start
		r.none()
		r.is("idle", 0, "")
		r.stop().want(nil)
		r.acquire().want(ErrStopped)
		c := r.start()
		a := r.next()
		if a.spec.Program.Args == nil {
			t.Error("the start is not by the new settings")
		}
		a.ready()
		c.want(nil)
	})
}

// A worker that nobody asks for anything is stopped; what makes it busy keeps it.
func TestIdle(t *testing.T) {
	for name, use := range map[string]func(*Stats){
		"request":   func(s *Stats) { s.Active = 1 },
		"queued":    func(s *Stats) { s.Queued = 1 },
		"websocket": func(s *Stats) { s.Streams = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, idles(), func(t *testing.T, r *rig) {
				w := r.up()
				w.uses(func(s *Stats) { use(s); s.Connections = 3 })
				time.Sleep(3 * idleTimeout)
				r.is("running", 1, "1 running")
				w.uses(func(s *Stats) { *s = Stats{Connections: 3, Requests: 1} })
				time.Sleep(idleTimeout - time.Second)
				r.is("running", 1, "1 running")
				time.Sleep(2*idleEvery(idleTimeout) + time.Second)
				r.is("idle", 1, "1 draining")
				close(w.finish)
				r.is("idle", 1, "")
				if s := r.Status(); s.Recycles+s.Crashes+s.Cut != 0 {
					t.Errorf("counted: %+v", s)
				}
				time.Sleep(3 * idleTimeout)
				r.none()
			})
		})
	}
}

func TestIdle_Lease(t *testing.T) {
	bubble(t, idles(), func(t *testing.T, r *rig) {
		r.up()
		lease, err := r.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * idleTimeout)
		r.is("running", 1, "1 running")
		lease.Release()
		time.Sleep(idleFound)
		r.is("idle", 1, "1 draining")
	})
}

// A request wakes the pool, while the worker still drains and later.
func TestIdle_Wake(t *testing.T) {
	bubble(t, idles(), func(t *testing.T, r *rig) {
		w := r.up()
		time.Sleep(idleFound)
		r.is("idle", 1, "1 draining")
		request := r.acquire()
		next := r.next().ready()
		request.want(nil)
		r.is("running", 2, "1 draining 2 running")
		close(w.finish)
		close(next.finish)
		time.Sleep(2 * idleTimeout)
		r.is("idle", 2, "")
		request = r.acquire()
		r.next().ready()
		request.want(nil)
	})
}

// One that may not run twice is started when the one before is gone.
func TestIdle_WakeWithoutOverlap(t *testing.T) {
	cfg := idles()
	cfg.Recycle.Overlap = false
	bubble(t, cfg, func(t *testing.T, r *rig) {
		w := r.up()
		time.Sleep(idleFound)
		request := r.acquire()
		r.none()
		close(w.finish)
		a := r.next()
		if !closed(w.done) {
			t.Error("two processes run")
		}
		a.ready()
		request.want(nil)
	})
}

// A knock that comes too late changes nothing.
func TestDemand_Late(t *testing.T) {
	bubble(t, idles(), func(t *testing.T, r *rig) {
		r.demands <- struct{}{}
		r.none()
		r.is("stopped", 0, "")
		close(r.up().finish)
		r.demands <- struct{}{}
		r.none()
		r.is("running", 1, "1 running")
		time.Sleep(2 * idleTimeout)
		r.none()
		r.is("idle", 1, "")
	})
}
