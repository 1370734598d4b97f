package apppool

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"aerie/config"
)

// crashes are the times of a pool's failures, the oldest first: those that still
// count, and no more than max_crashes.
type crashes []time.Time

// add notes a failure at now and says whether it is one too many. The window
// slides: failures that are as old as it is count no more.
func (c crashes) add(now time.Time, f config.Failure) (crashes, bool) {
	if f.MaxCrashes <= 0 {
		return nil, false
	}
	kept := append(crashes(nil), c[max(0, len(c)-f.MaxCrashes+1):]...)
	for len(kept) > 0 && now.Sub(kept[0]) >= f.Window {
		kept = kept[1:]
	}
	kept = append(kept, now)
	return kept, len(kept) == f.MaxCrashes
}

// secondChance are the failures of a pool that is given a second chance at now:
// so many that the next one within the window is one too many.
func secondChance(now time.Time, f config.Failure) crashes {
	c := make(crashes, max(0, f.MaxCrashes-1))
	for i := range c {
		c[i] = now
	}
	return c
}

// failed counts a failure. What follows from it is judge's business.
func (m *machine) failed() {
	m.crashes, m.tooMany = m.crashes.add(time.Now(), m.settings.Failure)
}

// judge gives the pool up if it has failed too often. It does not while another
// start is under way, or is asked for and follows at once: if that succeeds, the
// pool works.
func (m *machine) judge() {
	if m.tooMany && m.state == backoff && len(m.pending.callers) == 0 {
		m.apply(evExhausted, order{}, nil)
	}
}

// fail gives the pool up: requests are answered at once from now on.
func (m *machine) fail() note {
	m.disarm()
	m.failures, m.tooMany = 0, false
	f := m.settings.Failure
	reason := fmt.Sprintf("max_crashes (%d) within %s; the last: %s", f.MaxCrashes, f.Window, m.status.LastReason)
	m.status.LastReason = reason
	m.open(&gate{err: fmt.Errorf("pool %q: %w: %s", m.p.name, ErrFailed, reason)})
	n := note{level: slog.LevelError, reason: reason}
	if f.SecondChance > 0 {
		m.wait(f.SecondChance)
		n.attrs = []any{"second_chance_in", f.SecondChance}
	}
	if hook := m.p.onFailed; hook != nil && len(f.OnFailed) > 0 {
		m.p.tasks.Go(func() { hook(m.p.hooks, f.OnFailed, reason) })
	}
	return n
}

// Failed is told that a pool was given up, and runs its on_failed command. It is
// called on a goroutine of its own, which Close waits for, and returns soon
// after ctx has ended, as it does when the pool is closed.
type Failed func(ctx context.Context, command []string, reason string)
