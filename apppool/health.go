package apppool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"aerie/config"
)

// probeEvery is how often a new generation is asked whether it is healthy.
const probeEvery = 250 * time.Millisecond

var errNoAnswer = errors.New("no answer within the time-out")

// unhealthy decides whether the generation does not work, and why.
func unhealthy(c *config.Health, f facts) string {
	switch {
	case c.UnhealthyAfter > 0 && f.failed >= c.UnhealthyAfter:
		return fmt.Sprintf("unhealthy: %d checks in a row have failed: %v", f.failed, f.problem)
	case c.HangTimeout > 0 && f.hung >= c.HangTimeout && f.oldest >= c.HangTimeout:
		return fmt.Sprintf("hung: %d requests run, which is max_concurrent, and none has ended for %s; the oldest runs for %s",
			f.active, f.hung.Round(time.Second), f.oldest.Round(time.Second))
	}
	return ""
}

// hanging finds out for how long a full worker has finished nothing.
type hanging struct {
	since    time.Time // it has not since then; zero when it is not full
	finished uint64
}

// note takes what is known now and returns for how long.
func (h *hanging) note(now time.Time, full bool, finished uint64) time.Duration {
	switch {
	case !full:
		h.since = time.Time{}
		return 0
	case h.since.IsZero() || finished != h.finished:
		h.since, h.finished = now, finished
	}
	return now.Sub(h.since)
}

// checks says whether the worker of the generation is asked for its health while
// it serves.
func checks(c *config.Pool, hosting config.Hosting) bool {
	return c.Health.Interval > 0 && (c.Health.Path != "" || hosting == config.InProcess)
}

// check asks the generation's worker once. The error is why it is not healthy.
func (g *generation) check(ctx context.Context, w Worker, c *config.Health) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("%w (%s)", errNoAnswer, c.Timeout))
	defer cancel()
	g.checking.Store(true)
	defer g.checking.Store(false)
	err := w.Check(ctx, c.Path)
	if c.Path != "" && g.pool.Program.Hosting == config.InProcess {
		g.checks.Add(1)
	}
	return err
}

// askOften asks the worker at each interval and tells the watch what came of it.
func (w *watch) askOften(ctx context.Context) {
	tick := time.NewTicker(w.cfg.Health.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := w.gen.check(ctx, w.gen.worker, &w.cfg.Health)
		select {
		case w.checked <- err:
		case <-ctx.Done():
			return
		}
	}
}

// awaitHealth returns when a new worker is healthy, by the path that is to say
// so, or has ended; or when ctx ends, with why it is not, and then nothing of the
// process is left. What it has said counts for more than that the last check came
// too late to be answered.
func (p *Pool) awaitHealth(ctx context.Context, g *generation, w Worker) error {
	c := &g.pool.Health
	if c.Path == "" {
		return nil
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var problem error
	for {
		err := g.check(ctx, w, c)
		if err == nil {
			return nil
		}
		if problem == nil || ctx.Err() == nil {
			problem = err
		}
		select {
		case <-tick.C:
		case <-w.Done():
			return nil
		case <-ctx.Done():
			return p.refuseSick(ctx, g, w, problem)
		}
	}
}

// refuseSick ends a new worker that did not become healthy.
func (p *Pool) refuseSick(ctx context.Context, g *generation, w Worker, problem error) error {
	stop, cancel := context.WithTimeout(p.life, g.pool.ShutdownTimeout)
	defer cancel()
	stopErr := w.Stop(stop)
	e := &StartError{SubStatus: "500.37", Output: w.Exit().Output, Err: errors.Join(context.Cause(ctx), stopErr)}
	if g.pool.Program.Hosting == config.OutOfProcess {
		e.SubStatus = "502.5"
	}
	e.Reason = fmt.Sprintf("the start was called off: %v", context.Cause(ctx))
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Reason = fmt.Sprintf("the application was not healthy within startup_timeout (%s): %v", g.pool.StartupTimeout, problem)
	}
	return e
}
