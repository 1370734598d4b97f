//go:build unix

package whole

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"aerie/admin"
	"aerie/internal/rawhttp"
	"aerie/test/hosttest"
)

// TestCrashLoopAmongTwenty has one of 20 pools crash again and again while it
// serves: it is failed after its limit, with the reason, and not one request of
// the other 19 fails.
func TestCrashLoopAmongTwenty(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	for _, hosting := range []string{"inprocess", "outofprocess"} {
		t.Run(hosting, func(t *testing.T) {
			sites := siteOf("looping", "looping", hosting) + "restart_delay = \"10ms\"\nrestart_delay_max = \"10ms\"\nfailure = { max_crashes = 6 }\n"
			pools := map[string]string{"looping": bin}
			for i := range 19 {
				name := fmt.Sprintf("good%d", i)
				sites += siteOf(name, name, []string{"inprocess", "outofprocess"}[i%2])
				pools[name] = bin
			}
			h := hosttest.New(t, sites, pools).Start()
			var stops []func() *rawhttp.Report
			for name := range pools {
				if name != "looping" {
					stops = append(stops, load(t, h, name+".test", 2))
				}
			}
			for i := 0; i < 50 && h.Pool("looping").State != "failed"; i++ {
				_, _, _ = h.TryGet("looping.test", "/exit?code=7") // ends in whatever way
			}
			p := h.Pool("looping")
			if want := "max_crashes (6) within 5m0s; the last: generation 6 crashed: exit status 7"; p.LastReason != want || p.Crashes != 6 {
				t.Errorf("%d crashes, reason %q; want %q", p.Crashes, p.LastReason, want)
			}
			if status, _ := h.Get("looping.test", "/pid?failed"); status != 503 {
				t.Errorf("a request to the failed pool: %d", status)
			}
			h.WaitFor("the reason in the access log", func() bool {
				log, err := os.ReadFile(filepath.Join(h.Dir, "state", "logs", "access.log"))
				return err == nil && strings.Contains(string(log), `AppOffline: pool \"looping\"`) && strings.Contains(string(log), p.LastReason)
			})
			for _, stop := range stops {
				stop()
			}
			for _, p := range h.Status().Pools {
				if p.Name != "looping" && (p.State != "running" || p.Generation != 1) {
					t.Errorf("%s is %s in generation %d", p.Name, p.State, p.Generation)
				}
			}
		})
	}
}

// TestTwentyCrashLoopsDisturbNobody has 20 pools crash for as long as it lasts:
// most do not get up, the others are ended by a request whenever they are up.
// Pools of each mode get new binaries, are recycled and reloaded beside them, and
// not one of their requests fails.
func TestTwentyCrashLoopsDisturbNobody(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	modes := []string{"handover", "relay", "forward"}
	sites, pools := behaving, map[string]string{"handover": bin, "relay": bin, "forward": bin}
	const endless = "restart_delay = \"20ms\"\nrestart_delay_max = \"400ms\"\nfailure = { max_crashes = 0 }\n"
	var looping, ended []string
	for i := range 20 {
		name := fmt.Sprintf("loop%d", i)
		looping = append(looping, name)
		sites += siteOf(name, name, []string{"inprocess", "outofprocess"}[i%2]) + endless
		if i < 4 {
			pools[name] = bin
			ended = append(ended, name)
		}
	}
	h := hosttest.New(t, sites, pools)
	for _, name := range looping[len(ended):] {
		h.InstallScript(name, name, broken)
	}
	h.StartOnly()
	h.Wait("the good pools to run", func(s admin.Status) bool {
		for _, name := range modes {
			if hosttest.PoolOf(t, s, name).State != "running" {
				return false
			}
		}
		return true
	})
	over := make(chan struct{})
	var enders sync.WaitGroup
	for _, name := range ended {
		enders.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(50 * time.Millisecond): // between two crashes
					_, _, _ = h.TryGet(name+".test", "/exit?code=1") // ends in whatever way
				}
			}
		})
	}
	var stops []func() *rawhttp.Report
	for _, name := range modes {
		stops = append(stops, load(t, h, name+".test", 8))
	}
	n := times(100, 6)
	for i := range n {
		for _, name := range modes {
			h.Install(name, name, bin)
			if _, err := h.Client.Pool(t.Context(), name, admin.Recycle); err != nil {
				t.Fatalf("recycle %d of %s: %v", i+1, name, err)
			}
		}
		app := `pool = "forward", process = "forward", `
		h.WriteSites(strings.Replace(sites, app, app+fmt.Sprintf(`env = { ROUND = "%d" }, `, i), 1))
		if _, err := h.Client.Reload(t.Context()); err != nil {
			t.Fatalf("reload %d: %v", i+1, err)
		}
	}
	for _, stop := range stops {
		stop()
	}
	close(over)
	enders.Wait()
	s := h.Status()
	for _, name := range modes {
		if p := hosttest.PoolOf(t, s, name); p.Crashes > 0 || p.Recycles < n {
			t.Errorf("%s: %d crashes, %d recycles, reason %q", name, p.Crashes, p.Recycles, p.LastReason)
		}
	}
	for _, name := range looping {
		if p := hosttest.PoolOf(t, s, name); p.State == "failed" || p.Generation < 3 {
			t.Errorf("%s is %s in generation %d: it was to crash all the time", name, p.State, p.Generation)
		}
	}
}

// siteOf is a site with a pool of its own, whose table is open for more keys.
func siteOf(name, process, hosting string) string {
	return fmt.Sprintf(`
[[sites]]
name = %q
bindings = ["http://%s.test:PORT"]
apps = [{ pool = %q, process = %q, hosting = %q }]
[pools.%s]
`, name, name, name, process, hosting, name)
}
