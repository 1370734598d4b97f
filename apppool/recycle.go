package apppool

import (
	"fmt"
	"math"
	"time"

	"aerie/config"
)

// facts are what is known of the generation that serves.
type facts struct {
	since    time.Time // it became ready
	earliest time.Time // before that there is no automatic recycle
	spread   float64   // in [0, 1): how much of the jitter is its own
	requests uint64    // that came to its process
	rss      int64     // bytes
	private  int64     // bytes
	cpu      float64   // percent of one CPU over the last cpu_window; 0 while none is over

	failed  int           // checks of its health that have failed in a row
	problem error         // of the last one
	active  int           // requests that run
	oldest  time.Duration // for which the oldest of them has run
	hung    time.Duration // for which all slots were taken and no request has ended
}

// decision is what a policy makes of facts.
type decision struct {
	reason string        // why the generation is to be replaced; "" if it is not
	in     time.Duration // with reason "": after which time alone may be a reason; foreverMore if it never is
}

const foreverMore time.Duration = math.MaxInt64

// replaceDue decides whether the generation is to be replaced now.
func replaceDue(c *config.Pool, f facts, now time.Time) decision {
	if wait := f.earliest.Sub(now); wait > 0 {
		return decision{in: wait}
	}
	if reason := unhealthy(&c.Health, f); reason != "" {
		return decision{reason: reason}
	}
	return recycleDue(&c.Recycle, f, now)
}

// recycleDue decides whether the generation has served for long enough, by what
// [pools.NAME.recycle] counts.
func recycleDue(c *config.Recycle, f facts, now time.Time) decision {
	jitter := time.Duration(f.spread * float64(c.Jitter))
	d := decision{in: foreverMore}
	if c.Interval > 0 {
		if wait := f.since.Add(c.Interval + jitter).Sub(now); wait > 0 {
			d.in = wait
		} else {
			return decision{reason: fmt.Sprintf("recycle.interval: the process has served for %s, interval %s", now.Sub(f.since).Round(time.Second), c.Interval)}
		}
	}
	if next, ok := nextTime(c.Schedule, f.since); ok {
		if wait := next.Add(jitter).Sub(now); wait > 0 {
			d.in = min(d.in, wait)
		} else {
			return decision{reason: "recycle.schedule: it is " + next.Format("15:04 MST")}
		}
	}
	switch {
	case c.Requests > 0 && f.requests >= uint64(c.Requests):
		d.reason = fmt.Sprintf("recycle.requests: the process has got %d requests, limit %d", f.requests, c.Requests)
	case c.Memory > 0 && f.rss >= c.Memory:
		d.reason = fmt.Sprintf("recycle.memory: the process has %s in RAM, limit %s", mebibytes(f.rss), mebibytes(c.Memory))
	case c.PrivateMemory > 0 && f.private >= c.PrivateMemory:
		d.reason = fmt.Sprintf("recycle.private_memory: the process has %s of its own, limit %s", mebibytes(f.private), mebibytes(c.PrivateMemory))
	case c.CPU > 0 && f.cpu > float64(c.CPU):
		d.reason = fmt.Sprintf("recycle.cpu: the process has used %.0f%% of a CPU for %s, limit %d%%", f.cpu, c.CPUWindow, c.CPU)
	}
	return d
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// meter measures a share of a CPU over windows that follow one another.
type meter struct {
	at    time.Time // the current window's begin; zero before the first
	used  time.Duration
	share float64 // percent, over the window before
}

// note takes the CPU time that a process has used until now.
func (m *meter) note(now time.Time, used, window time.Duration) {
	span := now.Sub(m.at)
	switch {
	case m.at.IsZero():
	case span < window:
		return
	default:
		m.share = 100 * float64(used-m.used) / float64(span)
	}
	m.at, m.used = now, used
}
