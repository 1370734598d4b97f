package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"aerie/admin"
	"aerie/apppool"
	"aerie/config"
)

// Reload implements admin.Host: it reads sites.toml again and applies what
// differs. Pools whose program changed get a new generation beside the old one;
// everything else goes on undisturbed. Either all of it takes effect or nothing
// does: if an address cannot be opened or a new generation does not start, what
// was begun is undone and the error says why.
func (h *Host) Reload(ctx context.Context) (admin.Reload, error) {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	if h.life.Err() != nil {
		return admin.Reload{}, admin.ErrUnavailable
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.life, cancel)()
	h.tellReloading()
	answer, err := h.reload(ctx)
	h.tellReloaded(err)
	return answer, err
}

func (h *Host) reload(ctx context.Context) (admin.Reload, error) {
	old := h.routes.Load()
	cfg, err := config.Load(old.cfg.Path)
	if err != nil {
		return admin.Reload{}, err
	}
	diff := config.Diff(old.cfg, cfg)
	if len(diff.HostRestart) > 0 {
		return admin.Reload{}, fmt.Errorf("%s: a running host cannot take over a change of host.%s: restart it", cfg.Path, diff.HostRestart[0])
	}
	version := old.version
	if !diff.Empty() {
		version++
		if err := h.apply(ctx, old, cfg, diff, version); err != nil {
			return admin.Reload{}, err
		}
	}
	changes := diff.Lines()
	h.log.Info("reloaded", "config", cfg.Path, "version", version, "changes", changes)
	return admin.Reload{ConfigVersion: version, Changes: append([]string{}, changes...)}, nil
}

// apply puts cfg in force.
func (h *Host) apply(ctx context.Context, old *routes, cfg *config.Config, diff *config.Changes, version uint64) error {
	h.next.Store(cfg)
	h.version.Store(version)
	if err := h.openAddresses(diff); err != nil {
		h.back(old)
		return err
	}
	if err := h.changePools(ctx, old.cfg, cfg, diff); err != nil {
		h.back(old)
		return errors.Join(err, h.listeners.remove(diff.AddressesAdded), h.listeners.add(replaced(diff)))
	}
	// Workers learn of new sites before the host sends them any; of sites that
	// are gone they may still get a last request, which they relay back.
	if err := h.configureWorkers(ctx, func(pool string) bool { return h.settingsDiffer(old.cfg, cfg, pool) }); err != nil {
		h.log.Error("configure workers", "error", err)
	}
	for _, p := range h.pools.all() {
		if c := cfg.Pools[p.name]; c != nil {
			p.gate.Configure(concurrency(c))
		}
	}
	h.server.SetLimits(connLimits(cfg))
	r := h.buildRoutes(cfg, version)
	h.routes.Store(r)
	h.server.SetTable(r.table)
	err := h.listeners.remove(diff.AddressesRemoved)
	return errors.Join(err, h.removePools(context.WithoutCancel(ctx), diff.PoolsRemoved)) // in force, whoever still waits for it
}

func (h *Host) back(old *routes) {
	h.next.Store(old.cfg)
	h.version.Store(old.version)
}

// openAddresses opens new listening sockets. One that covers an old one ("any
// address" in place of one) can only be opened when that is closed.
func (h *Host) openAddresses(diff *config.Changes) error {
	narrow := replaced(diff)
	if err := h.listeners.remove(narrow); err != nil {
		return err
	}
	if err := h.listeners.add(diff.AddressesAdded); err != nil {
		return errors.Join(err, h.listeners.add(narrow))
	}
	return nil
}

// replaced are the addresses that have to be closed before others are opened.
func replaced(diff *config.Changes) []config.Address {
	var out []config.Address
	for _, gone := range diff.AddressesRemoved {
		for _, added := range diff.AddressesAdded {
			if gone.Port == added.Port {
				out = append(out, gone)
				break
			}
		}
	}
	return out
}

// changePools adds pools and gives changed ones their new settings, all at
// once. If one fails, all go back.
func (h *Host) changePools(ctx context.Context, old, cfg *config.Config, diff *config.Changes) error {
	changed := map[string]bool{}
	for _, c := range diff.ProgramChanged {
		changed[c.Name] = true
	}
	for _, c := range diff.SettingsChanged {
		changed[c.Name] = true
	}
	var mu sync.Mutex
	var errs []error
	var done []string
	var wg sync.WaitGroup
	try := func(name string, do func() error) {
		wg.Go(func() {
			err := do()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("pool %s: %w%s", name, err, printed(err)))
			} else {
				done = append(done, name)
			}
		})
	}
	for _, name := range diff.PoolsAdded {
		try(name, func() error { return h.addPool(ctx, cfg.Pools[name]) })
	}
	for name := range changed {
		try(name, func() error { return h.changePool(ctx, old.Pools[name], cfg.Pools[name]) })
	}
	wg.Wait()
	if len(errs) == 0 {
		return nil
	}
	h.back(h.routes.Load())
	for _, name := range done {
		if changed[name] {
			errs = append(errs, h.pools.find(name).Reconfigure(ctx, old.Pools[name]))
		}
	}
	return errors.Join(errors.Join(errs...), h.removePools(context.WithoutCancel(ctx), diff.PoolsAdded))
}

// changePool gives a pool its new settings. One that had nothing to run, or waited
// for a request and is not to any more, is started.
func (h *Host) changePool(ctx context.Context, old, cfg *config.Pool) error {
	p := h.pools.find(cfg.Name)
	if err := p.Reconfigure(ctx, cfg); err != nil {
		return err
	}
	if starts(cfg) && old.Program == nil || startsNow(cfg) && starts(old) && !startsNow(old) {
		if err := p.Start(ctx); err != nil {
			return errors.Join(err, p.Reconfigure(ctx, old))
		}
	}
	return nil
}

// printed are the last lines that a process printed which did not start, to go
// behind the error: they are most often the reason.
func printed(err error) string {
	e, ok := errors.AsType[*apppool.StartError](err)
	if !ok || len(e.Output) == 0 {
		return ""
	}
	const most = 10
	return "\nit printed:\n  " + strings.Join(e.Output[max(0, len(e.Output)-most):], "\n  ")
}

// addPool makes a pool and starts it.
func (h *Host) addPool(ctx context.Context, cfg *config.Pool) error {
	p := h.newPool(cfg, nil)
	p.Open()
	if !startsNow(cfg) {
		return nil
	}
	return p.Start(ctx)
}

// removePools drains and ends pools that are no longer configured.
func (h *Host) removePools(ctx context.Context, names []string) error {
	var pools []*pool
	var errs []error
	for _, name := range names {
		if p := h.pools.remove(name); p != nil {
			h.server.RemoveGate(p.gate)
			pools = append(pools, p)
		}
	}
	errs = append(errs, closePools(ctx, pools))
	for _, p := range pools {
		errs = append(errs, h.service.close(p.name))
	}
	return errors.Join(errs...)
}
