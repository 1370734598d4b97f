//go:build unix

package whole

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"aerie/admin"
	"aerie/internal/rawhttp"
	"aerie/test/hosttest"
)

// TestBadReleaseNeverReplaces puts programs into the pools' folders that end at
// once, that hang, and that say that they are sick. None takes over, none costs a
// request, and the status has the reason with their last lines. One that works
// does take over.
func TestBadReleaseNeverReplaces(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	modes := []string{"handover", "relay", "forward"}
	sites := behaving
	for _, name := range modes {
		sites += fmt.Sprintf("\n[pools.%s]\nstartup_timeout = \"3s\"\nhealth = { path = \"/healthz\", interval = \"50ms\" }\n", name)
	}
	h := hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	first := pidsOf(h.Status())
	var stops []func() *rawhttp.Report
	for _, name := range modes {
		stops = append(stops, load(t, h, name+".test", 8))
	}
	for i, release := range []struct {
		name, program string
		reasons       map[string]string // by hosting
	}{
		{"crashes", "echo no database >&2\nexit 3\n", map[string]string{"inprocess": "(exit status 3)", "outofprocess": "(exit status 3)"}},
		{"hangs", "echo no database >&2\nexec sleep 300\n", map[string]string{
			"inprocess": "not ready within startup_timeout (3s)", "outofprocess": "neither AERIE_SOCKET nor PORT"}},
		{"is sick", "echo no database >&2\nexport BEHAVE_SICK=1\nexec " + bin + "\n", map[string]string{
			"inprocess":    "not healthy within startup_timeout (3s): GET /healthz: 503",
			"outofprocess": "not healthy within startup_timeout (3s): GET /healthz: 503"}},
	} {
		t.Run(release.name, func(t *testing.T) {
			for name, err := range releaseAll(t, h, modes, func(name string) { h.InstallScript(name, name, "#!/bin/sh\n"+release.program) }) {
				if err == nil {
					t.Errorf("%s: the recycle succeeded", name)
				}
			}
			s := h.Status()
			for _, name := range modes {
				p := hosttest.PoolOf(t, s, name)
				if p.State != "running" || len(p.Workers) != 1 || p.Workers[0].Generation != 1 || p.Crashes+p.Recycles > 0 {
					t.Errorf("%s: %+v", name, p)
				}
				generation := fmt.Sprintf("generation %d did not start", i+2)
				if !strings.Contains(p.LastReason, generation) || !strings.Contains(p.LastReason, release.reasons[p.Hosting]) {
					t.Errorf("%s: reason %q, want %q and %q", name, p.LastReason, generation, release.reasons[p.Hosting])
				}
				if len(p.LastOutput) == 0 || p.LastOutput[0] != "no database" {
					t.Errorf("%s: it printed %q", name, p.LastOutput)
				}
			}
			out, err := h.CLI("status")
			if err != nil || strings.Count(out, "| no database") != len(modes) || strings.Count(out, "did not start") != len(modes) {
				t.Errorf("status: %v\n%s", err, out)
			}
			if now := pidsOf(s); fmt.Sprint(now) != fmt.Sprint(first) {
				t.Errorf("processes %v, were %v", now, first)
			}
		})
	}
	for name, err := range releaseAll(t, h, modes, func(name string) { h.Install(name, name, bin) }) {
		if err != nil {
			t.Errorf("%s: the release that works: %v", name, err)
		}
	}
	h.Wait("the first release to end", func(s admin.Status) bool {
		for _, name := range modes {
			if p := hosttest.PoolOf(t, s, name); len(p.Workers) != 1 || p.Generation != 5 {
				return false
			}
		}
		return true
	})
	last := pidsOf(h.Status())
	for i, name := range modes {
		if _, body := h.Get(name+".test", "/pid"); body != fmt.Sprintln(last[name]) {
			t.Errorf("%s: process %q answers, want %d", name, body, last[name])
		}
		r := stops[i]()
		delete(r.Pids, fmt.Sprint(first[name]))
		delete(r.Pids, fmt.Sprint(last[name]))
		if len(r.Pids) > 0 {
			t.Errorf("%s: processes of bad releases answered: %v", name, r.Pids)
		}
	}
}

// releaseAll puts a program into each pool's folder and recycles all at once. It
// returns how that ended.
func releaseAll(t *testing.T, h *hosttest.Host, pools []string, install func(pool string)) map[string]error {
	t.Helper()
	for _, name := range pools {
		install(name)
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs = map[string]error{}
	)
	for _, name := range pools {
		wg.Go(func() {
			_, err := h.Client.Pool(t.Context(), name, admin.Recycle)
			mu.Lock()
			defer mu.Unlock()
			errs[name] = err
		})
	}
	wg.Wait()
	return errs
}

// pidsOf are the pools' processes.
func pidsOf(s admin.Status) map[string]int {
	pids := map[string]int{}
	for _, p := range s.Pools {
		for _, w := range p.Workers {
			pids[p.Name] = w.Pid
		}
	}
	return pids
}
