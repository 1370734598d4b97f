package apppool

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
)

// table is every cell of state x event as it should be: next state, action, and
// how the caller fares, "ok", "waits" or "error". It is written a second time on
// purpose.
const table = `
            start                  stop            recycle                  reconfigure              replace                 ready              unready              crashed             retry            exhausted    demand                  inherit         idle
stopped     starting/begin/waits   stopped/halt/ok starting/begin/waits     stopped/adopt/ok         -                       -                  -                    -                   -                -            stopped/answer/         running/serve/  -
starting    starting/join/waits    stopped/halt/ok starting/pend/waits      starting/pend/waits      -                       running/serve/ok   backoff/delay/error  -                   -                -            starting/answer/        -               -
backoff     starting/begin/waits   stopped/halt/ok starting/begin/waits     starting/begin/waits     -                       -                  -                    -                   starting/begin/  failed/fail/ backoff/answer/         -               -
running     running/answer/ok      stopped/halt/ok overlapping/begin/waits  overlapping/begin/waits  starting/replace/waits  -                  -                    backoff/revive/     -                -            running/answer/         -               idle/rest/
overlapping overlapping/answer/ok  stopped/halt/ok overlapping/pend/waits   overlapping/pend/waits   -                       running/serve/ok   running/keep/error   starting/bury/waits -                -            overlapping/answer/     -               -
failed      starting/anew/waits    stopped/halt/ok starting/anew/waits      starting/anew/waits      -                       -                  -                    -                   starting/chance/ -            failed/answer/          -               -
idle        starting/begin/waits   stopped/halt/ok starting/begin/waits     idle/adopt/ok            -                       -                  -                    -                   -                -            starting/begin/         running/serve/  -
`

var (
	stateNames  = []string{"stopped", "starting", "backoff", "running", "overlapping", "failed", "idle"}
	actionNames = []string{"-", "answer", "begin", "replace", "join", "pend", "adopt", "serve", "keep", "delay", "revive", "bury", "halt", "fail", "anew", "chance", "rest"}
)

// TestTable walks every cell with a real pool.
func TestTable(t *testing.T) {
	rows := strings.Split(strings.TrimSpace(table), "\n")
	if len(rows) != int(states)+1 {
		t.Fatalf("the table has %d states, want %d", len(rows)-1, states)
	}
	for s := stopped; s < states; s++ {
		cells := strings.Fields(rows[s+1])
		if len(cells) != int(events)+1 || cells[0] != stateNames[s] {
			t.Fatalf("row of %s has %d cells, want %d: %q", stateNames[s], len(cells)-1, events, cells)
		}
		for e := evStart; e < events; e++ {
			cell := strings.Split(cells[e+1], "/")
			t.Run(stateNames[s]+"/"+e.String(), func(t *testing.T) {
				step := s.on(e)
				if len(cell) == 1 {
					if step != (step0(s)) {
						t.Fatalf("on(%v) = %v, want that it cannot happen", e, step)
					}
					return
				}
				if got := stateNames[step.next] + "/" + actionNames[step.do]; got != cell[0]+"/"+cell[1] {
					t.Fatalf("on(%v) = %s, want %s", e, got, cell)
				}
				synctest.Test(t, func(t *testing.T) { walk(t, s, e, cell[0], cell[2]) })
			})
		}
	}
}

func step0(s state) step { return step{s, never} }

// walk brings a pool into state s, lets e happen, and looks what became of it.
func walk(t *testing.T, s state, e event, next, fate string) {
	if e == evInherit {
		inherited(t, s).is(next, 4, "4 running")
		return
	}
	r := newRig(t, with(func(c *config.Pool) {
		if s == failed || e == evExhausted {
			c.Failure = config.Failure{MaxCrashes: 1, Window: time.Hour, SecondChance: restartDelay}
		}
		c.Recycle.Overlap = e != evReplace
		if s == idle || e == evIdle {
			c.IdleTimeout = idleTimeout
		}
	}))
	var w *fakeWorker
	var c *call    // who waits for the start in flight
	var a *attempt // the start in flight
	switch s {
	case starting:
		c = r.start()
		a = r.next()
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
		a = r.next()
	}
	if got := r.snapshot.Load().state; got != s && e != evExhausted { // which has moved it on
		t.Fatalf("set up state %s, want %s", stateNames[got], stateNames[s])
	}
	switch e {
	case evStart:
		c = r.start()
	case evStop:
		if w != nil {
			close(w.finish)
		}
		c = r.stop()
	case evRecycle, evReplace: // as the settings are
		c = r.recycle("test")
	case evReconfigure:
		c = r.reconfigure(with(func(p *config.Pool) { p.Program.Args = []string{"-v"} }))
	case evDemand:
		r.demands <- struct{}{} // as a request says that has looked before
		synctest.Wait()
	case evIdle:
		time.Sleep(2 * idleTimeout)
		synctest.Wait()
	case evExhausted: // the failure was the last one that may be
	case evReady:
		a.ready()
	case evUnready:
		a.fail()
	case evCrashed:
		w.crash()
		synctest.Wait()
	case evRetry:
		time.Sleep(restartDelay)
		synctest.Wait()
	}
	if got := stateNames[r.snapshot.Load().state]; got != next {
		t.Errorf("next state is %s, want %s", got, next)
	}
	switch fate {
	case "ok":
		c.want(nil)
	case "waits":
		c.waits()
	case "error":
		c.want(errNoWay)
	}
}

// inherited is a pool that would begin in state s, stopped or idle, and has adopted
// generation 4.
func inherited(t *testing.T, s state) *rig {
	cfg := with(func(c *config.Pool) {
		if s == idle {
			c.Start = config.StartOnDemand
		}
	})
	return newRigOf(t, cfg, s == idle, Adopted{Worker: newFakeWorker(4), Generation: 4, Hosting: config.InProcess})
}

// TestTable_Impossible checks that what cannot happen is told and moves nothing.
func TestTable_Impossible(t *testing.T) {
	for s := stopped; s < states; s++ {
		for e := evStart; e < events; e++ {
			if s.on(e).do != never {
				continue
			}
			p := New(Options{Config: testConfig()})
			told := false
			p.impossible = func(gs state, ge event) { told = gs == s && ge == e }
			p.machine.state = s
			p.machine.apply(e, order{}, nil)
			if !told || p.machine.state != s {
				t.Errorf("%s x %v: told %v, state %s", stateNames[s], e, told, stateNames[p.machine.state])
			}
			if err := p.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
}
