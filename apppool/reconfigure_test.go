package apppool

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
)

func TestReconfigure_NewProgram(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.up()
		c := r.reconfigure(with(func(c *config.Pool) { c.Program.Hosting = config.OutOfProcess }))
		a := r.next()
		if s := r.Status(); s.Hosting != config.InProcess {
			t.Errorf("hosting is %q while the old generation serves", s.Hosting)
		}
		a.ready()
		c.want(nil)
		r.is("running", 2, "1 draining 2 running")
		s := r.Status()
		if s.Hosting != config.OutOfProcess || s.LastReason != "hosting changed from inprocess to outofprocess" {
			t.Errorf("status is %+v", s)
		}
		if want := []config.Hosting{config.InProcess, config.OutOfProcess}; !slices.Equal(r.kinds, want) {
			t.Errorf("starters were %v, want %v", r.kinds, want)
		}
	})
}

func TestReconfigure_Refused(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		w := r.up()
		c := r.reconfigure(with(func(c *config.Pool) {
			c.Program.Process = "/pools/shop/broken"
			c.QueueLength = 1
		}))
		a := r.next()
		if a.spec.Program.Process != "/pools/shop/broken" {
			t.Fatalf("started %q", a.spec.Program.Process)
		}
		a.fail()
		c.want(errNoWay)
		r.is("running", 1, "1 running")
		w.crash() // and the old settings are in force, all of them
		r.acquire().waits()
		r.acquire().waits()
		time.Sleep(restartDelay)
		if a := r.next(); a.spec.Program.Process != "/pools/shop/shop" {
			t.Errorf("restarted %q, want the old program", a.spec.Program.Process)
		}
	})
}

func TestReconfigure_LimitsHoldWithoutRestart(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		w := r.up()
		r.reconfigure(with(func(c *config.Pool) {
			c.QueueLength = 1
			c.RestartDelay = 3 * time.Second
		})).want(nil)
		r.none()
		r.is("running", 1, "1 running")
		w.crash()
		r.acquire().waits()
		r.acquire().want(ErrQueueFull)
		r.reconfigure(with(func(c *config.Pool) { c.QueueLength = 2 })).want(nil) // holds in a back-off, too
		r.acquire().waits()
		r.acquire().want(ErrQueueFull)
		time.Sleep(3*time.Second - 1)
		r.none()
		time.Sleep(time.Nanosecond)
		r.next().ready()
	})
}

func TestReconfigure_WorkerSettingsRecycle(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.up()
		c := r.reconfigure(with(func(c *config.Pool) { c.MaxConcurrent = 7 }))
		a := r.next()
		if a.spec.Pool.MaxConcurrent != 7 {
			t.Errorf("started with %d", a.spec.Pool.MaxConcurrent)
		}
		a.ready()
		c.want(nil)
	})
}

func TestReconfigure_LastWins(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.up()
		b := r.reconfigure(with(func(c *config.Pool) { c.Program.Process = "/b" }))
		atB := r.next()
		back := r.reconfigure(testConfig()) // no change yet, but one when b is ready
		back.waits()
		atB.ready()
		b.want(nil)
		a := r.next()
		if a.spec.Program.Process != "/pools/shop/shop" {
			t.Errorf("started %q, want what was given last", a.spec.Program.Process)
		}
		a.ready()
		back.want(nil)
		r.is("running", 3, "1 draining 2 draining 3 running")
	})
}

func TestReconfigure_NothingLeftToChange(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.up()
		b := r.reconfigure(with(func(c *config.Pool) { c.Program.Process = "/b" }))
		atB := r.next()
		back := r.reconfigure(testConfig())
		atB.fail() // so that the old settings are in force
		b.want(errNoWay)
		back.want(nil)
		r.none()
		r.is("running", 1, "1 running")
	})
}

func TestReconfigure_Stopped(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.reconfigure(with(func(c *config.Pool) { c.Program.Process = "/b" })).want(nil)
		r.is("stopped", 0, "")
		r.start()
		if a := r.next(); a.spec.Program.Process != "/b" {
			t.Errorf("started %q", a.spec.Program.Process)
		}
	})
}

func TestReconfigure_StopComesBetween(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		w := r.up()
		close(w.finish)
		b := r.reconfigure(with(func(c *config.Pool) { c.Program.Process = "/b" }))
		r.next()
		c := r.reconfigure(with(func(c *config.Pool) { c.Program.Process = "/c" }))
		r.stop().want(nil)
		b.want(nil)
		c.want(nil)
		r.start()
		if a := r.next(); a.spec.Program.Process != "/c" {
			t.Errorf("started %q, want the settings given last", a.spec.Program.Process)
		}
	})
}

func TestReconfigure_NoProgram(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		w := r.up()
		none := testConfig()
		none.Program = nil
		r.reconfigure(none).want(nil)
		r.is("stopped", 1, "1 draining")
		close(w.finish)
		for _, c := range []*call{r.start(), r.recycle("test")} {
			if synctest.Wait(); c.err == nil || !strings.Contains(c.err.Error(), "no application names the pool") {
				t.Errorf("error is %v", c.err)
			}
		}
		r.is("stopped", 1, "")
		r.reconfigure(testConfig()).want(nil)
		s := r.start()
		r.next().ready()
		s.want(nil)
	})
}
