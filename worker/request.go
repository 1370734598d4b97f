package worker

import (
	"context"
	"net/http"
	"net/netip"

	"aerie/module"
	"aerie/proto"
)

// Origin is what is known of the client's connection of a request.
type Origin struct {
	Conn     *Conn          // the connection that carries it here
	Local    netip.AddrPort // the address that the client connected to
	Remote   netip.AddrPort // the client's address
	Trusted  bool           // the peer is in trusted_proxies
	Relayed  bool           // another process has relayed the request to this one
	Hop      int            // how often it was relayed between worker and host before
	PathBase string         // path of the application that it was forwarded for, from an out-of-process host
}

type originKey struct{}

// OriginOf returns the origin of a request that a Server serves.
func OriginOf(r *http.Request) Origin {
	if o, ok := r.Context().Value(originKey{}).(*Origin); ok {
		return *o
	}
	c := ConnOf(r.Context())
	if c == nil {
		return Origin{}
	}
	return Origin{Conn: c, Local: c.local, Remote: c.remote, Trusted: c.trusted}
}

// route finds the application of a request and runs it.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	c := ConnOf(r.Context())
	t := s.table.Load()
	if t == nil {
		Fail(w, module.Problem{Status: http.StatusServiceUnavailable, Reason: "not configured yet", RetryAfter: 1})
		return
	}
	local := c.local
	if c.relay {
		relayed, origin, err := s.adopt(c, r)
		if err != nil {
			s.opts.Logger.Warn("relayed request refused", "error", err)
			w.Header().Set("Connection", "close") // whoever is there is not who this connection is for
			Fail(w, module.Problem{Status: http.StatusBadRequest, Reason: err.Error()})
			return
		}
		r, local = relayed, origin.Local
	} else {
		c.trusted = t.trusts(c.remote.Addr())
		dropUntrusted(r.Header, c.trusted)
		if s.lastAnswer(c) || len(r.TransferEncoding) > 0 && c.doubtful() {
			w.Header().Set("Connection", "close")
		}
	}
	var site *routed
	if c.last.table == t && c.last.host == r.Host && !c.relay {
		site = c.last.site
	} else {
		site = t.find(local, r.Host)
		c.mu.Lock() // the heartbeat reads it
		c.last = route{t, r.Host, site}
		c.mu.Unlock()
		if site != nil && !c.relay && s.opts.Placed != nil {
			if err := s.opts.Placed(c, &site.Site); err != nil {
				w.Header().Set("Connection", "close")
				Fail(w, module.Problem{Status: http.StatusServiceUnavailable, Reason: err.Error(), RetryAfter: 1})
				return
			}
		}
	}
	if site != nil {
		if h := site.app(r.URL.Path); h != nil {
			h.ServeHTTP(w, r)
			return
		}
	}
	t.opts.Default.ServeHTTP(w, r)
}

// adopt makes a relayed request what it was when the relaying process got it.
func (s *Server) adopt(c *Conn, r *http.Request) (*http.Request, *Origin, error) {
	if s.opts.Relayed == nil {
		return nil, nil, proto.ErrRecord
	}
	rec, err := s.opts.Relayed(c, r.Header)
	if err != nil {
		return nil, nil, err
	}
	o := &Origin{Conn: c, Local: rec.Local, Remote: rec.Remote, Trusted: rec.Trusted, Relayed: true, Hop: rec.Hop, PathBase: rec.PathBase}
	ctx := context.WithValue(r.Context(), originKey{}, o)
	if rec.Local.IsValid() {
		ctx = context.WithValue(ctx, http.LocalAddrContextKey, tcpAddr(rec.Local))
	}
	r = r.WithContext(ctx)
	if rec.Remote.IsValid() {
		r.RemoteAddr = rec.Remote.String()
	}
	return r, o, nil
}

// lastAnswer reports whether the connection ends with this answer: the server
// drains and cannot give it back.
func (s *Server) lastAnswer(c *Conn) bool {
	if !s.draining.Load() {
		return false
	}
	if s.opts.HandBack == nil || s.finishing.Load() || !handBackWorks() {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stays
}

func (t *Table) trusts(a netip.Addr) bool {
	for _, p := range t.opts.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// dropUntrusted removes the fields by which applications trust the host: our
// own from every peer, and X-Forwarded-*, Forwarded and X-Real-IP from peers
// that are not trusted proxies, in the spelling with "_" too, which many
// frameworks take for the same.
func dropUntrusted(h http.Header, trusted bool) {
	for name := range h {
		switch name[0] {
		case 'A', 'X', 'F', 'a', 'x', 'f':
			ours := spelled(name, "aerie-")
			theirs := spelled(name, "x-forwarded-") || len(name) == 9 && spelled(name, "x-real-ip") || len(name) == 9 && spelled(name, "forwarded")
			if ours || theirs && !trusted {
				delete(h, name)
			}
		}
	}
}

// spelled reports whether name begins with prefix, in any case and with "_" for
// "-". It is asked for every field of every request.
func spelled(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c == '_':
			c = '-'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// NewRecord is the record of a request that this process relays or forwards.
func NewRecord(r *http.Request, token string) proto.Record {
	o := OriginOf(r)
	rec := proto.Record{Token: token, Hop: o.Hop, Scheme: "http", Remote: o.Remote, Local: o.Local, Trusted: o.Trusted}
	if r.TLS != nil {
		rec.Scheme = "https"
	}
	return rec
}
