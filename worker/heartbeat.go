package worker

import (
	"time"
)

// beat is how often a heartbeat looks at its connections, and so the precision
// of every time-out and data rate.
const beat = 250 * time.Millisecond

// watch is what the heartbeat notes of one connection between two beats.
type watch struct {
	body     time.Duration // time in which the request waited for its body
	write    time.Duration // time that the write in progress has taken
	writeSeq uint32        // which write that is
}

// Limits bound what a client can make a Server hold, and for how long. Zero
// means no limit.
type Limits struct {
	HeaderTimeout time.Duration // for a whole request head, from its first byte; 408
	IdleTimeout   time.Duration // between requests
	MaxHeadBytes  int           // of request line and header fields, roughly; the exact limits are the router's
}

// Rates are the data rates that a client must keep up with, by site.
type Rates struct {
	Body     int64         // bytes/s of a request body; 0 is no limit
	Response int64         // bytes/s of a response; 0 is no limit
	Grace    time.Duration // before they count
}

// heartbeat is the one goroutine that watches a server's connections. It
// sleeps without a timer while there is none.
func (s *Server) heartbeat() {
	defer close(s.beatDone)
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-tick.C:
		}
		now := time.Now().UnixNano()
		s.clock.Store(now)
		conns, idle := s.check(now), s.beatGates(now)
		if conns == 0 && idle {
			tick.Stop()
			select {
			case <-s.closing:
				return
			case <-s.wake:
				s.clock.Store(time.Now().UnixNano())
				tick.Reset(beat)
			}
		}
	}
}

// check looks at every connection once and returns how many there are.
func (s *Server) check(now int64) int {
	s.mu.Lock()
	conns := s.scratch[:0]
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.check(now)
	}
	clear(conns)
	s.scratch = conns
	return len(conns)
}

// check ends the connection's wait if it has taken too long.
func (c *Conn) check(now int64) {
	limits := c.server.limits.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	took := time.Duration(now - c.since)
	if c.server.finishing.Load() && c.quietLocked(took) {
		c.expireLocked(expiredIdle)
	}
	switch c.phase {
	case phaseHead:
		switch {
		case c.started:
			if limits.HeaderTimeout > 0 && took > limits.HeaderTimeout {
				c.expireLocked(expiredHead)
			}
		case c.relay:
		case c.resumed, limits.HeaderTimeout == 0:
			if limits.IdleTimeout > 0 && took > limits.IdleTimeout {
				c.expireLocked(expiredIdle)
			}
		case took > limits.HeaderTimeout:
			c.expireLocked(expiredIdle)
		}
	case phaseIdle:
		if c.started && limits.HeaderTimeout > 0 && took > limits.HeaderTimeout {
			c.expireLocked(expiredHead)
		} else if limits.IdleTimeout > 0 && took > limits.IdleTimeout && !c.relay {
			c.expireLocked(expiredIdle)
		}
	case phaseServing:
		c.listenLocked()
		c.checkRates(c.last.rates())
	}
}

// quietLocked reports whether the client has sent nothing of a request for a beat
// at least, be it to net/http or to the kernel: one that was answered just now may
// be about to send another one.
func (c *Conn) quietLocked(took time.Duration) bool {
	return !c.relay && !c.started && (c.phase == phaseIdle || c.phase == phaseHead) && took > 2*beat && !readable(c.raw)
}

// checkRates is Kestrel's rule: data that the server waits for must come, and
// data that it writes must go, at a minimum rate, after a time of grace. Only
// time in which the server really waits for the client counts.
func (c *Conn) checkRates(r Rates) {
	if r.Body > 0 && c.reading && c.body {
		c.watch.body += beat
		if t := c.watch.body - r.Grace; t > 0 && c.bodySize < int64(t.Seconds()*float64(r.Body)) {
			c.expireLocked(expiredBody)
			return
		}
	}
	size, seq := c.writing.Load()-1, c.writeSeq.Load()
	if r.Response <= 0 || size < 0 || seq != c.watch.writeSeq {
		c.watch.write, c.watch.writeSeq = 0, seq
		return
	}
	c.watch.write += beat
	if t := c.watch.write - r.Grace; t <= 0 || size >= int64(t.Seconds()*float64(r.Response)) {
		return
	}
	if writable(c.raw) {
		c.watch.write = 0 // it is not the client who is slow, but where the bytes come from
		return
	}
	c.expireLocked(expiredWrite)
}
