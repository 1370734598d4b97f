package apppool

import (
	"context"
	"fmt"
	"time"

	"aerie/config"
)

const (
	lookEvery   = time.Second     // at a worker whose figures count
	lookAtLeast = time.Minute     // at the clock: it may be set
	sampleLimit = 5 * time.Second // for one worker's figures
)

// watch looks after the generation that serves, by the settings that are in
// force. It has a goroutine of its own, which ends with the generation's service
// or with the settings, and of which there is none if they ask for nothing.
type watch struct {
	gen     *generation
	cfg     *config.Pool
	checked chan error // what came of each check of the worker's health
	facts   facts
	cpu     meter
	idle    idling
	hang    hanging
	blind   bool // it was said that figures cannot be had
	end     context.CancelFunc
}

// finding is what a watch tells the pool's goroutine.
type finding struct {
	watch  *watch
	event  event // evRecycle or evIdle
	reason string
}

// watches says whether the settings ask for a watch at all.
func watches(c *config.Pool, hosting config.Hosting) bool {
	r := &c.Recycle
	return measures(c) || r.Interval > 0 || len(r.Schedule) > 0 || c.IdleTimeout > 0 || checks(c, hosting)
}

// measures says whether the worker's figures count from one second to the next.
func measures(c *config.Pool) bool {
	r := &c.Recycle
	return r.Requests > 0 || r.Memory > 0 || r.PrivateMemory > 0 || r.CPU > 0 || c.Health.HangTimeout > 0
}

// watch has the generation that serves looked after by the settings in force.
func (m *machine) watch() {
	g := m.current
	g.unwatch()
	hosting := g.pool.Program.Hosting
	if !watches(m.settings, hosting) {
		return
	}
	ctx, end := context.WithCancel(m.p.life)
	w := &watch{gen: g, cfg: m.settings, checked: make(chan error), end: end}
	w.facts = facts{since: g.readyAt, earliest: g.readyAt.Add(m.settings.Recycle.Spacing), spread: m.p.spread()}
	w.idle.since = time.Now()
	g.watch = w
	m.p.tasks.Go(func() { w.run(ctx, m.p) })
	if checks(m.settings, hosting) {
		m.p.tasks.Go(func() { w.askOften(ctx) })
	}
}

// unwatch ends the generation's watch, if it has one.
func (g *generation) unwatch() {
	if g.watch != nil {
		g.watch.end()
		g.watch = nil
	}
}

// onFinding is told what a watch has found. If it comes at a bad time, as when a
// recycle is under way, the next one will come.
func (m *machine) onFinding(f finding) {
	switch {
	case m.state != running || m.current.watch != f.watch:
	case f.event == evIdle && m.current.leases.count() > 0: // somebody has just come
	default:
		m.apply(f.event, order{event: f.event, reason: f.reason, fresh: true}, nil)
	}
}

// run looks until ctx ends.
func (w *watch) run(ctx context.Context, p *Pool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var quiet time.Duration
		looked := false
		select {
		case <-timer.C:
			if looked = true; w.every() < lookAtLeast {
				quiet = w.measure(ctx, p)
			}
		case err := <-w.checked:
			w.healthIs(err)
		case <-ctx.Done():
			return
		}
		f, in := w.decide(quiet, time.Now())
		if f.watch != nil {
			select {
			case p.findings <- f:
			case <-ctx.Done():
				return
			}
		}
		if looked { // a check puts no look off
			timer.Reset(in)
		}
	}
}

// every is how often to look.
func (w *watch) every() time.Duration {
	every := lookAtLeast
	if measures(w.cfg) {
		every = lookEvery
	}
	if w.cfg.IdleTimeout > 0 {
		every = min(every, idleEvery(w.cfg.IdleTimeout))
	}
	return every
}

// decide makes of what is known what is to be done, if anything, and when to look
// again. quiet is for how long nobody has asked the worker for anything, as far as
// this look knows.
func (w *watch) decide(quiet time.Duration, now time.Time) (finding, time.Duration) {
	every := w.every()
	d := replaceDue(w.cfg, w.facts, now)
	switch limit := w.cfg.IdleTimeout; {
	case limit > 0 && quiet >= limit:
		return finding{w, evIdle, fmt.Sprintf("idle: no request for %s, idle_timeout %s", quiet.Round(time.Millisecond), limit)}, every
	case d.reason != "":
		w.facts.earliest = now.Add(w.cfg.Recycle.Spacing)
		return finding{w, evRecycle, d.reason}, min(every, w.cfg.Recycle.Spacing)
	}
	return finding{}, min(every, d.in)
}

// healthIs notes what came of a check.
func (w *watch) healthIs(err error) {
	if w.facts.problem = err; err == nil {
		w.facts.failed = 0
		return
	}
	w.facts.failed++
}

// measure gets the worker's figures and returns for how long nobody has asked it
// for anything. Figures that cannot be had stay what they were, and then it may be
// busy. A check of its health is no such request.
func (w *watch) measure(ctx context.Context, p *Pool) time.Duration {
	g := w.gen
	limited, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	asked := g.checking.Load()
	err := g.worker.Sample(limited)
	if err != nil && ctx.Err() == nil && !g.ended() && !w.blind {
		w.blind = true
		p.log.Warn("figures of worker cannot be had: what depends on them does not happen", "generation", g.number, "error", err)
	}
	now, s, checks := time.Now(), g.worker.Stats(), uint64(g.checks.Load())
	asked = asked || g.checking.Load()
	w.facts.requests, w.facts.rss, w.facts.private = s.Requests-min(s.Requests, checks), s.RSS, s.Private
	w.cpu.note(now, s.CPU, w.cfg.Recycle.CPUWindow)
	w.facts.cpu = w.cpu.share
	if err == nil {
		limit := w.cfg.MaxConcurrent
		w.facts.active, w.facts.oldest = s.Active, s.Oldest
		w.facts.hung = w.hang.note(now, limit > 0 && s.Active >= limit, s.Finished)
	}
	busy := err != nil || s.Active+s.Queued+s.Streams+g.leases.count() > 0
	if asked {
		return 0 // it may be the check that runs: another look follows
	}
	return w.idle.note(now, busy, w.facts.requests)
}
