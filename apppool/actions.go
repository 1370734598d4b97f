package apppool

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// begin starts the next generation.
func (m *machine) begin(o order) note {
	m.disarm()
	m.number++
	g := &generation{
		number:  m.number,
		pool:    m.settings,
		reason:  o.reason,
		callers: o.callers,
		began:   time.Now(),
		leases:  leases{none: make(chan struct{})},
		gone:    make(chan struct{}),
	}
	if o.settings != nil {
		g.pool, g.changes = o.settings, true
	}
	var ctx context.Context
	ctx, g.abandon = context.WithCancelCause(m.p.life)
	m.next = g
	var before []*generation
	if !overlaps(m.settings, o.settings) {
		before = slices.Clone(m.leaving)
	}
	if m.current == nil {
		m.open(&gate{})
	}
	m.p.tasks.Go(func() { m.p.start(ctx, g, before) })
	reason := o.reason
	if reason == "" {
		reason = "the back-off is over"
	}
	return note{reason: reason, attrs: []any{"generation", g.number, "hosting", g.pool.Program.Hosting}}
}

// replace starts the next generation in the place of the current one, which
// drains and ends first.
func (m *machine) replace(o order) note {
	old := m.current
	m.current = nil
	m.retire(old)
	n := m.begin(o)
	m.next.replaces = old.number
	n.attrs = append(n.attrs, "replaces", old.number, "overlap", false)
	return n
}

// rest drains the current generation, which nobody asks for anything.
func (m *machine) rest(o order) note {
	g := m.current
	m.current = nil
	m.status.LastReason, m.status.LastOutput = o.reason, nil
	m.open(&gate{asleep: true})
	n := note{reason: o.reason, attrs: []any{"generation", g.number, "served", time.Since(g.readyAt)}}
	m.retire(g)
	return n
}

// pend makes o part of the recycle that follows the start in flight.
func (m *machine) pend(o order) {
	m.pending.reason = joinReasons(m.pending.reason, o.reason)
	m.pending.fresh = m.pending.fresh || o.fresh
	m.pending.callers = append(m.pending.callers, o.callers...)
	if o.settings != nil {
		m.pending.settings = o.settings
	}
}

// adopt takes over the settings of o, with no new generation.
func (m *machine) adopt(o order) {
	m.settings = o.settings
	g := *m.p.gate.Load()
	m.open(&g)
	if m.current != nil {
		m.watch()
	}
	m.answer(o.callers, nil)
}

// serve makes the next generation the current one.
func (m *machine) serve() note {
	g, old := m.next, m.current
	m.current, m.next = g, nil
	if g.changes {
		m.settings = g.pool
	}
	n := note{reason: "ready", attrs: []any{"generation", g.number, "start_took", g.readyAt.Sub(g.began)}}
	if g.reason != "" {
		n.reason = "ready: " + g.reason
		m.status.LastReason, m.status.LastOutput = g.reason, nil
	}
	m.open(&gate{gen: g}) // before the old one refuses leases: nobody finds the door shut
	m.watch()
	if old != nil {
		g.replaces = old.number
		m.retire(old)
	}
	if g.replaces > 0 {
		m.status.Recycles++
		n.attrs = append(n.attrs, "replaces", g.replaces)
	}
	m.answer(g.callers, nil)
	return n
}

// refuse gives up the start in flight, which did not succeed.
func (m *machine) refuse(err error) note {
	g := m.next
	m.next = nil
	m.status.LastReason = fmt.Sprintf("generation %d did not start: %v", g.number, err)
	m.status.LastOutput = printed(err)
	if g.reason != "" {
		m.status.LastReason = g.reason + ": " + m.status.LastReason
	}
	m.answer(g.callers, err)
	return note{slog.LevelWarn, m.status.LastReason, []any{"generation", g.number, "start_took", time.Since(g.began)}}
}

// arm sets the back-off. The generation before had served for that long; 0 if it
// did not start, and then requests are answered with the reason meanwhile.
func (m *machine) arm(served time.Duration, n *note) {
	var wait time.Duration
	m.failures, wait = nextRestart(m.failures, served, m.settings.RestartDelay, m.settings.RestartDelayMax)
	m.wait(wait)
	n.attrs = append(n.attrs, "failures", m.failures, "retry_in", wait)
}

// wait makes evRetry happen when d is over.
func (m *machine) wait(d time.Duration) {
	m.timer = time.NewTimer(d)
	m.retry = m.timer.C
	m.status.RetryAt = time.Now().Add(d)
}

// disarm ends the wait.
func (m *machine) disarm() {
	if m.timer != nil {
		m.timer.Stop()
	}
	m.timer, m.retry, m.status.RetryAt = nil, nil, time.Time{}
}

// bury takes leave of the current generation, whose process has ended by itself,
// and returns how long it had served.
func (m *machine) bury() (note, time.Duration) {
	g := m.current
	m.current = nil
	m.open(&gate{})
	exit, served := g.worker.Exit(), time.Since(g.readyAt)
	m.status.Crashes++
	m.status.LastReason = fmt.Sprintf("generation %d crashed: %s", g.number, exit.Status)
	m.status.LastOutput = exit.Output
	g.dead = true
	m.retire(g)
	return note{slog.LevelWarn, m.status.LastReason, []any{"generation", g.number, "served", served}}, served
}

// halt stops what runs, starts and waits.
func (m *machine) halt(o order) note {
	m.disarm()
	m.failures, m.crashes = 0, nil
	m.status.LastReason, m.status.LastOutput = o.reason, nil
	m.open(&gate{err: ErrStopped})
	if g := m.next; g != nil {
		m.next = nil
		m.leaving = append(m.leaving, g)
		g.abandon(ErrStopped)
		o := order{callers: g.callers}
		if g.changes {
			o.settings = g.pool
		}
		m.abort(o)
	}
	m.abort(m.pending)
	m.pending = order{}
	n := note{reason: o.reason}
	if g := m.current; g != nil {
		m.current = nil
		n.attrs = []any{"generation", g.number, "served", time.Since(g.readyAt)}
		m.retire(g)
	}
	m.answer(o.callers, nil)
	return n
}

// abort ends an order that a stop has overtaken. Its settings hold all the same,
// as they would if they had come after the stop.
func (m *machine) abort(o order) {
	if o.settings != nil {
		m.settings = o.settings
	}
	for _, c := range o.callers {
		var err error
		if !c.settings {
			err = ErrStopped
		}
		m.answer([]caller{c}, err)
	}
}

// retire drains and stops g. If more of those that leave drain than may, the
// oldest are hurried.
func (m *machine) retire(g *generation) {
	if !slices.Contains(m.leaving, g) { // as a cancelled start is
		m.leaving = append(m.leaving, g)
	}
	g.unwatch()
	g.leases.close()
	var drain, stop context.Context
	drain, g.cut = context.WithCancelCause(m.p.life)
	stop, g.kill = context.WithCancelCause(m.p.life)
	limits := m.settings
	m.p.tasks.Go(func() { m.p.depart(drain, stop, g, limits) })

	over := -limits.MaxDraining
	for _, g := range m.leaving {
		if g.drains() {
			over++
		}
	}
	for _, g := range m.leaving {
		if g.drains() && over > 0 {
			g.hurry(errTooManyDraining)
			over--
		}
	}
}
