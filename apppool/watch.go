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
	gen   *generation
	cfg   *config.Pool
	facts facts
	cpu   meter
	idle  idling
	end   context.CancelFunc
}

// finding is what a watch tells the pool's goroutine.
type finding struct {
	watch  *watch
	event  event // evRecycle or evIdle
	reason string
}

// watches says whether the settings ask for a watch at all.
func watches(c *config.Pool) bool {
	r := &c.Recycle
	return measures(r) || r.Interval > 0 || len(r.Schedule) > 0 || c.IdleTimeout > 0
}

// measures says whether the worker's figures count.
func measures(r *config.Recycle) bool {
	return r.Requests > 0 || r.Memory > 0 || r.PrivateMemory > 0 || r.CPU > 0
}

// watch has the generation that serves looked after by the settings in force.
func (m *machine) watch() {
	g := m.current
	g.unwatch()
	if !watches(m.settings) {
		return
	}
	ctx, end := context.WithCancel(m.p.life)
	w := &watch{gen: g, cfg: m.settings, end: end}
	w.facts = facts{since: g.readyAt, earliest: g.readyAt.Add(m.settings.Recycle.Spacing), spread: m.p.spread()}
	w.idle.since = time.Now()
	g.watch = w
	m.p.tasks.Go(func() { w.run(ctx, m.p) })
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
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		f, in := w.look(ctx, p)
		if f.watch != nil {
			select {
			case p.findings <- f:
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(in)
	}
}

// look looks once. It returns what it has found, if anything, and when to look
// again.
func (w *watch) look(ctx context.Context, p *Pool) (finding, time.Duration) {
	in := lookAtLeast
	measured, limit := measures(&w.cfg.Recycle), w.cfg.IdleTimeout
	if measured {
		in = lookEvery
	}
	if limit > 0 {
		in = min(in, idleEvery(limit))
	}
	var quiet time.Duration
	if measured || limit > 0 {
		quiet = w.measure(ctx, p)
	}
	now := time.Now()
	d := recycleDue(&w.cfg.Recycle, w.facts, now)
	switch {
	case limit > 0 && quiet >= limit:
		return finding{w, evIdle, fmt.Sprintf("idle: no request for %s, idle_timeout %s", quiet.Round(time.Millisecond), limit)}, in
	case d.reason != "":
		w.facts.earliest = now.Add(w.cfg.Recycle.Spacing)
		return finding{w, evRecycle, d.reason}, min(in, w.cfg.Recycle.Spacing)
	}
	return finding{}, min(in, d.in)
}

// measure gets the worker's figures and returns for how long nobody has asked it
// for anything. Figures that cannot be had stay what they were, and then it may be
// busy.
func (w *watch) measure(ctx context.Context, p *Pool) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	err := w.gen.worker.Sample(ctx)
	if err != nil && ctx.Err() == nil {
		p.log.Debug("figures of worker", "generation", w.gen.number, "error", err)
	}
	now, s := time.Now(), w.gen.worker.Stats()
	w.facts.requests, w.facts.rss, w.facts.private = s.Requests, s.RSS, s.Private
	w.cpu.note(now, s.CPU, w.cfg.Recycle.CPUWindow)
	w.facts.cpu = w.cpu.share
	busy := err != nil || s.Active+s.Queued+s.Streams+w.gen.leases.count() > 0
	return w.idle.note(now, busy, s.Requests)
}
