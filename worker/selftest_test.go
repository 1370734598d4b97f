package worker

import "testing"

func TestNetHTTPBehavesAsHandBackNeedsIt(t *testing.T) {
	for range 50 {
		if !probeHandBack() {
			t.Fatal("this net/http does not behave as hand-back needs it")
		}
	}
}
