package outproc

import (
	"sync"
	"time"

	"aerie/apppool"
)

// load counts the requests of one worker. The zero value is not usable.
type load struct {
	streamAfter time.Duration // a request that runs for longer is a stream; 0: only upgraded ones are

	mu       sync.Mutex // guards below
	total    uint64
	running  visit // head of the ring of running requests, the oldest first
	count    int
	upgrades int           // of them
	idle     chan struct{} // closed when none runs; nil unless somebody waits
}

// visit is one request in the worker.
type visit struct {
	prev, next *visit
	since      time.Time
	upgrade    bool
}

func newLoad(streamAfter time.Duration) *load {
	l := &load{streamAfter: streamAfter}
	l.running.prev, l.running.next = &l.running, &l.running
	return l
}

func (l *load) enter(v *visit, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v.since = now
	v.prev, v.next = l.running.prev, &l.running
	v.prev.next, v.next.prev = v, v
	l.total++
	l.count++
	if v.upgrade {
		l.upgrades++
	}
}

func (l *load) leave(v *visit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v.prev.next, v.next.prev = v.next, v.prev
	l.count--
	if v.upgrade {
		l.upgrades--
	}
	if l.count == 0 && l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// none returns a channel that is closed when no request runs.
func (l *load) none() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count == 0 {
		c := make(chan struct{})
		close(c)
		return c
	}
	if l.idle == nil {
		l.idle = make(chan struct{})
	}
	return l.idle
}

// snapshot is the part of a worker's figures that is known here. It looks only at
// the streams, and at the first request that is none.
func (l *load) snapshot(now time.Time) apppool.Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := apppool.Stats{Requests: l.total, Finished: l.total - uint64(l.count), Streams: l.upgrades}
	v := l.running.next
	for ; v != &l.running; v = v.next {
		if long := l.streamAfter > 0 && now.Sub(v.since) > l.streamAfter; !long && !v.upgrade {
			st.Oldest = now.Sub(v.since)
			break
		} else if !v.upgrade {
			st.Streams++
		}
	}
	st.Active = l.count - st.Streams
	return st
}
