package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"aerie/admin"
	"aerie/apppool"
	"aerie/config"
	"aerie/inproc"
	"aerie/worker"
)

// pool is an application pool of the host.
type pool struct {
	*apppool.Pool
	name string
	gate *worker.Gate // in front of out-of-process generations; in-process ones have theirs in the worker
}

// poolSet is the host's pools by name, and the in-process worker processes that
// run in them.
type poolSet struct {
	mu      sync.Mutex // guards below
	pools   map[string]*pool
	workers map[*inproc.Worker]string // to the name of their pool
}

func newPoolSet() *poolSet {
	return &poolSet{pools: map[string]*pool{}, workers: map[*inproc.Worker]string{}}
}

// find returns the pool called name, or nil.
func (s *poolSet) find(name string) *pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pools[name]
}

func (s *poolSet) add(p *pool) {
	s.mu.Lock()
	s.pools[p.name] = p
	s.mu.Unlock()
}

func (s *poolSet) remove(name string) *pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pools[name]
	delete(s.pools, name)
	return p
}

// all are the pools, sorted by name.
func (s *poolSet) all() []*pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*pool
	for _, name := range slices.Sorted(maps.Keys(s.pools)) {
		out = append(out, s.pools[name])
	}
	return out
}

// inProcess are the in-process worker processes with their pools' names.
func (s *poolSet) inProcess() map[*inproc.Worker]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.workers)
}

// running enters a worker process that is ready.
func (s *poolSet) running(w *inproc.Worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !w.Ended() {
		s.workers[w] = w.Pool()
	}
}

// ended forgets a worker process.
func (s *poolSet) ended(w *inproc.Worker) {
	s.mu.Lock()
	delete(s.workers, w)
	s.mu.Unlock()
}

// newPool makes a pool of the host, which is opened later.
func (h *Host) newPool(cfg *config.Pool, adopted []apppool.Adopted) *pool {
	p := &pool{name: cfg.Name, gate: h.server.NewGate(concurrency(cfg)), Pool: apppool.New(apppool.Options{
		Config:   cfg,
		Logger:   h.log,
		Starter:  h.starter,
		Expected: starts(cfg) || len(adopted) > 0,
		Adopted:  adopted,
		Failed: func(ctx context.Context, command []string, reason string) {
			h.onFailed(ctx, cfg.Name, command, reason)
		},
	})}
	h.pools.add(p)
	return p
}

// starts reports whether the pool is to run with the host.
func starts(p *config.Pool) bool { return p.AutoStart && p.Program != nil }

// startsNow reports whether its process starts with the host, too.
func startsNow(p *config.Pool) bool { return starts(p) && p.Start == config.StartAlways }

func (h *Host) starter(hosting config.Hosting) apppool.Starter {
	if hosting == config.InProcess {
		return h.inproc
	}
	return h.outproc
}

// settingsOf is what the worker process serves by, in the configuration that is in
// force or being put in force, and its own way to the host.
func (h *Host) settingsOf(w *inproc.Worker) (*worker.Settings, error) {
	s, err := h.settings(w.Pool(), w.Generation())
	if err == nil {
		s.HostSocket = h.service.pathFor(w.SocketDir(), w.Pool(), w.UID())
	}
	return s, err
}

// settings is settingsOf without what is the worker process's own.
func (h *Host) settings(pool string, generation int) (*worker.Settings, error) {
	s, err := h.settingsIn(h.next.Load(), pool)
	if err != nil {
		return nil, err
	}
	s.Generation, s.Version = generation, h.version.Load()
	return s, nil
}

func (h *Host) settingsIn(cfg *config.Config, pool string) (*worker.Settings, error) {
	p := cfg.Pools[pool]
	if p == nil {
		return nil, fmt.Errorf("pool %q is not in sites.toml", pool)
	}
	return &worker.Settings{
		Pool:    pool,
		Sites:   sitesOf(cfg, func(a *config.App) bool { return a.Pool.Name == pool }),
		Trusted: cfg.Host.TrustedProxies, Limits: connLimits(cfg), Head: headLimits(cfg),
		Concurrency: concurrency(p), AccessLog: cfg.Host.Log.Access,
	}, nil
}

// siteOf finds the first site with an application of the pool that answers a
// path: a binding of the site, and the application's path base. Without one it
// returns zeros.
func (h *Host) siteOf(pool, path string) (b config.Binding, pathBase string) {
	path, _, _ = strings.Cut(path, "?")
	for _, s := range h.next.Load().Sites {
		for _, a := range s.Apps { // the longest path first
			if a.Pool.Name == pool && a.Answers(path) {
				return s.Bindings[0], strings.TrimSuffix(a.Path, "/")
			}
		}
	}
	return config.Binding{}, ""
}

// settingsDiffer reports whether the pool's workers are to be told of a new
// configuration.
func (h *Host) settingsDiffer(old, cfg *config.Config, pool string) bool {
	a, errA := h.settingsIn(old, pool)
	b, errB := h.settingsIn(cfg, pool)
	return errA == nil && errB == nil && !reflect.DeepEqual(a, b)
}

func concurrency(p *config.Pool) worker.Concurrency {
	return worker.Concurrency{
		MaxConcurrent: p.MaxConcurrent, QueueLength: p.QueueLength, QueueTimeout: p.QueueTimeout,
		MaxStreams: p.MaxStreams, StreamAfter: p.StreamAfter,
	}
}

// configureWorkers sends the settings in force to the in-process workers of the
// pools that need them.
func (h *Host) configureWorkers(ctx context.Context, needs func(pool string) bool) error {
	var errs []error
	for w, name := range h.pools.inProcess() {
		if !needs(name) {
			continue
		}
		s, err := h.settingsOf(w)
		if err == nil {
			err = w.Configure(ctx, s)
		}
		if err != nil && !w.Ended() {
			errs = append(errs, fmt.Errorf("pool %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// closePools drains and stops pools, all at once.
func closePools(ctx context.Context, pools []*pool) error {
	errs := make([]error, len(pools))
	var wg sync.WaitGroup
	for i, p := range pools {
		wg.Go(func() { errs[i] = p.Close(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Pool implements admin.Host.
func (h *Host) Pool(ctx context.Context, name string, action admin.Action) (admin.PoolStatus, error) {
	p := h.pools.find(name)
	if p == nil {
		return admin.PoolStatus{}, fmt.Errorf("%w %q", admin.ErrUnknownPool, name)
	}
	var err error
	switch action {
	case admin.Start:
		err = p.Start(ctx)
	case admin.Stop:
		err = p.Stop(ctx)
	case admin.Recycle:
		err = p.Recycle(ctx, "by hand")
	}
	h.log.LogAttrs(ctx, slog.LevelInfo, "operator", slog.String("pool", name), slog.String("action", string(action)))
	status := poolStatus(p)
	if err != nil {
		return status, &admin.Error{Message: err.Error(), Pool: &status}
	}
	return status, nil
}
