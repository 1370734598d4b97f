package host

import (
	"fmt"
	"maps"
	"slices"

	"aerie/config"
	"aerie/internal/cgroup"
	"aerie/internal/process"
)

// contain is as whom, and within what, a worker process of the pool runs. The user
// is looked up at every start, so that one who was made meanwhile is found.
func (h *Host) contain(p *config.Pool) (*process.Contain, error) {
	user, err := userOf(p)
	if err != nil {
		return nil, err
	}
	if user != nil {
		if err := process.MaySwitch(user); err != nil {
			return nil, fmt.Errorf("identity.user: %w", err)
		}
	}
	limits := groupLimits(p)
	refused := h.groups.refused(limits)
	for _, r := range refused {
		if p.Limits.Required {
			return nil, fmt.Errorf("limits.%s: %w", r.Limit, r.Err)
		}
		h.log.Warn("starting without a limit", "pool", p.Name, "limit", r.Limit, "reason", r.Err)
	}
	none := limits == cgroup.Limits{}
	limits = limits.Without(refused)
	return &process.Contain{
		User: user, Umask: p.Identity.Umask, NoNewPrivs: p.Identity.NoNewPrivs,
		DropCapabilities: p.Identity.DropsCapabilities(), ClearAmbient: p.Identity.Capabilities == config.CapabilitiesAuto,
		Rlimits: rlimits(p), CPUs: p.Limits.CPUs,
		NewGroup: h.maker(p, limits, none || !p.Limits.Required), Memory: limits.Memory,
		OutOfMemory: "out of memory in the pool's limit of " + config.FormatSize(limits.Memory),
	}, nil
}

func rlimits(p *config.Pool) []process.Rlimit {
	var list []process.Rlimit
	for _, l := range []struct {
		name  string
		limit config.Rlimit
	}{
		{process.OpenFiles, p.Limits.OpenFiles}, {process.CoreSize, p.Limits.CoreSize}, {process.LockedMemory, p.Limits.LockedMemory},
	} {
		if l.limit.Set {
			list = append(list, process.Rlimit{Name: l.name, Value: l.limit.Value})
		}
	}
	return list
}

// userOf is the pool's user, nil for the host's own.
func userOf(p *config.Pool) (*process.User, error) {
	if p.Identity.User == "" {
		return nil, nil
	}
	u, err := process.LookUp(p.Identity.User, p.Identity.Group, p.Identity.Groups)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return u, nil
}

// Check says what of a valid configuration this machine, or the user who calls,
// does not allow: warnings, most of which keep a pool from starting. It looks at
// the system's users and control groups and, as each pool's user, at the way to
// its program. It is for short-lived processes: see process.User.Refuses.
func Check(cfg *config.Config) []config.Problem {
	tree, err := treeOf(cfg.Host.RunDir)
	groups := &groups{tree: tree, err: err}
	var found []config.Problem
	for _, name := range slices.Sorted(maps.Keys(cfg.Pools)) {
		p := cfg.Pools[name]
		found = append(found, checkIdentity(cfg, p)...)
		found = append(found, checkLimits(cfg, p, groups)...)
	}
	return found
}

func checkLimits(cfg *config.Config, p *config.Pool, groups *groups) []config.Problem {
	var found []config.Problem
	for _, r := range groups.refused(groupLimits(p)) {
		what := fmt.Sprintf("pool %q cannot start: %v", p.Name, r.Err)
		if !p.Limits.Required {
			what = fmt.Sprintf("pool %q runs without this limit: %v", p.Name, r.Err)
		}
		found = append(found, cfg.Warning(what, "pools", p.Name, "limits", r.Limit))
	}
	for _, n := range p.Limits.CPUs {
		if !process.HasCPU(n) {
			found = append(found, cfg.Warning(fmt.Sprintf("pool %q cannot start: there is no CPU %d for the host", p.Name, n), "pools", p.Name, "limits", "cpus"))
		}
	}
	return found
}

func checkIdentity(cfg *config.Config, p *config.Pool) []config.Problem {
	var found []config.Problem
	warn := func(err error, key ...string) {
		found = append(found, cfg.Warning(fmt.Sprintf("pool %q cannot start: %v", p.Name, err), key...))
	}
	user, err := userOf(p)
	if err != nil {
		warn(err, "pools", p.Name, "identity", "user")
		return found
	}
	if user == nil {
		return nil
	}
	if err := process.MaySwitch(user); err != nil {
		warn(err, "pools", p.Name, "identity", "user")
		return found
	}
	for _, way := range ways(cfg, p) {
		if err := user.Refuses(way.path, way.program); err != nil {
			warn(err, "pools", p.Name, "identity", "user")
		}
	}
	return found
}

// way is what the pool's user has to reach.
type way struct {
	path    string
	program bool // and to execute
}

func ways(cfg *config.Config, p *config.Pool) []way {
	list := []way{{cfg.Host.RunDir, false}}
	if p.Program != nil {
		list = append(list, way{p.Program.Process, true}, way{p.Program.Dir, false})
	}
	return list
}
