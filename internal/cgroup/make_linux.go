package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// make1 makes a group of version 1: one folder for each of its controllers.
func (t *Tree) make1(g *Group, l Limits) error {
	resources := &specs.LinuxResources{}
	if l.CPU > 0 {
		quota, length := l.quota(), uint64(period)
		resources.CPU = &specs.LinuxCPU{Quota: &quota, Period: &length}
	}
	if l.Memory > 0 {
		resources.Memory = &specs.LinuxMemory{Limit: &l.Memory}
		if exists(filepath.Join(t.tops()["memory"], "memory.memsw.limit_in_bytes")) {
			resources.Memory.Swap = &l.Memory // of memory and swap together
		}
	}
	if l.Processes > 0 {
		limit := int64(l.Processes)
		resources.Pids = &specs.LinuxPids{Limit: &limit}
	}
	var parts []cgroup1.Subsystem
	for controller := range g.Dirs {
		switch controller {
		case "freezer":
			parts = append(parts, cgroup1.NewFreezer(t.root))
		case "cpu":
			parts = append(parts, cgroup1.NewCpu(t.root))
		case "memory":
			parts = append(parts, cgroup1.NewMemory(t.root))
		case "pids":
			parts = append(parts, cgroup1.NewPids(t.root))
		}
	}
	path := func(controller cgroup1.Name) (string, error) {
		return filepath.Rel(filepath.Join(t.root, string(controller)), g.Dirs[string(controller)])
	}
	_, err := cgroup1.New(path, resources, cgroup1.WithHierarchy(func() ([]cgroup1.Subsystem, error) { return parts, nil }))
	return err
}

// make2 makes a group of version 2.
func (t *Tree) make2(name string, l Limits) error {
	resources := &cgroup2.Resources{}
	if l.CPU > 0 {
		quota, length := l.quota(), uint64(period)
		resources.CPU = &cgroup2.CPU{Max: cgroup2.NewCPUMax(&quota, &length)}
	}
	if l.Memory > 0 {
		resources.Memory = &cgroup2.Memory{Max: &l.Memory}
	}
	if l.Processes > 0 {
		resources.Pids = &cgroup2.Pids{Max: int64(l.Processes)}
	}
	if len(resources.EnabledControllers()) > 0 {
		if err := t.makeRoom(); err != nil {
			return err
		}
	}
	m, err := cgroup2.NewManager(t.root, filepath.Join("/", t.own[""], t.base, name), resources)
	if err != nil {
		return err
	}
	if l.Memory == 0 || !exists(filepath.Join(t.tops()[""], t.base, name, "memory.swap.max")) {
		return nil // without accounting of swap there is no such file
	}
	none := int64(0)
	return m.Update(&cgroup2.Resources{Memory: &cgroup2.Memory{Swap: &none}})
}

// makeRoom moves the host out of its own group, so that this may hand its
// controllers down.
func (t *Tree) makeRoom() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.moved || t.isRoot() {
		return nil
	}
	dir := filepath.Join(t.tops()[""], t.hostName())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the host a group of its own: %w", err)
	}
	if err := write(filepath.Join(dir, procsFile), strconv.Itoa(os.Getpid())); err != nil {
		return fmt.Errorf("move the host into a group of its own: %w", err)
	}
	t.moved = true
	return nil
}
