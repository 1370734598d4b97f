package whole

import (
	"strings"
	"testing"

	"aerie/admin"
	"aerie/test/hosttest"
)

// TestRecycleByMemory has limits of memory that every process is over.
func TestRecycleByMemory(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, behaving+`
[pools.handover.recycle]
memory = "2MiB"
spacing = "100ms"
[pools.forward.recycle]
private_memory = "256KiB"
spacing = "100ms"
[pools.relay.recycle]
memory = "2GiB"
private_memory = "2GiB"
cpu = 6400
cpu_window = "100ms"
spacing = "100ms"
`, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	stop := load(t, h, "handover.test", 4)
	for name, want := range map[string]string{"handover": "recycle.memory: ", "forward": "recycle.private_memory: "} {
		h.Wait(name+" to be recycled", func(s admin.Status) bool { return hosttest.PoolOf(t, s, name).Recycles > 0 })
		if p := h.Pool(name); !strings.HasPrefix(p.LastReason, want) || !strings.Contains(p.LastReason, " MiB") {
			t.Errorf("%s: reason %q, want %q", name, p.LastReason, want)
		}
	}
	stop()
	if p := h.Pool("relay"); p.Recycles != 0 {
		t.Errorf("recycled below its limits: %q", p.LastReason)
	}
}
