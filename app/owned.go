package app

import (
	"errors"

	"aerie/internal/seqpacket"
	"aerie/proto"
	"aerie/worker"
)

// tellOwned tells a host that has come which connections this process has from
// those before it. What ends meanwhile is reported behind that.
func (l *link) tellOwned(c *seqpacket.Conn) error {
	l.mu.Lock()
	l.taken, l.telling, l.closed = nil, nil, nil // of the host before; from here on it is this one's
	l.mu.Unlock()
	f := proto.Frame{Type: proto.FrameOwned}
	for _, conn := range l.p.server.Conns() {
		if conn.Number() == 0 {
			continue // no host gave it: it carries what is relayed
		}
		o, err := ownedOf(conn)
		if err != nil {
			continue // it is being closed at this moment
		}
		f.Owned = append(f.Owned, o)
		if len(f.Owned) == proto.MaxOwned {
			if err := c.Send(f.Append(make([]byte, 0, proto.MaxFrame))); err != nil {
				return err
			}
			f.Owned = f.Owned[:0]
		}
	}
	f.Last = true
	return c.Send(f.Append(make([]byte, 0, proto.MaxFrame)))
}

func ownedOf(c *worker.Conn) (proto.Owned, error) {
	raw, err := rawOf(c)
	if err != nil {
		return proto.Owned{}, err
	}
	o := proto.Owned{
		Number: c.Number(), Local: worker.AddrPort(c.LocalAddr()), Remote: worker.AddrPort(c.RemoteAddr()),
	}
	var cerr error
	err = raw.Control(func(fd uintptr) { o.Cookie, cerr = cookieOf(int(fd)) })
	return o, errors.Join(err, cerr)
}
