package host

import (
	"fmt"
	"maps"
	"slices"

	"aerie/config"
	"aerie/internal/process"
)

// contain is as whom a worker process of the pool runs. The user is looked up at
// every start, so that one who was made meanwhile is found.
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
	return &process.Contain{
		User: user, Umask: p.Identity.Umask, NoNewPrivs: p.Identity.NoNewPrivs,
		DropCapabilities: p.Identity.DropsCapabilities(),
	}, nil
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
// does not allow: warnings, each of which keeps a pool from starting. It looks at
// the system's users and, as each pool's user, at the way to its program. It is
// for short-lived processes: see process.User.Refuses.
func Check(cfg *config.Config) []config.Problem {
	var found []config.Problem
	for _, name := range slices.Sorted(maps.Keys(cfg.Pools)) {
		found = append(found, checkIdentity(cfg, cfg.Pools[name])...)
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
