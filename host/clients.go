package host

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"aerie/inproc"
	"aerie/worker"
)

// client is a client's connection for as long as it is open, wherever it is
// served: in the host, or in a worker process that it was handed to.
type client struct {
	inproc.Client
	local      netip.AddrPort
	remote     netip.AddrPort
	site       string   // whose limits it counts against; "" until that is known
	perAddress bool     // counted for its address, too
	pool       string   // in which it is or was: it stays with that pool for life; "" for none; guarded by the table's mu
	peeked     net.Conn // the connection while its first bytes are awaited; guarded by the table's mu
}

// clients is the table of all open connections.
type clients struct {
	mu      sync.Mutex // guards below
	last    uint64
	open    map[uint64]*client
	sites   map[string]int
	bySite  map[siteAddr]int
	mixed   map[netip.Addr]time.Time // peers that asked for a site of another pool on a handed-over connection
	closing bool
}

type siteAddr struct {
	site string
	addr netip.Addr
}

func newClients() *clients {
	return &clients{open: map[uint64]*client{}, sites: map[string]int{}, bySite: map[siteAddr]int{}, mixed: map[netip.Addr]time.Time{}}
}

// errTooMany is why a connection is turned away.
var errTooMany = errors.New("too many connections")

// admit enters a connection that was just accepted; max 0 is no limit.
func (t *clients) admit(conn net.Conn, max int) (*client, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing || max > 0 && len(t.open) >= max {
		return nil, errTooMany
	}
	t.last++
	c := &client{local: worker.AddrPort(conn.LocalAddr()), remote: worker.AddrPort(conn.RemoteAddr())}
	c.Conn, c.Number = conn, t.last
	t.open[c.Number] = c
	return c, nil
}

// count counts the connection against its first site's limits; 0 is no limit.
func (t *clients) count(c *client, site string, max, maxPerAddress int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.site != "" {
		return nil
	}
	key := siteAddr{site, c.remote.Addr()}
	if max > 0 && t.sites[site] >= max || maxPerAddress > 0 && t.bySite[key] >= maxPerAddress {
		return errTooMany
	}
	c.site, c.perAddress = site, maxPerAddress > 0
	t.sites[site]++
	if c.perAddress {
		t.bySite[key]++
	}
	return nil
}

// end forgets a connection. It may be called more than once.
func (t *clients) end(number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.open[number]
	if c == nil {
		return
	}
	delete(t.open, number)
	if c.site == "" {
		return
	}
	decrement(t.sites, c.site)
	if c.perAddress {
		decrement(t.bySite, siteAddr{c.site, c.remote.Addr()})
	}
}

func decrement[K comparable](m map[K]int, key K) {
	if m[key]--; m[key] <= 0 {
		delete(m, key)
	}
}

// assign notes that the connection is in the pool from now on.
func (t *clients) assign(c *client, pool string) {
	t.mu.Lock()
	c.pool = pool
	t.mu.Unlock()
}

// poolOf is the name of the pool that the connection is or was in.
func (t *clients) poolOf(c *client) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return c.pool
}

func (t *clients) find(number uint64) *client {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[number]
}

// figures are the open connections, in all and by site.
func (t *clients) figures() (int, map[string]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sites := make(map[string]int, len(t.sites))
	for s, n := range t.sites {
		sites[s] = n
	}
	return len(t.open), sites
}

// The memory of peers that mix sites on one connection, which only a proxy in
// front does. What it forgets costs one relayed request.
const (
	maxMixed   = 4096
	mixedSpell = 10 * time.Minute
)

// noteMixed remembers that the peer at addr mixes sites.
func (t *clients) noteMixed(addr netip.Addr, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mixed) >= maxMixed {
		clear(t.mixed)
	}
	t.mixed[addr] = now
}

// mixes reports whether the peer at addr has mixed sites lately.
func (t *clients) mixes(addr netip.Addr, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.mixed[addr]
	return ok && now.Sub(at) < mixedSpell
}

// close admits no more, and gives up those that have not said anything yet.
func (t *clients) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closing = true
	for _, c := range t.open {
		if c.peeked != nil {
			_ = c.peeked.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
		}
	}
}

// awaiting notes that the client's first bytes are awaited on conn, within limit;
// decided takes it back. The deadline is set here so that close cannot miss it.
func (t *clients) awaiting(c *client, limit time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing {
		return net.ErrClosed
	}
	c.peeked = c.Conn
	return c.Conn.SetReadDeadline(time.Now().Add(limit))
}

func (t *clients) decided(c *client) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.peeked = nil
	return c.Conn.SetReadDeadline(time.Time{})
}

// accepted decides who serves a connection. It waits for the client's first
// bytes, so each connection has a goroutine of its own until that is known.
func (h *Host) accepted(conn net.Conn) {
	r := h.routes.Load()
	c, err := h.clients.admit(conn, r.cfg.Host.Limits.MaxConnections)
	if err != nil {
		h.turnAway(conn)
		return
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		h.serveHere(c)
		return
	}
	if err := h.clients.awaiting(c, r.cfg.Host.Limits.HeaderTimeout); err != nil {
		h.drop(c)
		return
	}
	name, begun, err := peek(tcp)
	err = errors.Join(err, h.clients.decided(c))
	switch {
	case err == nil:
		h.place(c, r, name)
	case errors.Is(err, errPeekUnusual):
		h.serveHere(c)
	case timedOut(err) && begun:
		lastWord(tcp, worker.HeadTimeoutAnswer)
		h.clients.end(c.Number)
	default:
		h.drop(c) // nothing came, or the client is gone: nobody waits for an answer
	}
}

// place gives the connection to the pool that its site lives in, or serves it
// here.
func (h *Host) place(c *client, r *routes, name string) {
	site := r.table.Site(c.local, name)
	if site == nil {
		h.serveHere(c)
		return
	}
	if err := h.clients.count(c, site.Name, site.Limits.MaxConnections, site.Limits.MaxConnectionsPerAddress); err != nil {
		h.log.Warn("connection turned away", "site", site.Name, "client", c.remote, "reason", err)
		h.turnAway(c.Conn)
		h.clients.end(c.Number)
		return
	}
	p := r.handover[site.Name]
	if p == nil || r.trusts(c.remote.Addr()) || h.clients.mixes(c.remote.Addr(), time.Now()) {
		h.serveHere(c)
		return
	}
	h.handOver(c, p)
}

// handOver gives the connection to the pool's worker process, or serves it here
// if the pool's generation is of the other kind or takes no connection now:
// then its requests are relayed, which differs in speed only.
func (h *Host) handOver(c *client, p *pool) {
	for tried := 0; ; { // a generation that is draining by now has a successor
		lease, err := p.Acquire(h.life)
		if err != nil {
			break // and the request is told why
		}
		w, ok := lease.Worker().(*inproc.Worker)
		ok = ok && lease.Generation() != tried
		tried = lease.Generation()
		if ok {
			h.clients.assign(c, p.name)
			err = w.HandOver(&c.Client)
		}
		lease.Release()
		switch {
		case !ok:
			h.serveHere(c)
			return
		case err == nil:
			return
		}
	}
	h.serveHere(c)
}

// serveHere serves the connection in the host's own HTTP server.
func (h *Host) serveHere(c *client) {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true}) // fails only on a closed connection, and the server sees that
	}
	conn, prefix := c.Conn, c.Prefix
	c.Prefix = nil
	err := h.server.ServeConn(conn, worker.Source{Number: c.Number, Prefix: prefix, Resumed: c.Resumed})
	if err != nil && !errors.Is(err, worker.ErrServerClosed) {
		h.log.Warn("serve connection", "client", c.remote, "error", err)
	}
	if err != nil {
		h.clients.end(c.Number)
	}
}

// Returned implements inproc.Owner: the connection goes on to the generation
// that serves now.
func (h *Host) Returned(ic *inproc.Client) {
	c := h.clients.find(ic.Number)
	if c == nil {
		_ = ic.Conn.Close() // nobody knows it any more
		return
	}
	h.tasks.Go(func() {
		p := h.pools.find(h.clients.poolOf(c))
		if h.life.Err() != nil && c.Resumed {
			h.drop(c) // the host is ending and the connection is between two requests
			return
		}
		if p == nil || c.Refused {
			h.serveHere(c)
			return
		}
		h.handOver(c, p)
	})
}

// Ended implements inproc.Owner.
func (h *Host) Ended(ic *inproc.Client) { h.clients.end(ic.Number) }

// placed counts a connection of the host's own server against the limits of the
// site of its first request, if a peek could not tell that.
func (h *Host) placed(wc *worker.Conn, site *worker.Site) error {
	c := h.clients.find(wc.Number())
	if c == nil {
		return nil
	}
	return h.clients.count(c, site.Name, site.Limits.MaxConnections, site.Limits.MaxConnectionsPerAddress)
}

// drop closes the connection.
func (h *Host) drop(c *client) {
	_ = c.Conn.Close() // nothing more is to be said on it
	h.clients.end(c.Number)
}

const turnedAwayAnswer = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 38\r\n\r\n" +
	"503: too many connections. Try later.\n"

// turnAway answers 503 and closes.
func (h *Host) turnAway(conn net.Conn) { lastWord(conn, turnedAwayAnswer) }

// lastWord answers and closes. A close with unread bytes would reset the
// connection, and the answer could be lost with it; but nothing is waited for.
func lastWord(conn net.Conn, answer string) {
	_ = conn.SetWriteDeadline(time.Now().Add(answerGrace)) // a courtesy, as is the answer
	_, _ = io.WriteString(conn, answer)
	if tcp, ok := conn.(*net.TCPConn); ok {
		discard(tcp)
	}
	_ = conn.Close() // see above
}
