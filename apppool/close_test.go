package apppool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
)

func TestClose_EveryState(t *testing.T) {
	for s := stopped; s < states; s++ {
		t.Run(stateNames[s], func(t *testing.T) {
			cfg := testConfig()
			switch s {
			case failed:
				cfg.Failure = config.Failure{MaxCrashes: 1, Window: time.Hour, SecondChance: time.Hour}
			case idle:
				cfg.IdleTimeout = idleTimeout
			}
			bubble(t, cfg, func(t *testing.T, r *rig) {
				var w *fakeWorker
				var c *call
				switch s {
				case starting:
					c = r.start()
					r.next()
				case backoff, failed: // as the settings are
					r.start()
					r.next().fail()
				case running:
					w = r.up()
				case idle:
					close(r.up().finish)
					time.Sleep(2 * idleTimeout)
				case overlapping:
					w = r.up()
					c = r.recycle("test")
					r.next()
				}
				if got := r.snapshot.Load().state; got != s {
					t.Fatalf("set up state %s, want %s", stateNames[got], stateNames[s])
				}
				end := r.call(r.Close)
				if w != nil {
					end.waits()
					r.is("stopped", r.Status().Generation, "1 draining")
					close(w.finish)
				}
				end.want(nil)
				if c != nil {
					c.want(ErrStopped)
				}
				r.acquire().want(ErrClosed)
				for _, late := range []*call{r.start(), r.stop(), r.recycle("test"), r.reconfigure(testConfig())} {
					late.want(ErrClosed)
				}
				r.call(r.Close).want(nil)
				r.is("stopped", r.Status().Generation, "")
				time.Sleep(time.Hour)
				r.none()
			})
		})
	}
}

func TestClose_ContextEndsAndKills(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		one := r.up()
		one.stubborn = true
		held, _ := r.Current()
		defer held.Release()
		polite := r.call(r.Close)
		polite.waits()
		now := r.call(r.Close) // the second signal
		cause := errors.New("second signal")
		now.cancel(cause)
		now.want(cause)
		polite.want(nil)
		if !one.killed.Load() {
			t.Error("not killed")
		}
	})
}

func TestClose_StartIsReadyAllTheSame(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, r *rig) {
		r.start()
		a := r.next()
		a.late = true
		end := r.call(r.Close)
		end.waits()
		w := newFakeWorker(1)
		close(w.finish)
		a.result <- startResult{worker: w}
		end.want(nil)
		if !closed(w.stopping) {
			t.Error("the worker of the cancelled start lives on")
		}
	})
}

func TestClose_NeverOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Config: testConfig()})
		if _, err := p.Acquire(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("Acquire before Open: %v", err)
		}
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
		p.Open()
		if err := p.Start(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Start after Close: %v", err)
		}
	})
}
