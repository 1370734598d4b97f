package apppool

import "time"

// idling finds out for how long nobody has asked a worker for anything.
type idling struct {
	since    time.Time // nobody has since then
	requests uint64    // that had come by then
}

// note takes what is known now: busy says that a request runs or waits, requests
// is how many have come so far. It returns for how long nothing was asked.
func (i *idling) note(now time.Time, busy bool, requests uint64) time.Duration {
	if busy || requests != i.requests {
		i.since, i.requests = now, requests
	}
	return now.Sub(i.since)
}

// idleEvery is how often a worker is looked at that is stopped when it is idle
// for limit: it may be that much longer before it is.
func idleEvery(limit time.Duration) time.Duration {
	return min(max(limit/4, 10*time.Millisecond), 10*time.Second)
}
