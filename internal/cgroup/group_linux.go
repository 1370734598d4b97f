package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const procsFile = "cgroup.procs"

// Bounds of what the kernel is waited for: it tells nobody about most of this.
const (
	poll        = 2 * time.Millisecond
	freezeLimit = 100 * time.Millisecond // for a group to stand still
	clearLimit  = 10 * time.Second       // for killed processes to be gone
	removeLimit = time.Second            // for a group without processes to be free
)

// Group is one group. It is safe for concurrent use, and all there is to it are
// its folders: another process that has a copy can use it as well.
type Group struct {
	Dirs map[string]string // by controller of version 1; "" is the only one of version 2
}

// Find is the group with the folders dirs, by which another host before has known
// it. They must be in the tree called name, and the process pid must be in each.
func Find(name string, dirs map[string]string, pid int) (*Group, error) {
	for controller, dir := range dirs {
		within, err := filepath.Rel(mountpoint, dir)
		if err != nil || !filepath.IsLocal(within) || filepath.Base(filepath.Dir(dir)) != name {
			return nil, fmt.Errorf("control group %q is not where a host makes one", dir)
		}
		one := Group{Dirs: map[string]string{controller: dir}}
		pids, err := one.procs()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(pids, pid) {
			return nil, fmt.Errorf("process %d is not in control group %q", pid, dir)
		}
	}
	return &Group{Dirs: maps.Clone(dirs)}, nil
}

// Folders are the group's folders, as in Dirs.
func (g *Group) Folders() map[string]string { return maps.Clone(g.Dirs) }

// Add puts the process pid, with all of its threads, into the group. What it
// starts from then on is born there. Going over a limit that way is no error.
func (g *Group) Add(pid int) error {
	for _, dir := range g.Dirs {
		if err := write(filepath.Join(dir, procsFile), strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("put process into its control group: %w", err)
		}
	}
	return nil
}

// Kill kills all processes of the group, also those that have left their session
// and process group, and does not wait for their end. Processes that were born
// meanwhile may be left where the kernel has no cgroup.kill: see Clear.
func (g *Group) Kill() error {
	if dir, ok := g.Dirs[""]; ok {
		err := write(filepath.Join(dir, "cgroup.kill"), "1")
		if !errors.Is(err, os.ErrNotExist) { // before Linux 5.14; or the group is gone
			return err
		}
	}
	thaw := g.freeze()
	pids, err := g.procs()
	for _, pid := range pids {
		if e := unix.Kill(pid, unix.SIGKILL); e != nil && !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("kill process %d: %w", pid, e))
		}
	}
	return errors.Join(err, thaw())
}

// freeze has the processes stand still, so that none is born or ends while they
// are counted, as far as the kernel can do that in a short time.
func (g *Group) freeze() (thaw func() error) {
	file, state, stop, goOn := "", "", "", ""
	if dir, ok := g.Dirs["freezer"]; ok {
		file, stop, goOn = filepath.Join(dir, "freezer.state"), "FROZEN", "THAWED"
		state = file
	} else if dir, ok := g.Dirs[""]; ok {
		file, stop, goOn = filepath.Join(dir, "cgroup.freeze"), "1", "0"
		state = filepath.Join(dir, "cgroup.events")
	} else {
		return func() error { return nil }
	}
	thaw = func() error { return ignoreMissing(write(file, goOn)) }
	if write(file, stop) != nil {
		return thaw // the kill is repeated until nobody is left
	}
	for end := time.Now().Add(freezeLimit); time.Now().Before(end); time.Sleep(poll) {
		b, err := os.ReadFile(state)
		if s := string(b); err != nil || strings.TrimSpace(s) == stop || strings.Contains(s, "frozen 1") {
			break
		}
	}
	return thaw
}

// Clear kills until no process is left. It blocks until then; processes that the
// kernel cannot end are an error after a while.
func (g *Group) Clear() error {
	var last error
	for end := time.Now().Add(clearLimit); ; time.Sleep(poll) {
		pids, err := g.procs()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("processes %v do not end although they were killed", pids), last)
		}
		last = g.Kill()
	}
}

// Empty says whether the group has no process.
func (g *Group) Empty() bool {
	pids, err := g.procs()
	return err == nil && len(pids) == 0
}

// procs are the processes of the group and of groups that were made in it.
func (g *Group) procs() ([]int, error) {
	var all []int
	for _, dir := range g.Dirs {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return ignoreMissing(err)
			}
			pids, err := procsIn(path)
			all = append(all, pids...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("processes of control group: %w", err)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// procsIn are the processes in one folder; none if it is gone.
func procsIn(dir string) ([]int, error) {
	b, err := os.ReadFile(filepath.Join(dir, procsFile))
	if err != nil {
		return nil, ignoreMissing(err)
	}
	var pids []int
	for _, s := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(s)
		if err != nil {
			return nil, err
		}
		if pid > 0 { // 0 is a process outside of our PID namespace
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// OutOfMemory is how many processes of the group the kernel has killed because
// the group had reached its limit of memory.
func (g *Group) OutOfMemory() (int, error) {
	file := filepath.Join(g.Dirs["memory"], "memory.oom_control")
	if dir, ok := g.Dirs[""]; ok {
		file = filepath.Join(dir, "memory.events")
	} else if g.Dirs["memory"] == "" {
		return 0, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return 0, ignoreMissing(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "oom_kill "); ok {
			return strconv.Atoi(n)
		}
	}
	return 0, lines.Err()
}

// Remove removes the group, in which no process may be. It is repeatable.
func (g *Group) Remove() error {
	var errs []error
	for _, dir := range g.Dirs {
		var folders []string
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				folders = append(folders, path)
			}
			return ignoreMissing(err)
		})
		errs = append(errs, err)
		slices.Reverse(folders)
		for _, folder := range folders {
			errs = append(errs, removeFolder(folder))
		}
	}
	return errors.Join(errs...)
}

// removeFolder waits for a little while: a process that has ended keeps its
// group busy until the kernel has cleared up after it.
func removeFolder(dir string) error {
	for end := time.Now().Add(removeLimit); ; time.Sleep(poll) {
		err := ignoreMissing(unix.Rmdir(dir))
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			if err != nil {
				return fmt.Errorf("remove control group %s: %w", dir, err)
			}
			return nil
		}
	}
}

// write writes to a file of the kernel's, which it never makes.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) { // ENODEV: removed while it was read
		return nil
	}
	return err
}
