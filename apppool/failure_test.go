package apppool

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"aerie/config"
)

func TestCrashes(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	limit := config.Failure{MaxCrashes: 3, Window: time.Minute}
	for name, tt := range map[string]struct {
		limit config.Failure
		at    []int  // seconds
		want  string // which of them are one too many
	}{
		"one":               {limit, []int{0}, "n"},
		"three at once":     {limit, []int{0, 0, 0}, "nny"},
		"the window slides": {limit, []int{0, 50, 70, 100, 129}, "nnnyy"},
		"as old as it":      {limit, []int{0, 30, 60}, "nnn"},
		"just inside":       {limit, []int{1, 30, 60}, "nny"},
		"never":             {config.Failure{Window: time.Minute}, []int{0, 0, 0, 0}, "nnnn"},
		"the first":         {config.Failure{MaxCrashes: 1, Window: time.Minute}, []int{0, 500}, "yy"},
	} {
		var c crashes
		got := ""
		for _, s := range tt.at {
			var tooMany bool
			c, tooMany = c.add(start.Add(time.Duration(s)*time.Second), tt.limit)
			got += map[bool]string{false: "n", true: "y"}[tooMany]
			if len(c) > tt.limit.MaxCrashes {
				t.Errorf("%s: keeps %d times", name, len(c))
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
	// Fewer may be allowed from one failure to the next.
	if _, tooMany := (crashes{start, start, start}).add(start, config.Failure{MaxCrashes: 2, Window: time.Minute}); !tooMany {
		t.Error("a smaller max_crashes is not kept to")
	}
}

func TestSecondChance(t *testing.T) {
	now := time.Now()
	f := config.Failure{MaxCrashes: 3, Window: time.Minute}
	if _, tooMany := secondChance(now, f).add(now.Add(59*time.Second), f); !tooMany {
		t.Error("the next failure does not fail the pool again")
	}
	if _, tooMany := secondChance(now, f).add(now.Add(time.Minute), f); tooMany {
		t.Error("a failure much later fails the pool")
	}
}

func limited(maxCrashes int, secondChance time.Duration) *config.Pool {
	return with(func(c *config.Pool) {
		c.Failure = config.Failure{MaxCrashes: maxCrashes, Window: time.Hour, SecondChance: secondChance}
	})
}

// Failures of every kind count, and those before and after a recycle alike.
func TestFailed(t *testing.T) {
	bubble(t, limited(3, 0), func(t *testing.T, r *rig) {
		r.up().crash()
		time.Sleep(restartDelay)
		r.next().fail()
		waiting := r.acquire()
		waiting.want(errNoWay)
		time.Sleep(2 * restartDelay)
		a := r.next()
		waiting = r.acquire() // in the queue of a start
		a.fail()
		waiting.want(ErrFailed)
		r.is("failed", 3, "")
		r.acquire().want(ErrFailed)
		if _, ok := r.Current(); ok {
			t.Error("a failed pool has a generation")
		}
		s := r.Status()
		if want := "max_crashes (3) within 1h0m0s; the last: generation 3 did not start: did not start"; s.LastReason != want {
			t.Errorf("reason %q, want %q", s.LastReason, want)
		}
		if !slices.Equal(s.LastOutput, []string{"listen: no"}) || !s.RetryAt.IsZero() {
			t.Errorf("last output %q, retry at %v", s.LastOutput, s.RetryAt)
		}
		err := r.acquire().err
		if Reason(err) != "AppOffline" || !strings.Contains(err.Error(), s.LastReason) {
			t.Errorf("answer %q (%s)", err, Reason(err))
		}
		time.Sleep(24 * time.Hour)
		r.none()

		c := r.start() // forgets the failures
		r.next().fail()
		c.want(errNoWay)
		r.is("starting", 4, "")
		time.Sleep(restartDelay)
		r.next().ready()
		r.is("running", 5, "5 running")
		r.acquire().want(nil)
	})
}

// A refused recycle takes nothing from anybody, so it is no failure.
func TestFailed_RefusedRecycle(t *testing.T) {
	bubble(t, limited(1, 0), func(t *testing.T, r *rig) {
		r.up()
		c := r.recycle("test")
		r.next().fail()
		c.want(errNoWay)
		r.is("running", 1, "1 running")
	})
}

// The generation that serves crashes once too often while the next one starts:
// that one decides.
func TestFailed_WhileOverlapping(t *testing.T) {
	bubble(t, limited(1, 0), func(t *testing.T, r *rig) {
		w := r.up()
		c := r.recycle("test")
		next := r.next()
		w.crash()
		r.is("starting", 2, "2 starting")
		next.ready()
		c.want(nil)
		r.is("running", 2, "2 running")

		w = nil
		c = r.recycle("test")
		next = r.next()
		r.snapshot.Load().members[0].worker.(*fakeWorker).crash()
		next.fail()
		c.want(errNoWay)
		r.is("failed", 3, "")
	})
}

// A recycle that was asked for during the last start follows it all the same.
func TestFailed_Pending(t *testing.T) {
	bubble(t, limited(1, 0), func(t *testing.T, r *rig) {
		first := r.start()
		a := r.next()
		second := r.recycle("test")
		a.fail()
		first.want(errNoWay)
		r.next().ready()
		second.want(nil)
		r.is("running", 2, "2 running")
	})
}

func TestFailed_SecondChance(t *testing.T) {
	bubble(t, limited(2, 10*time.Minute), func(t *testing.T, r *rig) {
		r.start()
		r.next().fail()
		time.Sleep(restartDelay)
		r.next().fail()
		r.is("failed", 2, "")
		if got := time.Until(r.Status().RetryAt); got != 10*time.Minute {
			t.Errorf("second chance in %v", got)
		}
		time.Sleep(10*time.Minute - 1)
		r.none()
		time.Sleep(time.Nanosecond)
		a := r.next()
		waiting := r.acquire()
		a.fail() // one start, not two
		waiting.want(ErrFailed)
		r.is("failed", 3, "")
		time.Sleep(10 * time.Minute)
		w := r.next().ready()
		r.is("running", 4, "4 running")
		w.crash()
		r.is("failed", 4, "")
		c := r.stop()
		c.want(nil)
		time.Sleep(time.Hour)
		r.none()
		r.is("stopped", 4, "")
	})
}

// The command runs once for each time that the pool fails, and ends with it.
func TestFailed_Command(t *testing.T) {
	cfg := limited(1, time.Hour)
	cfg.Failure.OnFailed = []string{"/bin/tell", "me"}
	bubble(t, cfg, func(t *testing.T, r *rig) {
		var told []string
		ended := make(chan struct{})
		r.onFailed = func(ctx context.Context, command []string, reason string) {
			told = append(told, strings.Join(command, " ")+": "+reason)
			<-ctx.Done()
			close(ended)
		}
		r.start()
		r.next().fail()
		r.is("failed", 1, "")
		want := "/bin/tell me: max_crashes (1) within 1h0m0s; the last: start: generation 1 did not start: did not start"
		if len(told) != 1 || told[0] != want {
			t.Errorf("told %q, want %q", told, want)
		}
		if closed(ended) {
			t.Error("the command has ended")
		}
		if err := r.Close(t.Context()); err != nil || !closed(ended) {
			t.Errorf("close: %v; the command has ended: %v", err, closed(ended))
		}
	})
}
