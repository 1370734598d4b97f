package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/cgroups/v3"
)

// fake makes files, with folders around them, as the kernel would show them.
func fake(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func expect(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, want := range files {
		path := filepath.Join(root, name)
		_ = os.Chmod(path, 0o600) // files that the kernel would make are made without any rights
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("%s: got %q, %v; want %q", name, b, err, want)
		}
	}
}

// service is a tree of version 2 as a service of systemd sees it to which
// controllers were delegated.
func service(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	fake(t, root, map[string]string{
		"cgroup.controllers": "cpuset cpu io memory pids", "cgroup.subtree_control": "",
		"svc/cgroup.controllers": "cpu memory pids", "svc/cgroup.subtree_control": "", "svc/cgroup.type": "domain",
		"svc/cgroup.procs":                 strconv.Itoa(os.Getpid()) + "\n",
		"svc/aerie/cgroup.subtree_control": "",
		"svc/aerie.host/cgroup.procs":      "",
	})
	return root
}

func TestVersion2(t *testing.T) {
	root := service(t)
	fake(t, root, map[string]string{"svc/aerie/one/memory.swap.max": "max"})
	tree, err := open(root, "aerie", map[string]string{"": "/svc"})
	if err != nil {
		t.Fatal(err)
	}
	l := Limits{CPU: 1.5, Memory: 64 << 20, Processes: 7}
	if refused := tree.Refused(l); len(refused) > 0 {
		t.Fatal(refused)
	}
	g, err := tree.New("one", l)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, root, map[string]string{
		"svc/aerie.host/cgroup.procs":      strconv.Itoa(os.Getpid()), // the host has made room
		"svc/cgroup.subtree_control":       "+cpu +memory +pids",
		"svc/aerie/cgroup.subtree_control": "+cpu +memory +pids",
		"svc/aerie/one/cpu.max":            "150000 100000",
		"svc/aerie/one/memory.max":         "67108864",
		"svc/aerie/one/memory.swap.max":    "0",
		"svc/aerie/one/pids.max":           "7",
	})
	fake(t, root, map[string]string{
		"svc/aerie/one/cgroup.procs": "", "svc/aerie/one/cgroup.kill": "",
		"svc/aerie/one/memory.events": "low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 0\n",
	})
	if err := g.Add(4242); err != nil {
		t.Error(err)
	}
	if err := g.Kill(); err != nil {
		t.Error(err)
	}
	expect(t, root, map[string]string{"svc/aerie/one/cgroup.procs": "4242", "svc/aerie/one/cgroup.kill": "1"})
	if n, err := g.OutOfMemory(); n != 3 || err != nil {
		t.Errorf("OutOfMemory is %d, %v", n, err)
	}

	// A host that starts again in the group that it has moved into is not nested.
	again, err := open(root, "aerie", map[string]string{"": "/svc/aerie.host"})
	if err != nil || again.tops()[""] != filepath.Join(root, "svc") {
		t.Errorf("got %v, %v", again.tops(), err)
	}
}

func TestVersion2WithoutLimits(t *testing.T) {
	root := service(t)
	tree, err := open(root, "aerie", map[string]string{"": "/svc"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.New("one", Limits{}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(root, "svc", "aerie", "one"))
	if err != nil || len(entries) > 0 {
		t.Errorf("a group without limits: %v, %v", entries, err)
	}
	expect(t, root, map[string]string{"svc/aerie.host/cgroup.procs": ""}) // the host stays where it is
}

func TestRefused(t *testing.T) {
	root := service(t)
	fake(t, root, map[string]string{"svc/cgroup.controllers": "memory"})
	tree, err := open(root, "aerie", map[string]string{"": "/svc"})
	if err != nil {
		t.Fatal(err)
	}
	l := Limits{CPU: 1, Memory: 1, Processes: 1}
	refused := tree.Refused(l)
	if len(refused) != 2 || refused[0].Limit != CPU || refused[1].Limit != Processes || !strings.Contains(refused[0].Err.Error(), "Delegate=yes") {
		t.Errorf("got %v, want cpu and processes", refused)
	}
	if rest := l.Without(refused); rest != (Limits{Memory: 1}) {
		t.Errorf("the rest is %+v", rest)
	}
	if _, err := tree.New("one", l); err == nil || !strings.HasPrefix(err.Error(), "limits.cpu: ") {
		t.Errorf("New: %v", err)
	}
	if exists(filepath.Join(root, "svc", "aerie", "one")) {
		t.Error("something was made")
	}

	fake(t, root, map[string]string{"svc/cgroup.procs": fmt.Sprintf("%d\n1\n", os.Getpid())})
	if refused := tree.Refused(Limits{Memory: 1}); len(refused) != 1 || !strings.Contains(refused[0].Err.Error(), "process 1 is in the host's control group") {
		t.Errorf("beside another process: %v", refused)
	}
	if _, err := open(t.TempDir(), "aerie", map[string]string{"cpu": "/"}); err == nil {
		t.Error("groups were found where none are mounted")
	}
}

func TestVersion1(t *testing.T) {
	root := t.TempDir()
	fake(t, root, map[string]string{
		"memory/ctr/memory.limit_in_bytes": "", "memory/ctr/memory.memsw.limit_in_bytes": "",
		"cpu/tasks": "", "pids/tasks": "", "freezer/tasks": "",
	})
	tree, err := open(root, "aerie", map[string]string{"memory": "/ctr", "cpu": "/", "pids": "/", "freezer": "/"})
	if err != nil {
		t.Fatal(err)
	}
	g, err := tree.New("one", Limits{CPU: 0.5, Memory: 1 << 20, Processes: 3})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, root, map[string]string{
		"memory/ctr/aerie/one/memory.limit_in_bytes":       "1048576",
		"memory/ctr/aerie/one/memory.memsw.limit_in_bytes": "1048576",
		"cpu/aerie/one/cpu.cfs_quota_us":                   "50000",
		"cpu/aerie/one/cpu.cfs_period_us":                  "100000",
		"pids/aerie/one/pids.max":                          "3",
	})
	if len(g.Dirs) != 4 || !exists(g.Dirs["freezer"]) {
		t.Errorf("folders %v", g.Dirs)
	}
	if n, err := g.OutOfMemory(); n != 0 || err != nil {
		t.Errorf("OutOfMemory is %d, %v", n, err)
	}
	fake(t, root, map[string]string{"memory/ctr/aerie/one/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"})
	if n, err := g.OutOfMemory(); n != 2 || err != nil {
		t.Errorf("OutOfMemory is %d, %v", n, err)
	}
}

// realTrees are those of this machine: of version 1, and of version 2 also where
// it is mounted only beside the other, without controllers.
func realTrees(t *testing.T) map[string]*Tree {
	t.Helper()
	name := fmt.Sprintf("aerie-test-%d", os.Getpid())
	trees := map[string]*Tree{}
	tree, err := Open(name)
	if err == nil && tree.v2 {
		trees["version 2"] = tree
	} else if err == nil {
		trees["version 1"] = tree
		_, unified, perr := cgroups.ParseCgroupFileUnified("/proc/self/cgroup")
		if perr == nil && exists("/sys/fs/cgroup/unified/cgroup.controllers") {
			trees["version 2"], err = open("/sys/fs/cgroup/unified", name, map[string]string{"": unified})
		}
	}
	for _, tree := range trees {
		for _, dir := range tree.tops() {
			err = errors.Join(err, mayWrite(dir))
		}
	}
	if err == nil {
		return trees
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("under CI control groups can be made: %v", err)
	}
	t.Skipf("no control groups: %v", err)
	return nil
}

// TestClear starts processes that start others in sessions of their own, one of
// them again and again: all of them are found, and then the group can go.
func TestClear(t *testing.T) {
	for version, tree := range realTrees(t) {
		t.Run(version, func(t *testing.T) {
			g, err := tree.New("clear", Limits{})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/bin/sh", "-c", `read go; setsid sleep 3600 & setsid sh -c 'while :; do setsid sleep 3600 & sleep 0.001; done' & echo up; sleep 3600`)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if err := g.Add(cmd.Process.Pid); err != nil {
				t.Fatal(err)
			}
			if err := tree.Sweep(func(string) bool { return false }); err != nil || !exists(firstDir(g)) {
				t.Errorf("a group with processes was swept away, or: %v", err)
			}
			fmt.Fprintln(in, "go")
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
				t.Fatalf("%q, %v", line, err)
			}
			for pids := []int{}; len(pids) < 10; {
				if pids, err = g.procs(); err != nil {
					t.Fatal(err)
				}
			}
			if err := g.Clear(); err != nil {
				t.Error(err)
			}
			if !g.Empty() {
				t.Error("not empty")
			}
			_ = cmd.Wait() // killed
			for range 2 {
				if err := g.Remove(); err != nil {
					t.Error(err)
				}
			}
			if exists(firstDir(g)) {
				t.Error("the group is left")
			}
			if err := g.Clear(); err != nil {
				t.Errorf("clear a group that is gone: %v", err)
			}
			if err := tree.Close(); err != nil {
				t.Error(err)
			}
			for _, top := range tree.tops() {
				if exists(filepath.Join(top, tree.base)) {
					t.Errorf("left: %s in %s", tree.base, top)
				}
			}
		})
	}
}

// TestFind: a group is found by its folders if they are those of the tree that is
// asked for, and if the process is in all of them.
func TestFind(t *testing.T) {
	for version, tree := range realTrees(t) {
		t.Run(version, func(t *testing.T) {
			g, err := tree.New("found", Limits{})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sleep", "3600")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pid := cmd.Process.Pid
			if _, err := Find(tree.base, g.Folders(), pid); err == nil {
				t.Error("found before the process was in it")
			}
			if err := g.Add(pid); err != nil {
				t.Error(err)
			}
			found, err := Find(tree.base, g.Folders(), pid)
			if err != nil {
				t.Fatal(err)
			}
			for controller, dir := range g.Dirs {
				outside := map[string]string{controller: filepath.Join("/tmp", tree.base, "found")}
				above := map[string]string{controller: filepath.Dir(dir)}
				for _, dirs := range []map[string]string{outside, above} {
					if _, err := Find(tree.base, dirs, pid); err == nil {
						t.Errorf("found at %v", dirs)
					}
				}
			}
			if _, err := Find("aerie-other", g.Folders(), pid); err == nil {
				t.Error("found in another tree")
			}
			if err := found.Clear(); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // killed
			if err := errors.Join(found.Remove(), tree.Close()); err != nil || exists(firstDir(g)) {
				t.Errorf("the group is left: %v", err)
			}
		})
	}
}

func firstDir(g *Group) string {
	for _, dir := range g.Dirs {
		return dir
	}
	return ""
}

// TestSweep: a host that comes after a killed one removes its groups, with those
// processes that should have ended with it.
func TestSweep(t *testing.T) {
	for version, tree := range realTrees(t) {
		t.Run(version, func(t *testing.T) {
			var cmds []*exec.Cmd
			for _, name := range []string{"lives", "ends"} {
				g, err := tree.New(name, Limits{})
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command("sleep", "3600")
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				cmds = append(cmds, cmd)
				if err := g.Add(cmd.Process.Pid); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := tree.New("empty", Limits{}); err != nil {
				t.Fatal(err)
			}
			again := &Tree{root: tree.root, base: tree.base, own: tree.own, v2: tree.v2}
			if err := again.Sweep(func(name string) bool { return name == "ends" }); err != nil {
				t.Error(err)
			}
			_ = cmds[1].Wait() // killed by Sweep, or this takes an hour
			left := again.groups()
			if len(left) != 1 || left["lives"] == nil {
				t.Errorf("left: %v, want lives", left)
			}
			if err := cmds[0].Process.Kill(); err != nil {
				t.Error(err)
			}
			_ = cmds[0].Wait() // killed
			if err := errors.Join(again.Sweep(func(string) bool { return false }), again.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}
