package apppool

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
)

func TestCrash_RestartsByBackOff(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		w := r.up()
		for i, wait := range []time.Duration{1, 2, 4, 8, 8} {
			wait *= time.Second
			w.crash()
			r.is("starting", i+1, "")
			s := r.Status()
			if got := time.Until(s.RetryAt); got != wait {
				t.Fatalf("crash %d: retry in %v, want %v", i+1, got, wait)
			}
			if s.Crashes != i+1 || !strings.HasSuffix(s.LastReason, "crashed: exit status 2") || s.LastOutput[0] != "panic: oh" {
				t.Fatalf("status is %+v", s)
			}
			waiter := r.acquire()
			waiter.waits() // the application is known to work
			time.Sleep(wait - 1)
			r.none()
			time.Sleep(time.Nanosecond)
			w = r.next().ready()
			waiter.want(nil)
			r.is("running", i+2, fmt.Sprint(i+2, " running"))
		}
		time.Sleep(restartDelayMax + 1) // it has shown that it can run
		w.crash()
		synctest.Wait()
		if got := time.Until(r.Status().RetryAt); got != restartDelay {
			t.Errorf("retry in %v after a long run, want %v", got, restartDelay)
		}
	})
}

func TestCrash_KilledTreeIsStopped(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		w := r.up()
		w.crash()
		synctest.Wait()
		if !closed(w.stopping) {
			t.Error("Stop was not called on the worker: its tree may live")
		}
	})
}

func TestCrash_WhileNextStarts(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		w := r.up()
		c := r.recycle("deploy")
		a := r.next()
		w.crash()
		r.is("starting", 2, "2 starting")
		waiter := r.acquire()
		waiter.waits()
		a.ready()
		c.want(nil)
		waiter.want(nil)
		r.is("running", 2, "2 running")
		if s := r.Status(); s.Crashes != 1 || s.Recycles != 0 {
			t.Errorf("%d crashes, %d recycles, want 1, 0", s.Crashes, s.Recycles)
		}
	})
}

func TestCrash_WhileNextStartsAndFails(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		w := r.up()
		changed := with(func(c *config.Pool) { c.Program.Process = "/pools/shop/new" })
		c := r.reconfigure(changed)
		a := r.next()
		w.crash()
		a.fail()
		c.want(errNoWay)
		r.acquire().want(errNoWay)
		if got := time.Until(r.Status().RetryAt); got != 2*restartDelay {
			t.Errorf("retry in %v, want that of the second failure in a row", got)
		}
		time.Sleep(2 * restartDelay)
		if a := r.next(); a.spec.Program.Process != "/pools/shop/shop" {
			t.Errorf("restarts %q, want the settings in force", a.spec.Program.Process)
		}
	})
}

func TestCrash_RightAfterSwap(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		one := r.up()
		r.recycle("deploy")
		two := r.next().ready()
		two.crash()
		r.is("starting", 2, "1 draining")
		waiter := r.acquire()
		waiter.waits() // one drains, which cannot be taken back
		time.Sleep(restartDelay)
		r.next().ready()
		waiter.want(nil)
		r.is("running", 3, "1 draining 3 running")
		close(one.finish)
		r.is("running", 3, "3 running")
	})
}

func TestStart_FailsAndIsRetried(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		c := r.start()
		a := r.next()
		waiter := r.acquire()
		waiter.waits()
		a.fail()
		c.want(errNoWay)
		waiter.want(errNoWay)
		r.is("starting", 1, "")
		r.acquire().want(errNoWay) // at once: nobody waits for a broken application
		if e, ok := errors.AsType[*StartError](r.acquireErr()); !ok || e.SubStatus != "500.30" {
			t.Errorf("Acquire does not give the StartError: %v", r.acquireErr())
		}
		time.Sleep(restartDelay)
		a = r.next()
		waiter = r.acquire()
		waiter.waits() // there is something to wait for
		a.fail()
		time.Sleep(2*restartDelay - 1)
		r.none()
		time.Sleep(time.Nanosecond)
		a = r.next()
		second := r.start() // joins
		a.ready()
		second.want(nil)
		r.is("running", 3, "3 running")
		if s := r.Status(); s.LastReason == "" || s.Crashes != 0 || !s.RetryAt.IsZero() {
			t.Errorf("status is %+v", s)
		}
	})
}

func (r *rig) acquireErr() error {
	_, err := r.Acquire(r.t.Context())
	return err
}

func TestStart_RecycleFollows(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		s := r.start()
		a := r.next()
		c := r.recycle("new release")
		waiter := r.acquire()
		a.fail()
		s.want(errNoWay)
		waiter.waits() // the next start follows at once, without back-off
		r.next().ready()
		c.want(nil)
		waiter.want(nil)
		r.is("running", 2, "2 running")
	})
}

// TestStart_RecycleFollowsWithoutRefusal looks at the moment between a start that
// did not succeed and the one that follows at once: it refuses nobody.
func TestStart_RecycleFollowsWithoutRefusal(t *testing.T) {
	p := New(Options{Config: testConfig()})
	m := p.machine
	m.state, m.next = starting, &generation{pool: m.settings}
	m.open(&gate{})
	m.pending.callers = []caller{{reply: make(chan error, 1)}}
	m.apply(evUnready, order{}, errNoWay)
	if got := p.gate.Load(); got.gen != nil || got.err != nil {
		t.Errorf("gate is %+v, want one where requests wait", got)
	}
}
