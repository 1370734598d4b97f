//go:build unix

package whole

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"aerie/admin"
	"aerie/internal/rawhttp"
	"aerie/test/hosttest"
)

// broken is a program that does not get as far as to serve.
const broken = "#!/bin/sh\necho no database >&2\nexit 3\n"

// TestCrashLoopFailsOnePool has the program of one pool break for good: after
// max_crashes the pool is failed and says why, and its neighbours lose nothing.
// A start by hand brings it back.
func TestCrashLoopFailsOnePool(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	sites := behaving
	for _, name := range []string{"handover", "forward"} {
		sites += fmt.Sprintf(`
[pools.%s]
restart_delay = "20ms"
[pools.%s.failure]
max_crashes = 4
second_chance = "0s"
on_failed = ["/bin/sh", "-c", "echo told of $AERIE_POOL: $AERIE_REASON"]
`, name, name)
	}
	h := hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	for _, name := range []string{"handover", "forward"} {
		t.Run(name, func(t *testing.T) {
			var stops []func()
			for _, other := range []string{"handover", "relay", "forward"} {
				if other != name {
					stop := load(t, h, other+".test", 8)
					stops = append(stops, func() { stop() })
				}
			}
			pid := h.Pool(name).Workers[0].Pid
			h.InstallScript(name, name, broken)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			s := h.Wait("the pool to be failed", func(s admin.Status) bool { return hosttest.PoolOf(t, s, name).State == "failed" })
			p := hosttest.PoolOf(t, s, name)
			if p.Generation != 4 || !strings.Contains(p.LastReason, "max_crashes (4)") || !strings.Contains(strings.Join(p.LastOutput, "\n"), "no database") {
				t.Errorf("generation %d; reason %q; it printed %q", p.Generation, p.LastReason, p.LastOutput)
			}
			if status, body := h.Get(name+".test", "/pid"); status != 503 || strings.Contains(body, "database") {
				t.Errorf("a request to the failed pool: %d %q", status, body)
			}
			h.WaitFor("the reason in the access log", func() bool {
				log, err := os.ReadFile(filepath.Join(h.Dir, "state", "logs", "access.log"))
				return err == nil && strings.Contains(string(log), `AppOffline: pool \"`+name+`\"`) && strings.Contains(string(log), "max_crashes (4)")
			})
			out, err := h.CLI("status")
			if err != nil || !strings.Contains(out, "failed") || !strings.Contains(out, "| no database") {
				t.Errorf("status: %v\n%s", err, out)
			}
			h.WaitFor("on_failed to be run", func() bool { return strings.Contains(h.Log(), "told of "+name+": max_crashes (4)") })

			h.Install(name, name, bin)
			if out, err := h.CLI("pool", "start", name); err != nil {
				t.Fatalf("start: %v\n%s", err, out)
			}
			if status, body := h.Get(name+".test", "/pid"); status != 200 {
				t.Errorf("after the start: %d %q", status, body)
			}
			for _, stop := range stops {
				stop()
			}
		})
	}
}

// TestOnFailedEndsWithTheHost: a command that does not end does not keep the host.
func TestOnFailedEndsWithTheHost(t *testing.T) {
	h := hosttest.New(t, behaving+`
[pools.forward.failure]
max_crashes = 1
on_failed = ["/bin/sh", "-c", "echo $$ > told; sleep 300"]
`, map[string]string{"handover": hosttest.Bin(t, "aerie/test/apps/behave"), "relay": hosttest.Bin(t, "aerie/test/apps/behave")})
	h.InstallScript("forward", "forward", broken)
	h.StartOnly()
	var pid int
	h.WaitFor("on_failed to be run", func() bool {
		told, err := os.ReadFile(filepath.Join(h.Dir, "told"))
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(told)))
		}
		return err == nil
	})
	begun := time.Now()
	h.Signal(syscall.SIGTERM)
	if err := h.Exited(); err != nil {
		t.Errorf("the host ended with %v\n%s", err, h.Log())
	}
	if took := time.Since(begun); took > 10*time.Second || hosttest.Alive(pid) {
		t.Errorf("the host took %v; the command lives: %v", took, hosttest.Alive(pid))
	}
}

// TestRecycleByRequests recycles every few hundred requests under load: no
// request fails and no connection is closed.
func TestRecycleByRequests(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	modes := []string{"handover", "relay", "forward"}
	sites := behaving
	for _, name := range modes {
		sites += fmt.Sprintf("\n[pools.%s.recycle]\nrequests = 200\nspacing = \"100ms\"\n", name)
	}
	h := hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	var stops []func() *rawhttp.Report
	for _, name := range modes {
		stops = append(stops, load(t, h, name+".test", 8))
	}
	h.Wait("every pool to be recycled twice", func(s admin.Status) bool {
		for _, name := range modes {
			if hosttest.PoolOf(t, s, name).Recycles < 2 {
				return false
			}
		}
		return true
	})
	for _, stop := range stops {
		if r := stop(); len(r.Pids) < 2 {
			t.Errorf("%d processes answered", len(r.Pids))
		}
	}
	for _, name := range modes {
		if p := h.Pool(name); !strings.HasPrefix(p.LastReason, "recycle.requests: ") || p.Crashes > 0 {
			t.Errorf("%s: %q, %d crashes", name, p.LastReason, p.Crashes)
		}
	}
}

// TestRecycleWithoutOverlap recycles programs that may not run twice, under
// load: the new process starts when the old one is gone, and no request fails.
func TestRecycleWithoutOverlap(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	modes := []string{"handover", "relay", "forward"}
	sites := behaving
	for _, name := range modes {
		sites += fmt.Sprintf("\n[pools.%s.recycle]\noverlap = false\n", name)
	}
	h := hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	for _, name := range modes {
		t.Run(name, func(t *testing.T) {
			stop := load(t, h, name+".test", 16)
			for range 4 {
				before := h.Pool(name).Workers[0].Pid
				if _, err := h.Client.Pool(t.Context(), name, admin.Recycle); err != nil {
					t.Fatal(err)
				}
				if hosttest.Alive(before) {
					t.Errorf("process %d is alive beside its successor", before)
				}
			}
			stop()
		})
	}
}

// TestOnDemand: no process before the first request, which waits for it, in
// every mode.
func TestOnDemand(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	modes := []string{"handover", "relay", "forward"}
	sites := behaving
	for _, name := range modes {
		sites += fmt.Sprintf("\n[pools.%s]\nstart = \"on_demand\"\n", name)
	}
	h := hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin})
	h.StartOnly()
	for _, name := range modes {
		if p := h.Pool(name); p.State != "idle" || len(p.Workers) > 0 {
			t.Errorf("%s is %s with %d processes before the first request", name, p.State, len(p.Workers))
		}
		stop := load(t, h, name+".test", 8) // they all are the first one
		h.Wait("the pool to run", func(s admin.Status) bool { return hosttest.PoolOf(t, s, name).State == "running" })
		stop()
		if p := h.Pool(name); p.Generation != 1 {
			t.Errorf("%s: generation %d", name, p.Generation)
		}
	}
}

// TestReloadStartsPools: a pool that waits for its first request, and one that no
// application named, are started by a reload that says so.
func TestReloadStartsPools(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	forward := strings.Index(behaving, "[[sites]]\nname = \"forward\"")
	const always, onDemand, unnamed = "\n[pools.relay]\n", "\n[pools.relay]\nstart = \"on_demand\"\n", "\n[pools.forward]\n"
	h := hosttest.New(t, behaving[:forward]+onDemand+unnamed, map[string]string{"handover": bin, "relay": bin, "forward": bin})
	h.StartOnly()
	for name, want := range map[string]string{"relay": "idle", "forward": "stopped"} {
		if p := h.Pool(name); p.State != want {
			t.Errorf("%s is %s, want %s", name, p.State, want)
		}
	}
	h.WriteSites(behaving + always + unnamed)
	if out, err := h.CLI("reload"); err != nil {
		t.Fatalf("reload: %v\n%s", err, out)
	}
	for _, name := range []string{"relay", "forward"} {
		if p := h.Pool(name); p.State != "running" {
			t.Errorf("%s is %s after the reload", name, p.State)
		}
	}
}

// TestIdleStop lets pools fall asleep between the requests of clients that keep
// their connections and never retry, and wakes them again: no request fails and
// no connection is closed.
func TestIdleStop(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	modes := []string{"handover", "relay", "forward"}
	sites := behaving
	for _, name := range modes {
		sites += fmt.Sprintf("\n[pools.%s]\nidle_timeout = \"40ms\"\n", name)
	}
	h := hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin})
	h.StartOnly() // one may sleep before another one is up
	var stops []func() *rawhttp.Report
	for _, name := range modes {
		stops = append(stops, run(t, h, rawhttp.Load{
			Host: name + ".test", Conns: 3, Idle: 400 * time.Millisecond, Mix: rawhttp.Mix{Get: 1, Post: 1, Pipelined: 1, Idle: 3},
		}))
	}
	h.Wait("every pool to have slept often", func(s admin.Status) bool {
		for _, name := range modes {
			if hosttest.PoolOf(t, s, name).Generation < 6 {
				return false
			}
		}
		return true
	})
	for _, stop := range stops {
		stop()
	}
	h.Wait("every pool to sleep", func(s admin.Status) bool {
		for _, name := range modes {
			if p := hosttest.PoolOf(t, s, name); p.State != "idle" || len(p.Workers) > 0 {
				return false
			}
		}
		return true
	})
	for _, name := range modes {
		if p := h.Pool(name); p.Crashes > 0 || !strings.HasPrefix(p.LastReason, "idle: ") {
			t.Errorf("%s: %d crashes, %q", name, p.Crashes, p.LastReason)
		}
	}
}

// TestIdleConnectionWaits: a connection that its worker gives back when it is
// stopped waits in the host, without waking the pool, until its client speaks.
func TestIdleConnectionWaits(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, behaving+"\n[pools.handover]\nidle_timeout = \"500ms\"\n", map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	get := keepAlive(t, h, "handover.test")
	first := get("/pid")
	asleep := func(s admin.Status) bool {
		p := hosttest.PoolOf(t, s, "handover")
		return p.State == "idle" && len(p.Workers) == 0
	}
	h.Wait("the pool to sleep", asleep)
	if s := h.Status(); s.Connections != 1 {
		t.Errorf("%d connections, want the one that waits", s.Connections)
	}
	if second := get("/pid?second"); second == first {
		t.Errorf("process %s answers again", second)
	}
	h.Wait("the pool to sleep again", asleep)
	if p := h.Pool("handover"); p.Generation != 2 {
		t.Errorf("generation %d, want 2: somebody has woken the pool in between", p.Generation)
	}
	if via := ways(t, h, "handover", "/pid?second"); via["handover"] != 3 {
		t.Errorf("its requests came by %v", via)
	}
}

const probing = `
[pools.%s]
startup_timeout = "2s"
drain_timeout = "1s"
[pools.%s.recycle]
spacing = "100ms"
[pools.%s.health]
path = "/healthz"
interval = "50ms"
unhealthy_after = 2
`

// TestUnhealthyIsReplaced: an application that says that it is sick is replaced
// by an overlapping generation, and one that is sick from the beginning never
// takes over; no request of the others fails.
func TestUnhealthyIsReplaced(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	modes := []string{"handover", "relay", "forward"}
	sites := behaving
	for _, name := range modes {
		sites += strings.ReplaceAll(probing, "%s", name)
	}
	h := hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	for _, name := range modes {
		t.Run(name, func(t *testing.T) {
			stop := load(t, h, name+".test", 8)
			before := h.Pool(name).Workers[0].Pid
			if status, body := h.Get(name+".test", "/healthz/sick"); status != 200 {
				t.Fatalf("%d %q", status, body)
			}
			h.Wait("the sick process to be replaced and gone", func(s admin.Status) bool {
				p := hosttest.PoolOf(t, s, name)
				return p.Generation == 2 && len(p.Workers) == 1 && p.Workers[0].Pid != before && p.State == "running"
			})
			if p := h.Pool(name); p.LastReason != "unhealthy: 2 checks in a row have failed: GET /healthz: 503 Service Unavailable" || p.Crashes+p.Recycles != 1 {
				t.Errorf("reason %q, %d crashes, %d recycles", p.LastReason, p.Crashes, p.Recycles)
			}

			app := fmt.Sprintf(`process = "%s", `, name)
			h.WriteSites(strings.Replace(sites, app, app+`env = { BEHAVE_SICK = "1" }, `, 1))
			out, err := h.CLI("reload")
			if err == nil || !strings.Contains(err.Error(), "was not healthy within startup_timeout (2s): GET /healthz: 503") {
				t.Errorf("reload to a sick program: %v\n%s", err, out)
			}
			if p := h.Pool(name); p.State != "running" || p.Workers[0].Generation != 2 || !strings.Contains(p.LastReason, "not healthy") {
				t.Errorf("%s, generation %d, reason %q", p.State, p.Workers[0].Generation, p.LastReason)
			}
			h.WriteSites(sites)
			stop()
		})
	}
}

// TestHungIsReplaced: a worker process that is stopped, and one all of whose
// slots are taken by requests that do not end, is replaced.
func TestHungIsReplaced(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	sites := behaving + `
[pools.relay]
drain_timeout = "200ms"
shutdown_timeout = "200ms"
recycle = { spacing = "100ms" }
health = { interval = "50ms", timeout = "200ms", unhealthy_after = 2 }
`
	for _, name := range []string{"handover", "forward"} {
		sites += fmt.Sprintf(`
[pools.%s]
max_concurrent = 3
drain_timeout = "200ms"
shutdown_timeout = "200ms"
recycle = { spacing = "100ms" }
health = { hang_timeout = "1s" }
`, name)
	}
	h := hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	stopped := h.Pool("relay").Workers[0].Pid
	if err := syscall.Kill(stopped, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{}, 6)
	for _, name := range []string{"handover", "forward"} {
		for range 3 {
			go func() {
				_, _, _ = h.TryGet(name+".test", "/slow?d=1h") // cut, in whatever way
				ended <- struct{}{}
			}()
		}
	}
	for name, want := range map[string]string{
		"relay":    "unhealthy: 2 checks in a row have failed: no answer within the time-out (200ms)",
		"handover": "hung: 3 requests run",
		"forward":  "hung: 3 requests run",
	} {
		h.Wait(name+" to be replaced", func(s admin.Status) bool {
			p := hosttest.PoolOf(t, s, name)
			return p.Generation == 2 && len(p.Workers) == 1 && p.State == "running"
		})
		if p := h.Pool(name); !strings.HasPrefix(p.LastReason, want) {
			t.Errorf("%s: reason %q, want %q", name, p.LastReason, want)
		}
		if status, body := h.Get(name+".test", "/pid"); status != 200 {
			t.Errorf("%s: %d %q", name, status, body)
		}
	}
	for range cap(ended) {
		<-ended
	}
	if hosttest.Alive(stopped) {
		t.Errorf("process %d is left", stopped)
	}
}
