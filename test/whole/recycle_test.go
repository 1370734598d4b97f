//go:build unix

package whole

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"aerie/admin"
	"aerie/internal/rawhttp"
	"aerie/test/hosttest"
)

// times is how often something is done that has to be done often. AERIE_LONG=1 is
// the full number.
func times(full, short int) int {
	if os.Getenv("AERIE_LONG") != "" {
		return full
	}
	return short
}

// load runs raw clients that never retry, until the returned function is called,
// which checks that not one request failed and not one connection was closed.
func load(t *testing.T, h *hosttest.Host, host string, conns int) (stop func() *rawhttp.Report) {
	t.Helper()
	return run(t, h, rawhttp.Load{Host: host, Conns: conns})
}

// run is load with clients of another kind.
func run(t *testing.T, h *hosttest.Host, l rawhttp.Load) (stop func() *rawhttp.Report) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l.Addr, l.Path, l.Closes, l.Limit = h.Addr, "/id", rawhttp.NeverCloses, 20*time.Second
	done := make(chan *rawhttp.Report, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(cancel)
	return func() *rawhttp.Report {
		t.Helper()
		cancel()
		r := <-done
		if err := r.Err(); err != nil {
			t.Errorf("%s: %v", l.Host, err)
		}
		t.Logf("%s: %v", l.Host, r)
		return r
	}
}

// TestRecycleUnderLoad recycles each mode's pool 200 times under 64 keep-alive
// connections, four times a second: no request fails and no connection is closed.
func TestRecycleUnderLoad(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, behaving, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	for _, mode := range []string{"handover", "relay", "forward"} {
		t.Run(mode, func(t *testing.T) {
			stop := load(t, h, mode+".test", 64)
			tick := time.NewTicker(250 * time.Millisecond)
			defer tick.Stop()
			recycles := times(200, 16)
			for i := range recycles {
				if _, err := h.Client.Pool(t.Context(), mode, admin.Recycle); err != nil {
					t.Fatalf("recycle %d: %v", i+1, err)
				}
				<-tick.C
			}
			r := stop()
			if len(r.Pids) < recycles/2 {
				t.Errorf("%d recycles, but only %d processes answered", recycles, len(r.Pids))
			}
			if p := h.Pool(mode); p.Recycles != recycles || p.Crashes > 0 {
				t.Errorf("%d recycles and %d crashes, want %d and none", p.Recycles, p.Crashes, recycles)
			}
			h.Wait("the old generations to end", func(s admin.Status) bool { return len(hosttest.PoolOf(t, s, mode).Workers) == 1 })
		})
	}
}

// TestSwitchOfHostingUnderLoad changes the one word in sites.toml and reloads,
// there and back, under load on that site and on another one.
func TestSwitchOfHostingUnderLoad(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, behaving, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	other := h.Pool("forward").Workers[0].Pid
	stop, stopOther := load(t, h, "handover.test", 32), load(t, h, "forward.test", 8)
	inprocess := `pool = "handover", process = "handover", hosting = "inprocess"`
	for i := range 6 {
		sites := behaving
		want := "inprocess"
		if i%2 == 0 {
			sites = strings.Replace(behaving, inprocess, strings.Replace(inprocess, "inprocess", "outofprocess", 1), 1)
			want = "outofprocess"
		}
		h.WriteSites(sites)
		if out, err := h.CLI("reload"); err != nil {
			t.Fatalf("reload: %v\n%s", err, out)
		}
		if p := h.Pool("handover"); p.Hosting != want || p.Generation != i+2 {
			t.Errorf("after reload %d: hosting %s, generation %d; want %s, %d", i, p.Hosting, p.Generation, want, i+2)
		}
		if status, _ := h.Get("handover.test", "/pid"); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	stop()
	stopOther()
	if pid := h.Pool("forward").Workers[0].Pid; pid != other {
		t.Errorf("the other site's process changed from %d to %d", other, pid)
	}
}
