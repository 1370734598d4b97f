package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"golang.org/x/sys/unix"
)

const mountpoint = "/sys/fs/cgroup"

// Tree is the host's part of the machine's groups. It is safe for concurrent use.
type Tree struct {
	root string            // where the groups are mounted
	base string            // of the host's part, below own
	own  map[string]string // the host's own group, by controller of version 1; "" of version 2
	v2   bool

	mu    sync.Mutex // guards below; held while the host moves
	moved bool       // the host is out of the way: see makeRoom
}

// Open finds the groups of this machine. The host's part is called name. If it
// fails no group can be made; the error says why.
func Open(name string) (*Tree, error) {
	v1, unified, err := cgroups.ParseCgroupFileUnified("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find the host's control group: %w", err)
	}
	own := map[string]string{}
	local := cgroup1.NestedPath("")
	for controller := range v1 {
		if path, err := local(cgroup1.Name(controller)); err == nil { // an error is one that is not mounted
			own[controller] = path
		}
	}
	own[""] = unified
	return open(mountpoint, name, own)
}

func open(root, name string, own map[string]string) (*Tree, error) {
	t := &Tree{root: root, base: name, own: own, v2: exists(filepath.Join(root, "cgroup.controllers"))}
	if t.v2 {
		t.own[""] = strings.TrimSuffix(t.own[""], "/"+t.hostName()) // where a host that has moved was before
	}
	if dirs := t.tops(); len(dirs) == 0 {
		return nil, fmt.Errorf("no control groups are mounted at %s", root)
	}
	return t, nil
}

// hostName is the group into which the host moves.
func (t *Tree) hostName() string { return t.base + ".host" }

// tops are the host's own groups, by controller.
func (t *Tree) tops() map[string]string {
	dirs := map[string]string{}
	if t.v2 {
		dirs[""] = filepath.Join(t.root, t.own[""])
		return dirs
	}
	for _, controller := range []string{"freezer", "cpu", "memory", "pids"} {
		path, ok := t.own[controller]
		if dir := filepath.Join(t.root, controller, path); ok && exists(dir) {
			dirs[controller] = dir
		}
	}
	return dirs
}

// Refused says which of the limits cannot be set here, and why; none if all can.
// It changes nothing.
func (t *Tree) Refused(l Limits) []Refusal {
	var refused []Refusal
	for _, limit := range l.asked() {
		if err := t.refuses(controller(limit)); err != nil {
			refused = append(refused, Refusal{limit, err})
		}
	}
	return refused
}

func (t *Tree) refuses(controller string) error {
	if t.v2 {
		return t.refuses2(controller)
	}
	dir, ok := t.tops()[controller]
	if !ok {
		return fmt.Errorf("this machine has no control groups with the controller %q", controller)
	}
	return mayWrite(dir)
}

// refuses2 is refuses for version 2.
func (t *Tree) refuses2(controller string) error {
	dir := t.tops()[""]
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("look at the host's control group: %w", err)
	}
	if !contains(strings.Fields(string(b)), controller) {
		return fmt.Errorf("the host's control group %s was not given the controller %q (systemd: Delegate=yes)", dir, controller)
	}
	if err := mayWrite(dir); err != nil {
		return err
	}
	pids, err := procsIn(dir)
	if err != nil || t.isRoot() {
		return err
	}
	for _, pid := range pids {
		if pid != os.Getpid() {
			return fmt.Errorf("process %d is in the host's control group %s beside it: the kernel gives limits only below groups that hold no process", pid, dir)
		}
	}
	return nil
}

// isRoot says whether the host's own group is the root of all, which may hold
// processes and hand controllers down too.
func (t *Tree) isRoot() bool { return !exists(filepath.Join(t.tops()[""], "cgroup.type")) }

func mayWrite(dir string) error {
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return fmt.Errorf("the host, user %d, may not make control groups in %s: %w", os.Geteuid(), dir, err)
	}
	return nil
}

// New makes a group called name, which is no path, with the limits. All that is
// asked for is set, or nothing is made. What Limits leave out is not limited.
func (t *Tree) New(name string, l Limits) (*Group, error) {
	if refused := t.Refused(l); len(refused) > 0 {
		return nil, fmt.Errorf("limits.%s: %w", refused[0].Limit, refused[0].Err)
	}
	g, err := t.make1or2(name, l)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make control group: %w", err), g.Remove())
	}
	return g, nil
}

func (t *Tree) make1or2(name string, l Limits) (*Group, error) {
	g := &Group{Dirs: map[string]string{}}
	if t.v2 {
		g.Dirs[""] = filepath.Join(t.tops()[""], t.base, name)
		return g, t.make2(name, l)
	}
	names := []string{"freezer"}
	for _, limit := range l.asked() {
		names = append(names, controller(limit))
	}
	for _, controller := range names {
		if dir, ok := t.tops()[controller]; ok {
			g.Dirs[controller] = filepath.Join(dir, t.base, name)
		}
	}
	if len(g.Dirs) == 0 {
		return g, errors.New("no controller can hold processes")
	}
	return g, t.make1(g, l)
}

// Sweep removes what hosts before this one have left in the tree: groups without
// processes, and, if ends says so of a group's name, groups with all processes
// in them. Whoever calls it knows that no other host uses the tree.
func (t *Tree) Sweep(ends func(name string) bool) error {
	var errs []error
	for name, g := range t.groups() {
		if ends(name) {
			errs = append(errs, g.Clear())
		}
		if pids, err := g.procs(); err != nil || len(pids) > 0 {
			errs = append(errs, err) // somebody still lives: the next host's business
			continue
		}
		errs = append(errs, g.Remove())
	}
	return errors.Join(errs...)
}

// groups are the groups that are there, by name.
func (t *Tree) groups() map[string]*Group {
	found := map[string]*Group{}
	for controller, top := range t.tops() {
		entries, err := os.ReadDir(filepath.Join(top, t.base))
		if err != nil {
			continue // there are none
		}
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			if found[e.Name()] == nil {
				found[e.Name()] = &Group{Dirs: map[string]string{}}
			}
			found[e.Name()].Dirs[controller] = filepath.Join(top, t.base, e.Name())
		}
	}
	return found
}

// Close removes the host's part, unless there are groups in it.
func (t *Tree) Close() error {
	var errs []error
	for _, top := range t.tops() {
		err := os.Remove(filepath.Join(top, t.base))
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
