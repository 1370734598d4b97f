package whole

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"aerie/admin"
	"aerie/internal/cgroup"
	"aerie/test/behave"
	"aerie/test/hosttest"
)

// memoryLimit is little, but enough for the application to start, also with the
// race detector in it.
const memoryLimit = 64 << 20

const contained = behaving + `
[pools.handover]
restart_delay = "10ms"
[pools.handover.limits]
cpu = 1.5
memory = "64MiB"
processes = 60
open_files = 777
core_size = "1MiB"
locked_memory = "16KiB"
cpus = "0"
[pools.forward]
restart_delay = "10ms"
[pools.forward.limits]
memory = "64MiB"
processes = 60
open_files = 777
`

// needGroups skips a test that needs control groups that the test may make, but
// not under CI, which may.
func needGroups(t *testing.T) {
	t.Helper()
	needRoot(t)
	err := errors.New("none")
	tree, openErr := cgroup.Open("aerie-test")
	if openErr == nil {
		err = nil
		for _, r := range tree.Refused(cgroup.Limits{CPU: 1, Memory: 1, Processes: 1}) {
			err = errors.Join(err, r.Err)
		}
	}
	if err = errors.Join(openErr, err); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("under CI control groups can be made: %v", err)
	}
	t.Skipf("no control groups: %v", err)
}

// groupOf is the folder of a process's control group, "" if it has none of the
// host's.
func groupOf(t *testing.T, pid int, controller string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if (f[1] == controller || f[0] == "0" && f[1] == "" && controller == "") && strings.Contains(f[2], "/aerie-") {
			return filepath.Join("/sys/fs/cgroup", f[1], f[2])
		}
	}
	return ""
}

// grow has the application take n bytes more. It is a POST, because a GET that was
// not answered is sent to the next generation.
func grow(h *hosttest.Host, site string, n int) error {
	status, body, err := h.Try("POST", site+".test", "/grow?n="+strconv.Itoa(n))
	if err == nil && status != 200 {
		err = fmt.Errorf("%d %s", status, body)
	}
	return err
}

// TestLimits sets every limit and reads from the kernel what holds for the
// worker processes. Requests are answered, and nothing is left afterwards.
func TestLimits(t *testing.T) {
	needGroups(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, contained, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	handover, forward := h.Pool("handover").Workers[0].Pid, h.Pool("forward").Workers[0].Pid
	expectGroup(t, handover, map[string]string{
		"memory/memory.limit_in_bytes": "67108864", "memory/memory.memsw.limit_in_bytes": "67108864", "pids/pids.max": "60",
		"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000", "freezer/cgroup.procs": strconv.Itoa(handover),
	}, map[string]string{"memory.max": "67108864", "pids.max": "60", "cpu.max": "150000 100000", "cgroup.procs": strconv.Itoa(handover)})
	expectGroup(t, forward, map[string]string{
		"memory/memory.limit_in_bytes": "67108864", "pids/pids.max": "60", "freezer/cgroup.procs": strconv.Itoa(forward),
	}, map[string]string{"memory.max": "67108864", "pids.max": "60"})
	if relay := h.Pool("relay").Workers[0].Pid; groupOf(t, relay, "memory") != "" {
		t.Error("a pool without limits is limited")
	}
	expectRlimits(t, handover, "Max open files 777 777", "Max core file size 1048576 1048576", "Max locked memory 16384 16384")
	expectRlimits(t, forward, "Max open files 777 777")
	if got := status(t, handover)["Cpus_allowed_list"]; got != "0" {
		t.Errorf("it may run on CPUs %q", got)
	}
	for _, name := range []string{"handover", "forward"} {
		if status, body := h.Get(name+".test", "/env?name=GOMEMLIMIT"); status != 200 || body != strconv.Itoa(memoryLimit/10*9) {
			t.Errorf("%s: GOMEMLIMIT is %q (%d)", name, body, status)
		}
	}
	base := baseOf(t, forward)
	h.Signal(syscall.SIGTERM)
	if err := h.Exited(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(base); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %s, %v", base, err)
	}
}

// expectGroup compares files of a process's control group with v1, by controller,
// or with v2, as the machine has it.
func expectGroup(t *testing.T, pid int, v1, v2 map[string]string) {
	t.Helper()
	want := map[string]string{}
	for name, value := range v1 {
		controller, file, _ := strings.Cut(name, "/")
		want[filepath.Join(groupOf(t, pid, controller), file)] = value
	}
	if groupOf(t, pid, "freezer") == "" {
		want = map[string]string{}
		for file, value := range v2 {
			want[filepath.Join(groupOf(t, pid, ""), file)] = value
		}
	}
	for file, value := range want {
		if b, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(b)) != value {
			t.Errorf("%s is %q, %v; want %q", file, b, err, value)
		}
	}
}

// baseOf is the folder of all of the host's groups.
func baseOf(t *testing.T, pid int) string {
	t.Helper()
	if dir := groupOf(t, pid, "freezer"); dir != "" {
		return filepath.Dir(dir)
	}
	return filepath.Dir(groupOf(t, pid, ""))
}

// expectRlimits wants lines of /proc/PID/limits, without their unit.
func expectRlimits(t *testing.T, pid int, lines ...string) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(b)), " ")
	for _, line := range lines {
		if !strings.Contains(text, line+" ") {
			t.Errorf("limits are not %q:\n%s", line, b)
		}
	}
}

// TestOutOfMemory has an application of each kind take more memory than its pool
// may have: the pool says so and restarts, and the others notice nothing.
func TestOutOfMemory(t *testing.T) {
	needGroups(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, contained, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	for _, name := range []string{"handover", "forward"} {
		t.Run(name, func(t *testing.T) {
			stop := load(t, h, "relay.test", 8)
			before, others := h.Pool(name), h.Status()
			for i := 0; grow(h, name, 4<<20) == nil; i++ {
				if i > 64 {
					t.Fatal("it grows without end")
				}
			}
			after := h.Wait("the pool to restart", func(s admin.Status) bool {
				p := hosttest.PoolOf(t, s, name)
				return p.Crashes == before.Crashes+1 && p.State == "running"
			})
			stop()
			const want = "out of memory in the pool's limit of 64MiB"
			if !strings.Contains(h.Log(), "pool="+name) || !strings.Contains(h.Log(), want) {
				t.Errorf("the log does not say %q", want)
			}
			if p := hosttest.PoolOf(t, after, name); !strings.Contains(p.LastReason, want) {
				t.Errorf("reason %q, want %q", p.LastReason, want)
			}
			for _, other := range []string{"relay", "handover", "forward"} {
				if p := hosttest.PoolOf(t, after, other); other != name && p.Generation != hosttest.PoolOf(t, others, other).Generation {
					t.Errorf("pool %s restarted too", other)
				}
			}
			if status, _ := h.Get(name+".test", "/pid"); status != 200 {
				t.Errorf("after the restart: %d", status)
			}
		})
	}
}

// TestProcessLimit: an application that starts more processes than it may is
// refused by the kernel, and goes on.
func TestProcessLimit(t *testing.T) {
	needGroups(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, contained, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	for _, name := range []string{"handover", "forward"} {
		left := leave(t, h, name, 100)
		if len(left.Pids) >= 60 || !strings.Contains(left.Err, "resource temporarily unavailable") {
			t.Errorf("%s: started %d processes, then %q", name, len(left.Pids), left.Err)
		}
		if status, _ := h.Get(name+".test", "/pid"); status != 200 {
			t.Errorf("%s: %d", name, status)
		}
	}
}

func leave(t *testing.T, h *hosttest.Host, name string, n int) (left behave.Left) {
	t.Helper()
	_, body := h.Get(name+".test", "/leave?n="+strconv.Itoa(n))
	if err := json.Unmarshal([]byte(body), &left); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	t.Cleanup(func() {
		for _, pid := range left.Pids {
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && string(b) == "sleep\n" {
				_ = syscall.Kill(pid, syscall.SIGKILL) // of a test that did not pass
			}
		}
	})
	return left
}

// gone says whether a process has ended; that nobody has reaped it is not its
// fault.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// TestTreeEnds: processes that have left the session and the group of their worker
// process end with it all the same, with limits and without, however it ends.
func TestTreeEnds(t *testing.T) {
	needGroups(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, contained, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	ways := map[string]func(name string){
		"stop": func(name string) {
			if _, err := h.Client.Pool(t.Context(), name, admin.Stop); err != nil {
				t.Error(err)
			}
			if _, err := h.Client.Pool(t.Context(), name, admin.Start); err != nil {
				t.Error(err)
			}
		},
		"recycle": func(name string) {
			if _, err := h.Client.Pool(t.Context(), name, admin.Recycle); err != nil {
				t.Error(err)
			}
		},
		"kill": func(name string) {
			if err := syscall.Kill(h.Pool(name).Workers[0].Pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		},
		"exit": func(name string) { _, _, _ = h.TryGet(name+".test", "/exit?code=3") }, // has no answer
	}
	for how, end := range ways {
		for _, name := range []string{"handover", "relay", "forward"} {
			t.Run(how+" "+name, func(t *testing.T) {
				left := leave(t, h, name, 5)
				if len(left.Pids) != 5 {
					t.Fatal(left)
				}
				end(name)
				for _, pid := range left.Pids {
					h.WaitFor(fmt.Sprintf("process %d to end", pid), func() bool { return gone(pid) })
				}
				h.Wait("the pool to run", func(s admin.Status) bool { return hosttest.PoolOf(t, s, name).State == "running" })
			})
		}
	}
}

// TestTreeEndsWithKilledHost: what an application server has left behind ends
// with a host that is killed; what an in-process worker has lives as that does,
// and the next host finds and ends what is to end.
func TestTreeEndsWithKilledHost(t *testing.T) {
	needGroups(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	sites := strings.Replace(contained, "[host.limits]", "[host]\nhost_away = \"1s\"\n[host.limits]", 1)
	h := hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	left := leave(t, h, "forward", 3)
	base := baseOf(t, h.Pool("forward").Workers[0].Pid)
	worker := h.Pool("handover").Workers[0].Pid
	h.Signal(syscall.SIGKILL)
	h.Exited()
	for _, pid := range left.Pids {
		h.WaitFor(fmt.Sprintf("process %d to end", pid), func() bool { return gone(pid) })
	}
	h.WaitFor("the worker process to end", func() bool { return gone(worker) })
	h.Start() // and it removes the groups that the first one has left
	h.Signal(syscall.SIGTERM)
	if err := h.Exited(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(base); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left in %s: %v, %v", base, entries, err)
	}
}

// TestLimitsRefused: a limit that cannot be set keeps its pool from starting, with
// the reason in status and in `aerie check`, unless it is not required.
func TestLimitsRefused(t *testing.T) {
	needRoot(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	sites := behaving + "[pools.handover.limits]\nmemory = \"64MiB\"\n[pools.relay.limits]\ncpus = \"8000\"\n[pools.forward.limits]\nmemory = \"64MiB\"\nrequired = false\n"
	h := open(t, hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}))
	giveTo(t, h, 65534) // who may make no control groups
	h.StartOnly()
	for name, want := range map[string]string{
		"handover": "limits.memory: ",
		"relay":    `set "cpus": there is no CPU 8000`,
	} {
		h.Wait(name+" not to start", func(s admin.Status) bool {
			return strings.Contains(hosttest.PoolOf(t, s, name).LastReason, want)
		})
	}
	if status, _ := h.Get("forward.test", "/pid"); status != 200 {
		t.Errorf("without its limit: %d", status)
	}
	out, err := h.CLI("check", "--json")
	for _, want := range []string{`pool \"handover\" cannot start: `, `pool \"relay\" cannot start: there is no CPU 8000`, `pool \"forward\" runs without this limit: `} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("check: %v\n%s\nwant %s", err, out, want)
		}
	}
}

// TestStacksOfStuckWorkers: a worker process that does not stop in time leaves the
// stacks of its goroutines in the pool's log, and is gone.
func TestStacksOfStuckWorkers(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	sites := strings.NewReplacer(`hosting = "inprocess"`, `env = { BEHAVE_STOP = "hang" }, hosting = "inprocess"`,
		`hosting = "outofprocess"`, `env = { BEHAVE_STOP = "hang" }, hosting = "outofprocess"`).Replace(behaving)
	for _, name := range []string{"handover", "relay", "forward"} {
		sites += "[pools." + name + "]\nshutdown_timeout = \"200ms\"\n"
	}
	h := hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	for _, name := range []string{"handover", "forward"} {
		pid := h.Pool(name).Workers[0].Pid
		if _, err := h.Client.Pool(t.Context(), name, admin.Stop); err != nil {
			t.Error(err)
		}
		if hosttest.Alive(pid) {
			t.Errorf("%s: the process is left", name)
		}
		b, err := os.ReadFile(filepath.Join(h.Dir, "state", "logs", name+".log"))
		if err != nil || !strings.Contains(string(b), "SIGQUIT: quit") || !strings.Contains(string(b), "goroutine 1 ") || !strings.Contains(string(b), "main.main.func1") {
			t.Errorf("%s: %v, no stacks in the log:\n%s", name, err, b)
		}
	}
}
