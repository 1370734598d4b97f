package apppool

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
)

func TestDrain_Timeout(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		one := r.up()
		one.stubborn = true
		one.left = Stats{Connections: 2}
		held, _ := r.Current() // never released in time
		r.recycle("test")
		r.next().ready()
		time.Sleep(30*time.Second - 1)
		synctest.Wait()
		if closed(one.stopping) {
			t.Fatal("stopped before drain_timeout")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !closed(one.stopping) || one.killed.Load() {
			t.Fatal("want it asked to stop after drain_timeout, and not killed yet")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !one.killed.Load() {
			t.Fatal("not killed after shutdown_timeout")
		}
		r.is("running", 2, "2 running")
		if s := r.Status(); s.Cut != 1 {
			t.Errorf("%d cut, want 1", s.Cut)
		}
		held.Release() // a late one does no harm
	})
}

func TestDrain_LeaseOutTimeout(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		one := r.up()
		close(one.finish)
		held, _ := r.Current()
		defer held.Release()
		r.recycle("test")
		r.next().ready()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if s := r.Status(); !closed(one.stopping) || s.Cut != 1 {
			t.Errorf("a lease held for longer than drain_timeout: stopped %v, cut %d", closed(one.stopping), s.Cut)
		}
	})
}

func TestDrain_CrashWhileDraining(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		one := r.up()
		held, _ := r.Current()
		defer held.Release()
		r.recycle("test")
		r.next().ready()
		one.crash()
		r.is("running", 2, "2 running") // nobody waits for the lease
		if s := r.Status(); s.Crashes != 0 || s.Cut != 0 {
			t.Errorf("%d crashes, %d cut, want none", s.Crashes, s.Cut)
		}
	})
}

func TestDrain_MaxDraining(t *testing.T) {
	bubble(t, with(func(c *config.Pool) { c.MaxDraining = 2 }), func(t *testing.T, r *rig) {
		workers := []*fakeWorker{r.up()}
		workers[0].stubborn = true
		recycle := func() {
			c := r.recycle("test")
			workers = append(workers, r.next().ready())
			c.want(nil)
		}
		recycle()
		recycle()
		r.is("running", 3, "1 draining 2 draining 3 running")
		if closed(workers[0].stopping) {
			t.Fatal("cut within max_draining")
		}
		recycle() // 1 is asked to stop, and does not
		if !closed(workers[0].stopping) || workers[0].killed.Load() || closed(workers[1].stopping) {
			t.Fatal("want the oldest, and only it, asked to stop")
		}
		r.is("running", 4, "1 draining 2 draining 3 draining 4 running")
		recycle() // 1 is in the way again, and 2 is the oldest of the others
		if !workers[0].killed.Load() || !closed(workers[1].stopping) || closed(workers[2].stopping) {
			t.Fatal("want the first killed and the second asked to stop")
		}
		r.is("running", 5, "3 draining 4 draining 5 running")
		if s := r.Status(); s.Cut != 2 {
			t.Errorf("%d cut, want 2", s.Cut)
		}
	})
}

func TestStop_DrainsAndWaits(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		one := r.up()
		r.recycle("test")
		two := r.next().ready()
		held, _ := r.Current()
		c := r.stop()
		c.waits()
		r.is("stopped", 2, "1 draining 2 draining")
		r.acquire().want(ErrStopped)
		if _, ok := r.Current(); ok {
			t.Error("Current gives a lease on a stopped pool")
		}
		close(two.finish)
		held.Release()
		c.waits()
		close(one.finish)
		c.want(nil)
		r.is("stopped", 2, "")
	})
}

func TestStop_CancelsStart(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		s := r.start()
		a := r.next()
		pending := r.recycle("test")
		waiter := r.acquire()
		r.stop().want(nil)
		s.want(ErrStopped)
		pending.want(ErrStopped)
		waiter.want(ErrStopped)
		if got := context.Cause(a.ctx); got != ErrStopped {
			t.Errorf("the start's cause is %v, want ErrStopped", got)
		}
		r.is("stopped", 1, "")
		r.none()
	})
}

func TestStop_StartIsReadyAllTheSame(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.start()
		a := r.next()
		a.late = true
		c := r.stop()
		c.waits()
		again := r.start() // does not wait for the cancelled one
		b := r.next()
		two := b.ready()
		again.want(nil)
		w := newFakeWorker(1)
		close(w.finish)
		a.result <- startResult{worker: w}
		c.want(nil)
		if !closed(w.stopping) || closed(two.stopping) {
			t.Error("want the worker of the cancelled start stopped, and no other")
		}
		r.is("running", 2, "2 running")
	})
}

func TestStop_EndsBackOff(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		w := r.up()
		w.crash()
		r.stop().want(nil)
		time.Sleep(time.Hour)
		r.none()
		r.is("stopped", 1, "")
		s := r.start()
		w = r.next().ready()
		s.want(nil)
		w.crash()
		synctest.Wait()
		if got := time.Until(r.Status().RetryAt); got != restartDelay {
			t.Errorf("retry in %v, want a count that began anew", got)
		}
	})
}

// TestForget_StatusFirst checks that whoever is told that a generation is gone
// does not find it in the status.
func TestForget_StatusFirst(t *testing.T) {
	p := New(Options{Config: testConfig()})
	g := &generation{worker: newFakeWorker(1), gone: make(chan struct{})}
	p.machine.leaving = []*generation{g}
	p.machine.publish()
	if n := len(p.Status().Workers); n != 1 {
		t.Fatalf("%d workers, want 1", n)
	}
	p.machine.forget(g)
	if n := len(p.Status().Workers); n != 0 || !closed(g.gone) {
		t.Errorf("%d workers, gone %v, want none and true", n, closed(g.gone))
	}
}
