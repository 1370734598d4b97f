package host

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"aerie/apppool"
	"aerie/inproc"
	"aerie/worker"
)

// client is a client's connection for as long as it is open, wherever it is
// served: in the host, or in a worker process that it was handed to.
type client struct {
	inproc.Client
	site       string   // whose limits it counts against; "" until that is known
	perAddress bool     // counted for its address, too
	pool       string   // in which it is or was: it stays with that pool for life; "" for none; guarded by the table's mu
	peeked     net.Conn // the connection while its first bytes are awaited; guarded by the table's mu
}

// clients is the table of all open connections.
type clients struct {
	mu      sync.Mutex // guards below
	first   uint64     // numbers below are of hosts before
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
	c := &client{}
	c.Conn, c.Number = conn, t.last
	c.Local, c.Remote = worker.AddrPort(conn.LocalAddr()), worker.AddrPort(conn.RemoteAddr())
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
	key := siteAddr{site, c.Remote.Addr()}
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
		decrement(t.bySite, siteAddr{c.site, c.Remote.Addr()})
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

// awaiting notes that bytes of the client are awaited on conn, within limit, 0 for
// none; decided takes it back. The deadline is set here so that close cannot miss it.
func (t *clients) awaiting(c *client, limit time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing {
		return net.ErrClosed
	}
	c.peeked = c.Conn
	if limit <= 0 {
		return nil
	}
	return c.Conn.SetReadDeadline(time.Now().Add(limit))
}

func (t *clients) decided(c *client) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.peeked = nil
	return c.Conn.SetReadDeadline(time.Time{})
}

// accepted decides who serves a connection, and hands it over if that can be done
// at once. What is returned takes longer, or waits for the client's first bytes.
func (h *Host) accepted(conn net.Conn) (rest func()) {
	r := h.routes.Load()
	c, err := h.clients.admit(conn, r.cfg.Host.Limits.MaxConnections)
	if err != nil {
		return func() { h.turnAway(conn) }
	}
	name, err := peekNow(conn)
	if errors.Is(err, errPeekPending) {
		return func() { h.await(c, r) }
	}
	return h.peeked(c, r, name, err)
}

// await decides who serves the connection when its first bytes have come.
func (h *Host) await(c *client, r *routes) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		h.serveHere(c)
		return
	}
	if err := h.clients.awaiting(c, r.cfg.Host.Limits.HeaderTimeout); err != nil {
		h.drop(c)
		return
	}
	name, begun, err := peek(sc)
	err = errors.Join(err, h.clients.decided(c))
	if timedOut(err) && begun {
		lastWord(c.Conn, worker.HeadTimeoutAnswer)
		h.clients.end(c.Number)
		return
	}
	if rest := h.peeked(c, r, name, err); rest != nil {
		rest()
	}
}

// peeked goes on after a peek that found name, or err.
func (h *Host) peeked(c *client, r *routes, name string, err error) (rest func()) {
	switch {
	case err == nil:
		return h.place(c, r, name)
	case errors.Is(err, errPeekUnusual):
		return func() { h.serveHere(c) }
	default:
		h.drop(c) // nothing came, or the client is gone: nobody waits for an answer
		return nil
	}
}

// place gives the connection to the pool that its site lives in, or has it served
// here.
func (h *Host) place(c *client, r *routes, name string) (rest func()) {
	here := func() { h.serveHere(c) }
	site := r.table.Site(c.Local, name)
	if site == nil {
		return here
	}
	if err := h.clients.count(c, site.Name, site.Limits.MaxConnections, site.Limits.MaxConnectionsPerAddress); err != nil {
		h.log.Warn("connection turned away", "site", site.Name, "client", c.Remote, "reason", err)
		return func() {
			h.turnAway(c.Conn)
			h.clients.end(c.Number)
		}
	}
	p := r.handover[site.Name]
	if p == nil || r.trusts(c.Remote.Addr()) || h.clients.mixes(c.Remote.Addr(), time.Now()) {
		return here
	}
	if lease, ok := p.Current(); ok {
		if h.send(c, p, lease) == nil {
			return nil
		}
	}
	return func() { h.handOver(c, p) }
}

// handOver gives the connection, on which a request has come, to the pool's worker
// process, or serves it here if the pool's generation is of the other kind or takes
// no connection now: then its requests are relayed, which differs in speed only.
func (h *Host) handOver(c *client, p *pool) {
	for tried := 0; ; { // a generation that is draining by now has a successor
		lease, err := p.AcquireFor(h.life, func() apppool.Waiter { return apppool.Waiter{Client: c.Remote.String()} })
		if err != nil || lease.Generation() == tried {
			if err == nil {
				lease.Release()
			}
			break // and the request is told why
		}
		tried = lease.Generation()
		if h.send(c, p, lease) == nil {
			return
		}
	}
	h.serveHere(c)
}

// send hands the connection over to the lease's generation, and releases the
// lease. It does not wait.
func (h *Host) send(c *client, p *pool, lease apppool.Lease) error {
	defer lease.Release()
	w, ok := lease.Worker().(*inproc.Worker)
	if !ok {
		return inproc.ErrNotTaken
	}
	h.clients.assign(c, p.name)
	return w.HandOver(&c.Client)
}

// serveHere serves the connection in the host's own HTTP server.
func (h *Host) serveHere(c *client) {
	conn, prefix := c.Conn, c.Prefix
	c.Prefix = nil
	err := h.server.ServeConn(conn, worker.Source{Number: c.Number, Prefix: prefix, Resumed: c.Resumed})
	if err != nil && !errors.Is(err, worker.ErrServerClosed) {
		h.log.Warn("serve connection", "client", c.Remote, "error", err)
	}
	if err != nil {
		h.clients.end(c.Number)
	}
}

// Returned implements inproc.Owner: the connection goes on to the generation
// that serves now. If none does and none starts it waits here for its client, for
// whose sake alone no process is started.
func (h *Host) Returned(ic *inproc.Client) {
	c := h.clients.find(ic.Number)
	if c == nil {
		_ = ic.Conn.Close() // nobody knows it any more
		return
	}
	h.tasks.Go(func() {
		p := h.pools.find(h.clients.poolOf(c))
		if h.life.Err() != nil && c.Resumed && len(c.Prefix) == 0 && !asks(c.Conn) {
			h.drop(c) // the host is ending and the connection is between two requests
			return
		}
		if p == nil || c.Refused {
			h.serveHere(c)
			return
		}
		lease, ok := p.Current()
		if ok && h.send(c, p, lease) == nil {
			return
		}
		if !ok && c.Resumed && len(c.Prefix) == 0 {
			if err := h.rest(c); err != nil {
				h.drop(c) // it is gone, or was idle for too long
				return
			}
		}
		h.handOver(c, p)
	})
}

// asks reports whether the client has sent something that nobody has read.
func asks(c net.Conn) bool {
	pc, ok := c.(peekable)
	if !ok {
		return false
	}
	n, err := pc.Peek(make([]byte, 1))
	return n > 0 && err == nil
}

// rest waits until the client of an idle connection sends something, for as long
// as a connection may be idle.
func (h *Host) rest(c *client) error {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil
	}
	if err := h.clients.awaiting(c, h.routes.Load().cfg.Host.Limits.IdleTimeout); err != nil {
		return err
	}
	return errors.Join(awaitBytes(sc), h.clients.decided(c))
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
	if sc, ok := conn.(syscall.Conn); ok {
		discard(sc)
	}
	_ = conn.Close() // see above
}
