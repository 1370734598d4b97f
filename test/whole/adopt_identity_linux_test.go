package whole

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"aerie/admin"
	"aerie/test/hosttest"
)

// kept are pools with users of their own, two of them with one, and with limits.
var kept = strings.Replace(strangers, "user = \"6\"\ngroup = \"12\"", "user = \"65534\"", 1) + `
[pools.handover.limits]
memory = "64MiB"
processes = 60
[pools.relay.limits]
memory = "64MiB"
`

// TestRestartedHostOfOtherUsers kills the host of pools with users and limits of
// their own: the next one goes on with the same processes, reaches them in every
// way, and ends all that they have started with them.
func TestRestartedHostOfOtherUsers(t *testing.T) {
	needGroups(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := open(t, hosttest.New(t, kept, map[string]string{"handover": bin, "relay": bin, "forward": bin})).Start()
	get, getFor := keepAlive(t, h, "handover.test"), keepAliveFor(t, h, "handover.test")
	pids, left, bases := map[string]int{}, map[string][]int{}, map[string]bool{}
	for _, name := range []string{"handover", "relay"} {
		pids[name] = workerOf(t, h.Pool(name)).Pid
		left[name] = leave(t, h, name, 3).Pids
		bases[baseOf(t, pids[name])] = true
		bases[filepath.Dir(groupOf(t, pids[name], "memory"))] = true
	}
	delete(bases, ".") // version 2 has no folder for memory alone
	for range 2 {
		killHost(h)
		h.Start()
		for name, pid := range pids {
			if now := workerOf(t, h.Pool(name)).Pid; now != pid {
				t.Fatalf("%s: process %d, was %d\n%s", name, now, pid, h.Log())
			}
			if status, body := h.Get(name+".test", "/pid"); status != 200 || strings.TrimSpace(body) != strconv.Itoa(pid) {
				t.Errorf("%s: %d %q, want pid %d", name, status, body, pid)
			}
			expectGroup(t, pid, map[string]string{"memory/memory.limit_in_bytes": "67108864"}, map[string]string{"memory.max": "67108864"})
			for _, pid := range left[name] {
				if gone(pid) {
					t.Errorf("%s: process %d has ended with a host", name, pid)
				}
			}
		}
		if got := strings.TrimSpace(get("/pid")); got != strconv.Itoa(pids["handover"]) {
			t.Errorf("on the connection from before: process %q", got)
		}
		if got, want := strings.TrimSpace(getFor("forward.test", "/pid")), strconv.Itoa(workerOf(t, h.Pool("forward")).Pid); got != want {
			t.Errorf("for another site, on the connection from before: process %q, want %q", got, want)
		}
	}
	group := groupOf(t, pids["relay"], "memory") + groupOf(t, pids["relay"], "")
	if _, err := h.Client.Pool(t.Context(), "relay", admin.Recycle); err != nil {
		t.Error(err)
	}
	h.WaitFor("the group of the process that was replaced to go", func() bool {
		_, err := os.Stat(group)
		return errors.Is(err, os.ErrNotExist)
	})
	h.Signal(syscall.SIGTERM)
	if err := h.Exited(); err != nil {
		t.Error(err)
	}
	for name, pid := range pids {
		for _, pid := range append(left[name], pid) {
			h.WaitFor(fmt.Sprintf("%s: process %d to end", name, pid), func() bool { return gone(pid) })
		}
	}
	for base := range bases {
		if entries, err := os.ReadDir(base); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left in %s: %v, %v", base, entries, err)
		}
	}
	if dirs, err := filepath.Glob(filepath.Join(h.Dir, "run", "p", "*", "*")); err != nil || len(dirs) > 0 {
		t.Errorf("left: %v, %v", dirs, err)
	}
}

// TestOutOfMemoryAfterRestart: of an adopted process no exit status is known, but
// that its pool was at its limit of memory is.
func TestOutOfMemoryAfterRestart(t *testing.T) {
	needGroups(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := open(t, hosttest.New(t, kept, map[string]string{"handover": bin, "relay": bin, "forward": bin})).Start()
	pid := workerOf(t, h.Pool("handover")).Pid
	killHost(h)
	h.Start()
	if now := workerOf(t, h.Pool("handover")).Pid; now != pid {
		t.Fatalf("process %d, was %d", now, pid)
	}
	for i := 0; grow(h, "handover", 4<<20) == nil; i++ {
		if i > 64 {
			t.Fatal("it grows without end")
		}
	}
	s := h.Wait("the pool to restart", func(s admin.Status) bool {
		p := hosttest.PoolOf(t, s, "handover")
		return p.Crashes == 1 && p.State == "running"
	})
	if p := hosttest.PoolOf(t, s, "handover"); !strings.Contains(p.LastReason, "out of memory in the pool's limit of 64MiB") {
		t.Errorf("reason %q", p.LastReason)
	}
}
