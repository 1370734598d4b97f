package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"aerie/apppool"
	"aerie/config"
	"aerie/inproc"
	"aerie/proto"
)

// adoptLimit is how long a worker process of the host before may take to answer.
// One that does not is left to end by itself.
const adoptLimit = 5 * time.Second

// changedMeanwhile is why an adopted generation is replaced at once.
const changedMeanwhile = "configuration changed while the host was away"

// adopted are the worker processes that were taken over from the host before.
type adopted struct {
	byPool map[string][]apppool.Adopted
	strays []*inproc.Worker // of pools that there are no more
	stale  []string         // pools whose generation runs what the configuration has no more

	mu   sync.Mutex     // guards below
	dirs map[string]int // socket folders of hosts before, below run_dir/p, to the workers that use them
}

// adopt takes over the worker processes of the host before, all at once. It returns
// when each has answered or adoptLimit is over.
func (h *Host) adopt(ctx context.Context, cfg *config.Config, left []inproc.Record) {
	ctx, cancel := context.WithTimeoutCause(ctx, adoptLimit, errors.New("it does not answer"))
	defer cancel()
	workers := make([]*inproc.Worker, len(left))
	var wg sync.WaitGroup
	for i, rec := range left {
		wg.Go(func() { workers[i] = h.adoptOne(ctx, cfg, rec) })
	}
	wg.Wait()
	latest := map[string]*inproc.Worker{}
	for i, w := range workers {
		if w == nil {
			h.note(h.memory.drop(left[i].Pid))
			continue
		}
		name := w.Pool()
		if !hasProgram(cfg, name) {
			h.adopted.strays = append(h.adopted.strays, w)
			continue
		}
		h.adopted.byPool[name] = append(h.adopted.byPool[name], apppool.Adopted{
			Worker: w, Generation: w.Generation(), Hosting: config.InProcess, Draining: w.Draining(),
		})
		if l := latest[name]; l == nil || l.Generation() < w.Generation() {
			latest[name] = w
		}
	}
	for name, w := range latest {
		if p := cfg.Pools[name]; !w.Draining() && (w.Digest() != apppool.Digest(p) || !runsAs(w, p)) {
			h.adopted.stale = append(h.adopted.stale, name)
		}
	}
}

// configureAdopted has the adopted worker processes serve by the settings of this
// host, which makes the sockets on which they find it.
func (h *Host) configureAdopted(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, adoptLimit)
	defer cancel()
	cfg := h.next.Load()
	for name := range h.adopted.byPool {
		p := cfg.Pools[name]
		user, err := userOf(p)
		if err == nil {
			_, err = h.service.socketDir(p, user)
		}
		if err != nil { // a new process of the pool cannot start either, and says so
			h.log.Error("adopted workers of the pool cannot reach the host", "pool", name, "error", err)
		}
	}
	if err := h.configureWorkers(ctx, func(pool string) bool { return cfg.Pools[pool] != nil }); err != nil {
		h.log.Error("configure adopted workers", "error", err)
	}
}

// runsAs reports whether the worker process runs as the pool's user: a name may be
// another user's by now. One whom the system does not know changes nothing.
func runsAs(w *inproc.Worker, p *config.Pool) bool {
	user, err := userOf(p)
	switch {
	case err != nil:
		return true
	case user == nil:
		return w.UID() == os.Geteuid()
	}
	return w.UID() == user.UID
}

func hasProgram(cfg *config.Config, pool string) bool {
	p := cfg.Pools[pool]
	return p != nil && p.Program != nil
}

// adoptOne takes over one process, or returns nil.
func (h *Host) adoptOne(ctx context.Context, cfg *config.Config, rec inproc.Record) *inproc.Worker {
	log := h.log.With("pool", rec.Pool, "generation", rec.Generation, "pid", rec.Pid)
	dir, err := h.service.folderOf(rec)
	if err != nil {
		log.Warn("worker process of the host before not adopted", "error", err)
		return nil
	}
	pool := cfg.Pools[rec.Pool]
	if pool == nil {
		pool = &config.Pool{Name: rec.Pool, DrainTimeout: strayDrain, ShutdownTimeout: strayStop}
	}
	w, err := h.inproc.Adopt(ctx, rec, pool)
	if err != nil {
		log.Warn("worker process of the host before not adopted", "error", err)
		return nil
	}
	h.adopted.mu.Lock()
	h.adopted.dirs[dir]++
	h.adopted.mu.Unlock()
	log.Info("worker process of the host before adopted", "connections", w.Stats().Connections, "started_at", rec.StartedAt)
	return w
}

// folderOf is the socket folder of a worker process of a host before, relative to
// run_dir/p: POOL/START. All of its sockets must be there or below.
func (s *service) folderOf(rec inproc.Record) (string, error) {
	folder, err := filepath.Rel(s.dir, rec.Dir)
	if err != nil || !filepath.IsLocal(folder) || strings.Count(folder, string(filepath.Separator)) != 1 {
		return "", fmt.Errorf("its folder %q is not where a host makes one", rec.Dir)
	}
	for _, path := range []string{rec.Relay, rec.Control, rec.Handover} {
		rel, err := filepath.Rel(rec.Dir, path)
		if err != nil || !filepath.IsLocal(rel) || rel == "." {
			return "", fmt.Errorf("its socket %q is not in its folder", path)
		}
	}
	return folder, nil
}

// What becomes of worker processes whose pool is gone.
const (
	strayDrain = 30 * time.Second
	strayStop  = 10 * time.Second
)

// endStrays ends adopted worker processes whose pools are no more: what they have
// begun is finished. It returns when they are gone.
func (h *Host) endStrays() {
	var wg sync.WaitGroup
	for _, w := range h.adopted.strays {
		wg.Go(func() {
			log := h.log.With("pool", w.Pool(), "generation", w.Generation(), "pid", w.Pid())
			log.Info("ending adopted worker process: its pool is gone")
			drain, cancel := context.WithTimeout(h.life, strayDrain)
			defer cancel()
			if err := w.Drain(drain); err != nil {
				log.Warn("drain", "error", err)
			}
			stop, cancel := context.WithTimeout(h.hurry, strayStop)
			defer cancel()
			if err := w.Stop(stop); err != nil {
				log.Error("stop", "error", err)
			}
		})
	}
	wg.Wait()
}

// refreshPool replaces an adopted generation that runs what is configured no more.
// If that does not succeed it goes on, and the pool has logged why.
func (h *Host) refreshPool(name string) {
	p := h.pools.find(name)
	if p == nil {
		return
	}
	if err := p.Recycle(h.life, changedMeanwhile); err != nil && h.life.Err() == nil {
		h.log.Error("adopted generation not replaced", "pool", name, "error", err)
	}
}

// workerReady and workerEnded are told of each in-process worker process.
func (h *Host) workerReady(w *inproc.Worker) {
	h.pools.running(w)
	rec, err := w.Record()
	if err != nil {
		h.log.Debug("a restarted host will not find the worker process", "pid", w.Pid(), "error", err)
		return
	}
	if !w.Ended() {
		h.note(h.memory.keep(rec))
	}
	if w.Ended() { // and maybe before that was written
		h.note(h.memory.drop(w.Pid()))
	}
}

func (h *Host) workerEnded(w *inproc.Worker) {
	h.pools.ended(w)
	h.note(h.memory.drop(w.Pid()))
	dir, err := filepath.Rel(h.service.dir, w.SocketDir())
	if err != nil {
		return // it never had any
	}
	h.adopted.mu.Lock()
	defer h.adopted.mu.Unlock()
	if h.adopted.dirs[dir] == 0 {
		return // it is this host's own
	}
	if h.adopted.dirs[dir]--; h.adopted.dirs[dir] == 0 {
		h.note(h.service.removeFolder(dir))
	}
}

// note logs an error about which nothing can be done: the state file is a hint.
func (h *Host) note(err error) {
	if err != nil {
		h.log.Error("state of worker processes", "error", err)
	}
}

// owned makes a connection known that an adopted worker process has, unless it
// cannot be one that a host before has accepted.
func (h *Host) owned(pool string, o proto.Owned) *inproc.Client {
	cfg := h.next.Load()
	if !listensOn(cfg.Addresses(), o.Local) {
		return nil
	}
	return h.clients.adopt(pool, onlySite(cfg, pool), o)
}

// onlySite is the site that all connections of a pool are for, if there is one
// only. Of others it is not known, and they count against no site's limit.
func onlySite(cfg *config.Config, pool string) string {
	sites := sitesOf(cfg, func(a *config.App) bool { return a.Pool.Name == pool })
	if len(sites) != 1 {
		return ""
	}
	return sites[0].Name
}

// listensOn reports whether a connection to local can have come by one of the
// addresses.
func listensOn(addrs []config.Address, local netip.AddrPort) bool {
	for _, a := range addrs {
		if a.Port != local.Port() {
			continue
		}
		switch a.Listen {
		case config.ListenAny:
			return true
		case config.ListenLoopback:
			if local.Addr().IsLoopback() {
				return true
			}
		default:
			if a.IP.Unmap() == local.Addr().Unmap() {
				return true
			}
		}
	}
	return false
}

// epochShift leaves each start of the host 2^40 connection numbers of its own, so
// that those of hosts before stay what they are.
const epochShift = 40

// begin makes the table number connections in the epoch's own range.
func (t *clients) begin(epoch uint64) {
	t.mu.Lock()
	t.first = epoch << epochShift
	t.last = t.first
	t.mu.Unlock()
}

// adopt enters a connection of a host before, that is in the pool and counts
// against the site's limits; "" is not known. It returns nil if its number cannot be
// that of such a one.
func (t *clients) adopt(pool, site string, o proto.Owned) *inproc.Client {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.Number == 0 || o.Number >= t.first || t.open[o.Number] != nil {
		return nil
	}
	c := &client{pool: pool, site: site}
	c.Number, c.Local, c.Remote = o.Number, o.Local, o.Remote
	t.open[c.Number] = c
	if site != "" {
		c.perAddress = true
		t.sites[site]++
		t.bySite[siteAddr{site, c.Remote.Addr()}]++
	}
	return &c.Client
}

// removeFolder removes a folder below run_dir/p, by its relative name.
func (s *service) removeFolder(dir string) error {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return fmt.Errorf("socket folders: %w", err)
	}
	if err := errors.Join(root.RemoveAll(dir), root.Close()); err != nil {
		return fmt.Errorf("remove socket folder: %w", err)
	}
	return nil
}
