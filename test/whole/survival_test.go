//go:build unix

package whole

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"aerie/admin"
	"aerie/test/hosttest"
)

// TestKilledWorkerComesBack kills the process of each kind of pool: it is back
// after its back-off, requests that come meanwhile wait for it, and the other
// pools notice nothing.
func TestKilledWorkerComesBack(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, behaving, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	for _, name := range []string{"handover", "relay", "forward"} {
		t.Run(name, func(t *testing.T) {
			undisturbed := map[string]string{"handover": "forward", "relay": "forward", "forward": "handover"}[name]
			stop := load(t, h, undisturbed+".test", 8)
			before := h.Pool(name)
			if err := syscall.Kill(before.Workers[0].Pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			h.Wait("the crash to be noticed", func(s admin.Status) bool { return hosttest.PoolOf(t, s, name).Crashes == before.Crashes+1 })
			status, body := h.Get(name+".test", "/pid")
			if status != 200 || body == strconv.Itoa(before.Workers[0].Pid) {
				t.Errorf("after the crash: %d %q", status, body)
			}
			stop()
			after := h.Pool(name)
			if after.Generation != before.Generation+1 || !strings.Contains(after.LastReason, "killed") {
				t.Errorf("generation %d, was %d; reason %q", after.Generation, before.Generation, after.LastReason)
			}
		})
	}
}

// TestKilledHostLeavesNoOrphan kills the host: application servers end with it
// at once, worker processes when host_away is over.
func TestKilledHostLeavesNoOrphan(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	sites := strings.Replace(behaving, "[host.limits]", "[host]\nhost_away = \"2s\"\n[host.limits]", 1)
	h := hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	pids := map[string]int{}
	for _, p := range h.Status().Pools {
		pids[p.Name] = p.Workers[0].Pid
	}
	kept := keepAlive(t, h, "handover.test")
	h.Signal(syscall.SIGKILL)
	h.Exited()
	h.WaitFor("the child to end", func() bool { return !hosttest.Alive(pids["forward"]) })
	if !hosttest.Alive(pids["handover"]) {
		t.Error("the worker process ended with the host")
	}
	kept("/pid") // its connection is its own: it goes on answering while the host is away
	h.WaitFor("the workers to end", func() bool { return !hosttest.Alive(pids["handover"]) && !hosttest.Alive(pids["relay"]) })
}

// TestSecondHostIsRefused starts a second host on the same folders.
func TestSecondHostIsRefused(t *testing.T) {
	h := hosttest.New(t, behaving, map[string]string{"handover": hosttest.Bin(t, "aerie/test/apps/behave")})
	h.StartOnly()
	out, err := h.CLI("run")
	if err == nil || !strings.Contains(err.Error(), "another host uses this run_dir") {
		t.Errorf("second host: %v\n%s", err, out)
	}
	h.Status()
}

// TestInterruptDrains sends SIGINT to the host's whole process group, as a
// terminal does: requests in progress are finished, the host exits with 0, and
// nothing is left running.
func TestInterruptDrains(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, behaving, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	var pids []int
	for _, p := range h.Status().Pools {
		pids = append(pids, p.Workers[0].Pid)
	}
	type answer struct {
		host, body string
		status     int
		err        error
	}
	answers := make(chan answer)
	hosts := []string{"handover.test", "relay.test", "forward.test"}
	for _, host := range hosts {
		go func() {
			status, body, err := h.TryGet(host, "/slow?d=1s")
			answers <- answer{host, body, status, err}
		}()
	}
	h.Wait("the slow requests to run", func(s admin.Status) bool {
		active := 0
		for _, p := range s.Pools {
			for _, w := range p.Workers {
				active += w.Active
			}
		}
		return active == len(hosts)
	})
	if err := syscall.Kill(-h.Pid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for range hosts {
		if a := <-answers; a.err != nil || a.status != 200 {
			t.Errorf("%s: %d %q, %v", a.host, a.status, a.body, a.err)
		}
	}
	if err := h.Exited(); err != nil {
		t.Errorf("the host ended with %v\n%s", err, h.Log())
	}
	for _, pid := range pids {
		if hosttest.Alive(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
}

// TestSecondInterruptEndsAtOnce: a request that takes for ever does not keep the
// host from ending at the second signal.
func TestSecondInterruptEndsAtOnce(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, behaving, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	done := make(chan error, 1)
	go func() {
		_, _, err := h.TryGet("forward.test", "/slow?d=1h")
		done <- err
	}()
	h.Wait("the request to run", func(s admin.Status) bool { return hosttest.PoolOf(t, s, "forward").Workers[0].Active == 1 })
	h.Signal(syscall.SIGINT)
	h.WaitFor("the drain to begin", func() bool { return strings.Contains(h.Log(), "draining") })
	h.Signal(syscall.SIGINT)
	err := h.Exited()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 128+int(syscall.SIGINT) {
		t.Errorf("the host ended with %v, want exit status 130", err)
	}
	<-done
}
