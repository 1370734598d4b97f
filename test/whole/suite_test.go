//go:build unix

package whole

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"aerie/test/hosttest"
	"aerie/test/suite"
)

func TestMain(m *testing.M) { hosttest.Main(m) }

// behaving is a host with one site for each way in which a request can reach
// its application. All run the same binary.
const behaving = `
[host.limits]
header_timeout = "1s"
max_header_size = "16KiB"

[[sites]]
name = "handover"
bindings = ["http://handover.test:PORT"]
limits = { max_body = "2GiB", max_url = "2KiB" }
apps = [{ path = "/", pool = "handover", process = "handover", hosting = "inprocess" }]

[[sites]]
name = "relay"
bindings = ["http://relay.test:PORT"]
handover = "never"
limits = { max_body = "2GiB", max_url = "2KiB" }
apps = [{ path = "/", pool = "relay", process = "relay", hosting = "inprocess" }]

[[sites]]
name = "forward"
bindings = ["http://forward.test:PORT"]
limits = { max_body = "2GiB", max_url = "2KiB" }
apps = [{ path = "/", pool = "forward", process = "forward", hosting = "outofprocess" }]
`

func TestBehaviour(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, behaving, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	for _, mode := range []suite.Mode{suite.Handover, suite.Relay, suite.Forward} {
		other := "forward.test"
		if mode == suite.Forward {
			other = "handover.test"
		}
		suite.Run(t, suite.Target{
			Name: string(mode), Addr: h.Addr, Host: string(mode) + ".test", Mode: mode, OtherHost: other,
			HeaderTimeout: time.Second, MaxHeader: 16 << 10, MaxURL: 2 << 10, HostPID: h.Pid(),
		})
		if mode == suite.Handover {
			handedOver(t, h)
		}
	}
}

// handedOver checks by the access log that the requests to the site in hand-over
// mode really came over handed-over connections.
func handedOver(t *testing.T, h *hosttest.Host) {
	t.Helper()
	h.Get("handover.test", "/pid?last")
	via := ways(t, h, "handover", "/pid?last")
	if via["handover"] < 100 || via["relay"] > via["handover"]/10 {
		t.Errorf("requests to the handed-over site came by %v", via)
	}
}

// ways counts by the access log how requests came to a site, up to and with the one
// for the URI last.
func ways(t *testing.T, h *hosttest.Host, site, last string) map[string]int {
	t.Helper()
	var via map[string]int
	h.WaitFor("the last line of the access log", func() bool {
		via = map[string]int{}
		b, err := os.ReadFile(filepath.Join(h.Dir, "state", "logs", "access.log"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for line := range bytes.Lines(b) {
			var entry struct{ Site, Via, URI string }
			if err := json.Unmarshal(line, &entry); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if entry.Site == site {
				via[entry.Via]++
				found = found || entry.URI == last
			}
		}
		return found
	})
	return via
}
