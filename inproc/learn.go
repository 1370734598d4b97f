package inproc

import "aerie/proto"

// learn enters connections that the worker has from a host before.
func (l *link) learn(f proto.Frame) {
	select {
	case <-l.told:
		l.logger.Error("the worker says once more which connections it has")
		return
	default:
	}
	unknown := 0
	for _, o := range f.Owned {
		var c *Client
		if l.owned != nil {
			c = l.owned(o)
		}
		if c == nil {
			unknown++
			continue
		}
		c.cookie, c.taken, c.told = o.Cookie, true, true
		l.mu.Lock()
		l.sent[c.Number] = c
		l.mu.Unlock()
	}
	if unknown > 0 {
		l.logger.Warn("the worker has connections that this host does not take back", "connections", unknown)
	}
	if f.Last {
		close(l.told)
	}
}
