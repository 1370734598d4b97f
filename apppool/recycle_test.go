package apppool

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecycle_Overlaps(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		one := r.up()
		r.is("running", 1, "1 running")
		held, err := r.Acquire(t.Context())
		if err != nil || held.Worker() != Worker(one) || held.Generation() != 1 {
			t.Fatalf("Acquire = %v, %v, want generation 1", held, err)
		}

		c := r.recycle("by hand")
		a := r.next()
		r.is("overlapping", 1, "1 running 2 starting")
		r.acquire().want(nil) // one goes on serving
		if closed(one.draining) {
			t.Fatal("drains before the next generation is ready")
		}
		two := a.ready()
		c.want(nil)
		r.is("running", 2, "1 draining 2 running")
		if !closed(one.draining) || closed(one.stopping) {
			t.Fatal("want the old worker to drain, and not to be stopped yet")
		}
		if l, ok := r.Current(); !ok || l.Worker() != Worker(two) {
			t.Fatal("Current is not the new generation")
		} else {
			l.Release()
		}

		drained := r.call(r.Drained)
		close(one.finish)
		synctest.Wait()
		if !one.drained.Load() || closed(one.stopping) {
			t.Fatal("stopped while a lease is out")
		}
		drained.waits()
		held.Release()
		drained.want(nil)
		if !closed(one.stopping) || one.killed.Load() {
			t.Fatal("want the drained worker to be stopped politely")
		}
		r.is("running", 2, "2 running")
		if s := r.Status(); s.Recycles != 1 || s.Crashes != 0 || s.Cut != 0 || s.LastReason != "by hand" {
			t.Errorf("status is %+v", s)
		}
		want := []string{"stopped > starting", "starting > running", "running > overlapping", "overlapping > running", "generation ended"}
		if !slices.Equal(r.log.lines, want) {
			t.Errorf("logged %q, want %q", r.log.lines, want)
		}
	})
}

func TestRecycle_WaitsForDrainAfterLeases(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		one := r.up()
		held, _ := r.Current()
		r.recycle("test")
		r.next().ready()
		held.Release()
		synctest.Wait()
		if closed(one.stopping) {
			t.Fatal("stopped before Drain returned")
		}
		close(one.finish)
		synctest.Wait()
		if !closed(one.stopping) {
			t.Fatal("not stopped after Drain and the last lease")
		}
	})
}

func TestRecycle_Coalesces(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.up()
		first := r.recycle("first")
		a := r.next()
		b, c, d := r.recycle("memory"), r.recycle("schedule"), r.recycle("memory")
		r.none()
		a.ready()
		first.want(nil)
		b.waits()
		r.is("overlapping", 2, "1 draining 2 running 3 starting")
		r.next().ready()
		b.want(nil)
		c.want(nil)
		d.want(nil)
		r.none()
		r.is("running", 3, "1 draining 2 draining 3 running")
		if s := r.Status(); s.LastReason != "memory; schedule" || s.Recycles != 2 {
			t.Errorf("last reason %q, %d recycles", s.LastReason, s.Recycles)
		}
	})
}

func TestRecycle_CoalescedGetTheSameError(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.up()
		first := r.recycle("first")
		a := r.next()
		b, c := r.recycle("second"), r.recycle("third")
		a.fail()
		first.want(errNoWay)
		b.waits()
		r.next().fail()
		b.want(errNoWay)
		c.want(errNoWay)
		r.is("running", 1, "1 running")
	})
}

func TestRecycle_NotReady(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		one := r.up()
		c := r.recycle("deploy")
		r.next().fail()
		c.want(errNoWay)
		if e, ok := errors.AsType[*StartError](c.err); !ok || e.SubStatus != "500.30" {
			t.Errorf("error is %v, want a StartError", c.err)
		}
		r.is("running", 1, "1 running")
		r.acquire().want(nil)
		if closed(one.draining) {
			t.Error("the old generation drains")
		}
		s := r.Status()
		if want := "deploy: generation 2 did not start: did not start"; s.LastReason != want {
			t.Errorf("last reason is %q, want %q", s.LastReason, want)
		}
		if !slices.Equal(s.LastOutput, []string{"listen: no"}) {
			t.Errorf("last output is %q", s.LastOutput)
		}
	})
}

func TestRecycle_EndedAsSoonAsReady(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.up()
		c := r.recycle("deploy")
		a := r.next()
		w := newFakeWorker(7)
		w.crash()
		a.result <- startResult{worker: w}
		synctest.Wait()
		if e, ok := errors.AsType[*StartError](c.err); !ok || e.Exit != "exit status 2" {
			t.Errorf("error is %v, want a StartError with the exit status", c.err)
		}
		r.is("running", 1, "1 running")
		if !closed(w.stopping) {
			t.Error("what the ended process left was not stopped")
		}
	})
}

func TestRecycle_StartupTimeout(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.up()
		c := r.recycle("deploy")
		r.next()
		time.Sleep(time.Minute)
		c.want(errStartupTimeout)
		r.is("running", 1, "1 running")
	})
}

func TestRecycle_CallerGivesUp(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.up()
		c := r.recycle("test")
		a := r.next()
		cause := errors.New("operator went home")
		c.cancel(cause)
		c.want(cause)
		a.ready()
		r.is("running", 2, "1 draining 2 running")
	})
}
