package apppool

import (
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
)

func adoptedOf(number int) (Adopted, *fakeWorker) {
	w := newFakeWorker(1000 + number)
	return Adopted{Worker: w, Generation: number, Hosting: config.InProcess}, w
}

// TestAdopt: a pool that begins with generations of a host before runs the last of
// them at once, drains the others, and goes on with the numbers.
func TestAdopt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		six, old := adoptedOf(6)
		seven, current := adoptedOf(7)
		r := newRigOf(t, testConfig(), true, seven, six) // in any order
		r.is("running", 7, "6 draining 7 running")
		r.none()
		r.acquire().want(nil)
		r.start().want(nil)
		close(old.finish)
		r.is("running", 7, "7 running")
		recycle := r.recycle("by hand")
		r.next().ready()
		recycle.want(nil)
		r.is("running", 8, "7 draining 8 running")
		close(current.finish)
		r.is("running", 8, "8 running")
		if s := r.Status(); s.Recycles != 1 || s.Crashes != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestAdopt_Draining: a generation that was told to drain serves nobody; the next
// one starts beside it.
func TestAdopt_Draining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, old := adoptedOf(3)
		a.Draining = true
		r := newRigOf(t, testConfig(), true, a)
		r.is("stopped", 3, "3 draining")
		start := r.start()
		r.is("starting", 4, "3 draining 4 starting")
		r.next().ready()
		start.want(nil)
		close(old.finish)
		r.is("running", 4, "4 running")
	})
}

// TestAdopt_Crash: an adopted generation that ends is replaced like any other, also
// if it has ended before the pool is open.
func TestAdopt_Crash(t *testing.T) {
	for name, early := range map[string]bool{"later": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, w := adoptedOf(3)
				if early {
					w.crash()
				}
				r := newRigOf(t, testConfig(), true, a)
				if !early {
					r.is("running", 3, "3 running")
					w.crash()
				}
				time.Sleep(restartDelay)
				r.next().ready()
				r.is("running", 4, "4 running")
				if s := r.Status(); s.Crashes != 1 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// TestAdopt_OtherHosting: the generation keeps its own mode until it is replaced.
func TestAdopt_OtherHosting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, w := adoptedOf(3)
		close(w.finish)
		r := newRigOf(t, with(func(c *config.Pool) { c.Program.Hosting = config.OutOfProcess }), true, a)
		if s := r.Status(); s.Hosting != config.InProcess {
			t.Errorf("%+v", s)
		}
		recycle := r.recycle("changed")
		r.next().ready()
		recycle.want(nil)
		if s := r.Status(); s.Hosting != config.OutOfProcess || s.Generation != 4 {
			t.Errorf("%+v", s)
		}
	})
}

// TestAdopt_Close ends adopted generations with the pool.
func TestAdopt_Close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, w := adoptedOf(3)
		close(w.finish)
		r := newRigOf(t, testConfig(), true, a)
		if err := r.Close(t.Context()); err != nil || !closed(w.done) {
			t.Errorf("%v, ended %v", err, closed(w.done))
		}
	})
}

// TestDigest: what needs a new generation has another digest, and nothing else has.
func TestDigest(t *testing.T) {
	base := Digest(testConfig())
	for name, tt := range map[string]struct {
		change func(*config.Pool)
		same   bool
	}{
		"nothing":   {func(*config.Pool) {}, true},
		"queue":     {func(c *config.Pool) { c.QueueLength++ }, true},
		"drain":     {func(c *config.Pool) { c.DrainTimeout++ }, true},
		"health":    {func(c *config.Pool) { c.Health.Path = "/health" }, true},
		"recycle":   {func(c *config.Pool) { c.Recycle.Requests = 9 }, true},
		"failure":   {func(c *config.Pool) { c.Failure.MaxCrashes++ }, true},
		"user":      {func(c *config.Pool) { c.Identity.User = "somebody" }, false},
		"umask":     {func(c *config.Pool) { c.Identity.Umask = 0o77 }, false},
		"memory":    {func(c *config.Pool) { c.Limits.Memory = 1 << 30 }, false},
		"files":     {func(c *config.Pool) { c.Limits.OpenFiles = config.Rlimit{Set: true, Value: 99} }, false},
		"env files": {func(c *config.Pool) { c.Program.EnvFiles = []string{"/etc/x"} }, false},
		"arguments": {func(c *config.Pool) { c.Program.Args = []string{"-v"} }, false},
		"env":       {func(c *config.Pool) { c.Program.Env = map[string]string{"A": "b"} }, false},
		"hosting":   {func(c *config.Pool) { c.Program.Hosting = config.OutOfProcess }, false},
	} {
		if got := Digest(with(tt.change)) == base; got != tt.same {
			t.Errorf("%s: same digest %v, want %v", name, got, tt.same)
		}
	}
}
