package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"aerie/config"
	"aerie/internal/cgroup"
)

// groups are the control groups of the host's worker processes, one for each
// process. They bound what it may use, and hold all that it starts. A process
// without limits has one too where that is possible, for the sake of its end.
type groups struct {
	tree   *cgroup.Tree
	err    error // why there is no tree
	prefix string
	made   atomic.Int64
}

// endsWithHost marks the groups of processes that do not outlive their host.
const endsWithHost = ".end"

// treeOf finds the tree of the host that uses runDir.
func treeOf(runDir string) (*cgroup.Tree, error) {
	return cgroup.Open(cgroup.Name(runDir))
}

// open finds the machine's groups and removes those of hosts before this one,
// with all processes that should have ended with them. The error is about those:
// without groups the host runs as well.
func (g *groups) open(runDir, startID string) error {
	g.prefix = startID
	if g.tree, g.err = treeOf(runDir); g.err != nil {
		return nil
	}
	return g.tree.Sweep(func(name string) bool { return strings.HasSuffix(name, endsWithHost) })
}

func (g *groups) close() error {
	if g.tree == nil {
		return nil
	}
	return g.tree.Close()
}

// refused are the limits that cannot be set.
func (g *groups) refused(l cgroup.Limits) []cgroup.Refusal {
	if g.tree == nil {
		err := g.err
		if err == nil {
			err = errors.New("the host has not been opened")
		}
		return l.Refuse(err)
	}
	return g.tree.Refused(l)
}

// groupLimits are the limits of the pool that control groups keep.
func groupLimits(p *config.Pool) cgroup.Limits {
	return cgroup.Limits{CPU: p.Limits.CPU, Memory: p.Limits.Memory, Processes: p.Limits.Processes}
}

// maker is what makes the group of the next process of the pool, with the
// limits. optional says that the process may run without group and limits if
// there is no way to have them.
func (h *Host) maker(p *config.Pool, l cgroup.Limits, optional bool) func() (*cgroup.Group, error) {
	if h.groups.tree == nil {
		return nil
	}
	return func() (*cgroup.Group, error) {
		name := fmt.Sprintf("%s-%s-%d", h.groups.prefix, p.Name, h.groups.made.Add(1))
		if p.Program != nil && p.Program.Hosting == config.OutOfProcess {
			name += endsWithHost
		}
		group, err := h.groups.tree.New(name, l)
		if err != nil && optional {
			level := slog.LevelDebug
			if l != (cgroup.Limits{}) {
				level = slog.LevelWarn
			}
			h.log.Log(context.Background(), level, "starting without a control group", "pool", p.Name, "limits", l, "reason", err)
			return nil, nil
		}
		return group, err
	}
}
