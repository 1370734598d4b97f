package apppool

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
)

func TestRecycleDue(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(hour, minute int) []config.TimeOfDay {
		return []config.TimeOfDay{{Hour: hour, Minute: minute, Zone: time.UTC}}
	}
	const mib = 1 << 20
	for name, tt := range map[string]struct {
		c      config.Recycle
		f      facts
		after  time.Duration
		reason string
		in     time.Duration
	}{
		"nothing is set":      {config.Recycle{}, facts{requests: 1 << 40, rss: 1 << 40, private: 1 << 40, cpu: 1e4}, time.Hour, "", foreverMore},
		"too early":           {config.Recycle{Requests: 1}, facts{requests: 1, earliest: start.Add(time.Minute)}, 59 * time.Second, "", time.Second},
		"early no more":       {config.Recycle{Requests: 1}, facts{requests: 1, earliest: start.Add(time.Minute)}, time.Minute, "recycle.requests: the process has got 1 requests, limit 1", 0},
		"interval not over":   {config.Recycle{Interval: time.Hour}, facts{}, 40 * time.Minute, "", 20 * time.Minute},
		"interval over":       {config.Recycle{Interval: time.Hour}, facts{}, time.Hour, "recycle.interval: the process has served for 1h0m0s, interval 1h0m0s", 0},
		"interval and jitter": {config.Recycle{Interval: time.Hour, Jitter: time.Minute}, facts{spread: 0.5}, time.Hour, "", 30 * time.Second},
		"jitter over":         {config.Recycle{Interval: time.Hour, Jitter: time.Minute}, facts{spread: 0.5}, time.Hour + 30*time.Second, "recycle.interval: the process has served for 1h0m30s, interval 1h0m0s", 0},
		"schedule":            {config.Recycle{Schedule: at(13, 0)}, facts{}, 0, "", time.Hour},
		"scheduled":           {config.Recycle{Schedule: at(13, 0)}, facts{}, time.Hour, "recycle.schedule: it is 13:00 UTC", 0},
		"schedule is over":    {config.Recycle{Schedule: at(12, 0)}, facts{}, 0, "", 24 * time.Hour},
		"missed":              {config.Recycle{Schedule: at(13, 0)}, facts{}, 5 * time.Hour, "recycle.schedule: it is 13:00 UTC", 0},
		"schedule and jitter": {config.Recycle{Schedule: at(13, 0), Jitter: time.Minute}, facts{spread: 0.1}, time.Hour, "", 6 * time.Second},
		"the sooner one":      {config.Recycle{Schedule: at(13, 0), Interval: 10 * time.Minute}, facts{}, 0, "", 10 * time.Minute},
		"requests below":      {config.Recycle{Requests: 100}, facts{requests: 99}, 0, "", foreverMore},
		"requests":            {config.Recycle{Requests: 100}, facts{requests: 101}, 0, "recycle.requests: the process has got 101 requests, limit 100", 0},
		"memory below":        {config.Recycle{Memory: 10 * mib}, facts{rss: 10*mib - 1, private: 1 << 40}, 0, "", foreverMore},
		"memory":              {config.Recycle{Memory: 10 * mib}, facts{rss: 10.5 * mib}, 0, "recycle.memory: the process has 10.5 MiB in RAM, limit 10.0 MiB", 0},
		"private memory":      {config.Recycle{PrivateMemory: 10 * mib}, facts{private: 11 * mib}, 0, "recycle.private_memory: the process has 11.0 MiB of its own, limit 10.0 MiB", 0},
		"cpu at the limit":    {config.Recycle{CPU: 90, CPUWindow: time.Minute}, facts{cpu: 90}, 0, "", foreverMore},
		"cpu":                 {config.Recycle{CPU: 90, CPUWindow: time.Minute}, facts{cpu: 150.4}, 0, "recycle.cpu: the process has used 150% of a CPU for 1m0s, limit 90%", 0},
	} {
		tt.f.since = start
		if got, want := replaceDue(&config.Pool{Recycle: tt.c}, tt.f, start.Add(tt.after)), (decision{tt.reason, tt.in}); got.reason != want.reason || got.reason == "" && got.in != want.in {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func TestMeter(t *testing.T) {
	const s = time.Second
	start := time.Now()
	var m meter
	for i, step := range []struct {
		at, used time.Duration
		want     float64
	}{
		{0, 7 * s, 0},          // what it has used before counts for nothing
		{30 * s, 37 * s, 0},    // the window is not over
		{60 * s, 37 * s, 50},   // 30 s in 60 s
		{90 * s, 97 * s, 50},   // the next one is not over
		{120 * s, 97 * s, 100}, // 60 s in 60 s
		{240 * s, 97 * s, 0},   // looked at late
	} {
		if m.note(start.Add(step.at), step.used, time.Minute); m.share != step.want {
			t.Errorf("step %d: got %v%%, want %v%%", i, m.share, step.want)
		}
	}
}

func recycling(change func(*config.Recycle)) *config.Pool {
	return with(func(c *config.Pool) { change(&c.Recycle) })
}

// The figures of a worker bring about a recycle, like one by hand, and the next
// generation starts from zero.
func TestWatch_Requests(t *testing.T) {
	bubble(t, recycling(func(r *config.Recycle) { r.Requests = 100 }), func(t *testing.T, r *rig) {
		w := r.up()
		w.uses(func(s *Stats) { s.Requests = 99 })
		time.Sleep(time.Hour)
		r.none()
		w.uses(func(s *Stats) { s.Requests = 100 })
		time.Sleep(lookEvery)
		r.next().ready()
		r.is("running", 2, "1 draining 2 running")
		if s := r.Status(); s.LastReason != "recycle.requests: the process has got 100 requests, limit 100" || s.Recycles != 1 {
			t.Errorf("reason %q, %d recycles", s.LastReason, s.Recycles)
		}
		time.Sleep(time.Hour)
		r.none()
	})
}

func TestWatch_Measured(t *testing.T) {
	for name, tt := range map[string]struct {
		set    func(*config.Recycle)
		use    func(*Stats)
		within time.Duration
	}{
		"memory":         {func(r *config.Recycle) { r.Memory = 1 << 20 }, func(s *Stats) { s.RSS = 1 << 21 }, lookEvery},
		"private_memory": {func(r *config.Recycle) { r.PrivateMemory = 1 << 20 }, func(s *Stats) { s.Private = 1 << 21 }, lookEvery},
		"cpu":            {func(r *config.Recycle) { r.CPU = 50 }, func(s *Stats) { s.CPU = time.Hour }, time.Minute + lookEvery},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, recycling(tt.set), func(t *testing.T, r *rig) {
				w := r.up()
				time.Sleep(10 * time.Minute)
				r.none()
				w.uses(tt.use)
				time.Sleep(tt.within)
				r.next().ready()
				if s := r.Status(); s.Generation != 2 || !strings.HasPrefix(s.LastReason, "recycle."+name+": ") {
					t.Errorf("generation %d, reason %q", s.Generation, s.LastReason)
				}
			})
		})
	}
}

// Figures that cannot be had are those of before.
func TestWatch_NoFigures(t *testing.T) {
	bubble(t, recycling(func(r *config.Recycle) { r.Requests, r.Interval = 100, time.Hour }), func(t *testing.T, r *rig) {
		w := r.up()
		w.uses(func(*Stats) { w.sample = errors.New("does not answer") })
		time.Sleep(time.Hour - 1)
		r.none()
		time.Sleep(time.Nanosecond)
		r.next().ready()
		r.is("running", 2, "1 draining 2 running")
	})
}

func TestWatch_Interval(t *testing.T) {
	bubble(t, recycling(func(r *config.Recycle) { r.Interval, r.Jitter = time.Hour, 10*time.Minute }), func(t *testing.T, r *rig) {
		r.spread = func() float64 { return 0.3 }
		r.up()
		for n := 2; n < 5; n++ {
			time.Sleep(63*time.Minute - 1)
			r.none()
			time.Sleep(time.Nanosecond)
			close(r.snapshot.Load().members[0].worker.(*fakeWorker).finish)
			r.next().ready()
			r.is("running", n, string(rune('0'+n))+" running")
		}
	})
}

// A recycle that is refused is tried again after the spacing, and not before.
func TestWatch_Refused(t *testing.T) {
	bubble(t, recycling(func(r *config.Recycle) { r.Requests = 1 }), func(t *testing.T, r *rig) {
		w := r.up()
		w.uses(func(s *Stats) { s.Requests = 5 })
		time.Sleep(time.Minute - 1)
		r.none() // it is too young
		time.Sleep(lookEvery)
		for range 3 {
			r.next().fail()
			r.is("running", r.Status().Generation, "1 running")
			time.Sleep(time.Minute - lookEvery)
			r.none()
			time.Sleep(lookEvery)
		}
		r.next().ready()
	})
}

// New settings are watched by at once, without a new generation; a watch by old
// ones has no say.
func TestWatch_Reconfigure(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		w := r.up()
		w.uses(func(s *Stats) { s.Requests = 5 })
		time.Sleep(time.Hour)
		r.none()
		r.reconfigure(recycling(func(r *config.Recycle) { r.Requests = 5 })).want(nil)
		time.Sleep(lookEvery)
		r.next().fail()
		r.reconfigure(testConfig()).want(nil)
		time.Sleep(time.Hour)
		r.none()
		r.is("running", 1, "1 running")
	})
}

// What does not run is not watched.
func TestWatch_Stopped(t *testing.T) {
	bubble(t, recycling(func(r *config.Recycle) { r.Interval = time.Hour }), func(t *testing.T, r *rig) {
		close(r.up().finish)
		r.stop().want(nil)
		time.Sleep(2 * time.Hour)
		r.none()
		r.up().crash()
		time.Sleep(restartDelay)
		a := r.next()
		time.Sleep(50 * time.Second)
		a.ready()
		time.Sleep(time.Hour - 1)
		r.none() // its own age counts, not the pool's
		time.Sleep(time.Nanosecond)
		r.next()
	})
}

func alone() *config.Pool {
	return recycling(func(r *config.Recycle) { r.Overlap = false })
}

// Without overlap the next generation starts when nothing is left of the one
// before, and requests wait meanwhile. Connections that come back do not.
func TestReplace(t *testing.T) {
	bubble(t, alone(), func(t *testing.T, r *rig) {
		w := r.up()
		w.stubborn = true
		lease, err := r.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c := r.recycle("test")
		r.is("starting", 2, "1 draining 2 starting")
		request := r.acquire()
		request.waits()
		close(w.finish)
		time.Sleep(5 * time.Second)
		r.none() // a lease is out
		if closed(w.stopping) {
			t.Error("it is stopped before it has finished")
		}
		lease.Release()
		r.none() // it is being stopped, and takes its time
		time.Sleep(10 * time.Second)
		a := r.next()
		if !closed(w.done) {
			t.Error("two processes run")
		}
		connection := r.acquire() // nothing drains any more
		connection.waits()
		c.waits()
		a.ready()
		c.want(nil)
		request.want(nil)
		connection.want(nil)
		r.is("running", 2, "2 running")
		if n := r.Status().Recycles; n != 1 {
			t.Errorf("%d recycles", n)
		}
	})
}

// A start that does not succeed goes the way of all of them.
func TestReplace_Unready(t *testing.T) {
	bubble(t, alone(), func(t *testing.T, r *rig) {
		close(r.up().finish)
		cfg := alone()
		cfg.Program.Args = []string{"-v"}
		c := r.reconfigure(cfg)
		request := r.acquire()
		a := r.next()
		if a.spec.Program.Args == nil {
			t.Error("the start is not by the new settings")
		}
		a.fail()
		c.want(errNoWay)
		request.want(errNoWay)
		time.Sleep(restartDelay)
		a = r.next()
		if a.spec.Program.Args != nil {
			t.Error("the restart is by refused settings")
		}
		a.ready()
		r.is("running", 3, "3 running")
	})
}

// Stops, crashes and starts by hand while the one before is still leaving.
func TestReplace_Meanwhile(t *testing.T) {
	bubble(t, alone(), func(t *testing.T, r *rig) {
		w := r.up()
		recycled := r.recycle("test")
		stopped := r.stop()
		recycled.want(ErrStopped)
		stopped.waits()
		started := r.start()
		r.none()
		request := r.acquire()
		w.crash() // while it drains
		stopped.want(nil)
		r.next().ready()
		started.want(nil)
		request.want(nil)
		r.is("running", 3, "3 running")
	})
}

// A recycle that comes while one starts follows it, without overlap too.
func TestReplace_Pending(t *testing.T) {
	bubble(t, alone(), func(t *testing.T, r *rig) {
		first := r.start()
		a := r.next()
		second := r.recycle("test")
		w := a.ready()
		first.want(nil)
		r.none()
		r.is("starting", 2, "1 draining 2 starting")
		close(w.finish)
		synctest.Wait()
		r.next().ready()
		second.want(nil)
	})
}
