package apppool

import (
	"context"
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
	end   context.CancelFunc
}

// finding is what a watch tells the pool's goroutine.
type finding struct {
	watch  *watch
	reason string // why the generation is to be replaced
}

// watches says whether the settings ask for a watch at all.
func watches(c *config.Pool) bool {
	r := &c.Recycle
	return measures(r) || r.Interval > 0 || len(r.Schedule) > 0
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
	if m.state == running && m.current.watch == f.watch {
		m.apply(evRecycle, order{event: evRecycle, reason: f.reason, fresh: true}, nil)
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
		wait := lookAtLeast
		if measures(&w.cfg.Recycle) {
			wait = lookEvery
			w.measure(ctx, p)
		}
		now := time.Now()
		d := recycleDue(&w.cfg.Recycle, w.facts, now)
		if d.reason != "" {
			w.facts.earliest = now.Add(w.cfg.Recycle.Spacing)
			d.in = w.cfg.Recycle.Spacing
			select {
			case p.findings <- finding{w, d.reason}:
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(min(wait, d.in))
	}
}

// measure gets the worker's figures. Those that cannot be had stay what they were.
func (w *watch) measure(ctx context.Context, p *Pool) {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	if err := w.gen.worker.Sample(ctx); err != nil && ctx.Err() == nil {
		p.log.Debug("figures of worker", "generation", w.gen.number, "error", err)
	}
	s := w.gen.worker.Stats()
	w.facts.requests, w.facts.rss, w.facts.private = s.Requests, s.RSS, s.Private
	w.cpu.note(time.Now(), s.CPU, w.cfg.Recycle.CPUWindow)
	w.facts.cpu = w.cpu.share
}
