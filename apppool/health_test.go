package apppool

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
)

func TestUnhealthy(t *testing.T) {
	start := time.Now()
	sick := errors.New("GET /healthz: 503")
	for name, tt := range map[string]struct {
		h      config.Health
		f      facts
		reason string
	}{
		"nothing is set":  {config.Health{}, facts{failed: 9, problem: sick, hung: time.Hour, oldest: time.Hour}, ""},
		"failed too few":  {config.Health{UnhealthyAfter: 3}, facts{failed: 2, problem: sick}, ""},
		"failed":          {config.Health{UnhealthyAfter: 3}, facts{failed: 3, problem: sick}, "unhealthy: 3 checks in a row have failed: GET /healthz: 503"},
		"failed just now": {config.Health{UnhealthyAfter: 3}, facts{failed: 3, problem: sick, earliest: start.Add(time.Minute)}, ""},
		"not for long":    {config.Health{HangTimeout: 20 * time.Second}, facts{hung: 19 * time.Second, oldest: time.Hour}, ""},
		"a short while":   {config.Health{HangTimeout: 20 * time.Second}, facts{hung: 20 * time.Second, oldest: 19 * time.Second}, ""},
		"hung": {config.Health{HangTimeout: 20 * time.Second}, facts{hung: 20 * time.Second, oldest: 25 * time.Second, active: 7},
			"hung: 7 requests run, which is max_concurrent, and none has ended for 20s; the oldest runs for 25s"},
	} {
		if got := replaceDue(&config.Pool{Health: tt.h}, tt.f, start); got.reason != tt.reason {
			t.Errorf("%s: got %q, want %q", name, got.reason, tt.reason)
		}
	}
}

func TestHanging(t *testing.T) {
	start := time.Now()
	var h hanging
	for n, step := range []struct {
		at       int // seconds
		full     bool
		finished uint64
		want     int
	}{
		{0, false, 5, 0},
		{1, true, 5, 0},
		{4, true, 5, 3},
		{5, true, 6, 0}, // one has ended, and another taken its slot
		{9, true, 6, 4},
		{10, false, 6, 0},
		{11, true, 6, 0}, // it was not full in between
		{12, true, 6, 1},
	} {
		if got := h.note(start.Add(time.Duration(step.at)*time.Second), step.full, step.finished); got != time.Duration(step.want)*time.Second {
			t.Errorf("step %d: %v, want %d s", n, got, step.want)
		}
	}
}

var errSick = errors.New("GET /healthz: 503 Service Unavailable")

func probed() *config.Pool {
	return with(func(c *config.Pool) {
		c.Health = config.Health{Path: "/healthz", Interval: 10 * time.Second, Timeout: 2 * time.Second, UnhealthyAfter: 3}
	})
}

// is makes the worker's checks fail from now on, or succeed.
func (w *fakeWorker) is(sick error) { w.uses(func(*Stats) { w.sick = sick }) }

// A worker is replaced when enough checks in a row have failed, and serves until
// the new one is ready.
func TestHealth(t *testing.T) {
	bubble(t, probed(), func(t *testing.T, r *rig) {
		w := r.up()
		time.Sleep(10*time.Minute + time.Second)
		r.none()
		w.is(errSick)
		time.Sleep(25 * time.Second) // two checks
		w.is(nil)
		time.Sleep(10 * time.Second)
		w.is(errSick)
		time.Sleep(19 * time.Second) // two more
		r.none()
		time.Sleep(10 * time.Second)
		a := r.next()
		r.is("overlapping", 1, "1 running 2 starting")
		r.acquire().want(nil)
		a.ready()
		r.is("running", 2, "1 draining 2 running")
		s := r.Status()
		if s.LastReason != "unhealthy: 3 checks in a row have failed: "+errSick.Error() || s.Crashes != 0 {
			t.Errorf("reason %q, %d crashes", s.LastReason, s.Crashes)
		}
	})
}

// One that answers late, or not at all, is not healthy.
func TestHealth_NoAnswer(t *testing.T) {
	bubble(t, probed(), func(t *testing.T, r *rig) {
		w := r.up()
		time.Sleep(time.Minute)
		w.uses(func(*Stats) { w.hangs = true })
		time.Sleep(40 * time.Second)
		r.next().ready()
		if s := r.Status(); !strings.HasSuffix(s.LastReason, "no answer within the time-out (2s)") {
			t.Errorf("reason %q", s.LastReason)
		}
	})
}

// An application that is never healthy once it serves is replaced once in a
// spacing, and no faster.
func TestHealth_NoFlapping(t *testing.T) {
	cfg := probed()
	cfg.Health.Path = "" // which does not keep it from taking over
	cfg.Recycle.Spacing = 5 * time.Minute
	bubble(t, cfg, func(t *testing.T, r *rig) {
		r.born = func(w *fakeWorker) { w.sick = errSick }
		w := r.up()
		for range 5 {
			close(w.finish)
			time.Sleep(5*time.Minute - time.Second)
			r.none()
			time.Sleep(10 * time.Second)
			w = r.next().ready()
		}
		w.is(nil)
		time.Sleep(time.Hour)
		r.none()
	})
}

// By the SDK's check a worker is asked that has one.
func TestHealth_Own(t *testing.T) {
	for _, hosting := range []config.Hosting{config.InProcess, config.OutOfProcess} {
		cfg := probed()
		cfg.Health.Path, cfg.Program.Hosting = "", hosting
		bubble(t, cfg, func(t *testing.T, r *rig) {
			w := r.up()
			time.Sleep(25 * time.Second)
			var want []string
			if hosting == config.InProcess {
				want = []string{"", ""}
			}
			synctest.Wait()
			if !slices.Equal(w.asked, want) {
				t.Errorf("%s: asked for %q, want %q", hosting, w.asked, want)
			}
		})
	}
}

// A new generation takes over when it is healthy.
func TestHealth_Startup(t *testing.T) {
	bubble(t, probed(), func(t *testing.T, r *rig) {
		var w *fakeWorker
		r.born = func(born *fakeWorker) { w, born.sick = born, errSick }
		c := r.start()
		r.next().ready()
		request := r.acquire()
		time.Sleep(15 * time.Second)
		c.waits()
		request.waits()
		r.is("starting", 1, "1 starting")
		w.is(nil)
		time.Sleep(probeEvery)
		c.want(nil)
		request.want(nil)
		r.is("running", 1, "1 running")
	})
}

// One that is not healthy in time never takes over, is ended, and says why.
func TestHealth_StartupTimeout(t *testing.T) {
	cfg := probed()
	cfg.StartupTimeout = 10 * time.Second
	bubble(t, cfg, func(t *testing.T, r *rig) {
		r.up()
		r.born = func(w *fakeWorker) { w.sick = errSick }
		c := r.recycle("test")
		w := r.next().ready()
		time.Sleep(9 * time.Second)
		w.mu.Lock()
		w.hangs = true // the last check gets no answer
		w.mu.Unlock()
		time.Sleep(time.Second)
		c.want(errStartupTimeout)
		e, ok := errors.AsType[*StartError](c.err)
		if !ok || e.SubStatus != "500.37" || e.Reason != "the application was not healthy within startup_timeout (10s): "+errSick.Error() {
			t.Errorf("%+v", e)
		}
		if !closed(w.done) || w.killed.Load() {
			t.Errorf("it has ended: %v; was killed: %v", closed(w.done), w.killed.Load())
		}
		r.is("running", 1, "1 running")
	})
}

// A stop and a crash while a new generation is being asked.
func TestHealth_StartupEnds(t *testing.T) {
	bubble(t, probed(), func(t *testing.T, r *rig) {
		r.born = func(w *fakeWorker) { w.hangs = true }
		c := r.start()
		w := r.next().ready()
		r.stop().want(nil)
		c.want(ErrStopped)
		if !closed(w.done) {
			t.Error("it lives on")
		}

		r.born = func(w *fakeWorker) { w.sick = errSick }
		c = r.start()
		w = r.next().ready()
		w.crash()
		time.Sleep(probeEvery)
		synctest.Wait()
		if e, ok := errors.AsType[*StartError](c.err); !ok || e.Exit != "exit status 2" {
			t.Errorf("%+v", c.err)
		}
	})
}

// A worker whose slots are all taken, and which finishes nothing, is replaced.
func TestHealth_Hung(t *testing.T) {
	bubble(t, with(func(c *config.Pool) { c.MaxConcurrent, c.Health.HangTimeout = 4, 20*time.Second }), func(t *testing.T, r *rig) {
		w := r.up()
		finished := uint64(0)
		for range 120 { // full, and at work
			finished++
			w.uses(func(s *Stats) { s.Active, s.Oldest, s.Finished = 4, time.Hour, finished })
			time.Sleep(time.Second)
		}
		r.none()
		time.Sleep(22 * time.Second)
		r.next().ready()
		if s := r.Status(); !strings.HasPrefix(s.LastReason, "hung: 4 requests run") {
			t.Errorf("reason %q", s.LastReason)
		}
	})
}

// Checks come more often than looks, and put none off.
func TestHealth_AndFigures(t *testing.T) {
	cfg := probed()
	cfg.Health.Interval, cfg.Recycle.Requests = 300*time.Millisecond, 100
	bubble(t, cfg, func(t *testing.T, r *rig) {
		w := r.up()
		time.Sleep(10 * time.Minute)
		w.uses(func(s *Stats) { s.Requests = 1e6 })
		time.Sleep(2 * lookEvery)
		r.next()
	})
}

// Checks are no requests: neither do they keep a pool awake nor wear it out.
func TestHealth_NoRequests(t *testing.T) {
	cfg := probed()
	cfg.IdleTimeout, cfg.Recycle.Requests = idleTimeout, 20
	bubble(t, cfg, func(t *testing.T, r *rig) {
		var w *fakeWorker
		r.born = func(born *fakeWorker) { w = born }
		r.start()
		r.next().ready()
		for range int(idleFound / time.Second) {
			time.Sleep(time.Second)
			w.uses(func(s *Stats) { s.Requests = uint64(len(w.asked)) })
		}
		r.is("idle", 1, "1 draining")
		if r.Status().LastReason[:5] != "idle:" {
			t.Errorf("reason %q", r.Status().LastReason)
		}
	})
}
