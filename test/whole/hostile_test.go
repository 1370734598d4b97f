//go:build linux

package whole

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aerie/internal/rawhttp"
	"aerie/test/hosttest"
)

// TestHostileNeighbours runs 20 pools on one port. One worker takes descriptors
// and never says so, one never reads its hand-over socket, one crashes at every
// start. Hundreds of clients ask for those; the others are served as ever.
func TestHostileNeighbours(t *testing.T) {
	behave, rogue := hosttest.Bin(t, "aerie/test/apps/behave"), hosttest.Bin(t, "aerie/test/apps/rogue")
	var sites strings.Builder
	pools := map[string]string{}
	site := func(name, process, extra string) {
		fmt.Fprintf(&sites, "[pools.%s]\ndrain_timeout = \"2s\"\nshutdown_timeout = \"2s\"\n", name)
		fmt.Fprintf(&sites, "[[sites]]\nname = %q\nbindings = [\"http://%s.test:PORT\"]\n"+
			"apps = [{ pool = %q, process = %q, hosting = \"inprocess\"%s }]\n", name, name, name, process, extra)
	}
	for i := range 17 {
		name := fmt.Sprintf("good%d", i)
		site(name, name, "")
		pools[name] = behave
	}
	for _, name := range []string{"hoard", "deaf"} {
		site(name, name, `, env = { ROGUE = "`+name+`" }`)
		pools[name] = rogue
	}
	site("crash", "false", "")
	h := hosttest.New(t, sites.String(), pools)
	crash := filepath.Join(h.Dir, "pools", "crash")
	if err := os.MkdirAll(crash, 0o755); err != nil {
		t.Fatal(err)
	}
	h.StartOnly()
	for i := range 17 {
		h.Get(fmt.Sprintf("good%d.test", i), "/pid") // waits until it runs
	}
	calm := measure(t, h)
	conns := crowd(t, h, 400, "hoard.test", "deaf.test")
	beset := measure(t, h)
	t.Logf("requests in the same time: %d in calm, %d beset by %d clients of hostile pools", calm, beset, len(conns))
	for _, c := range conns {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// measure loads all good sites for a while, in turn, and returns the requests
// that were answered. Not one may fail.
func measure(t *testing.T, h *hosttest.Host) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	reports := make(chan *rawhttp.Report)
	for i := range 17 {
		l := rawhttp.Load{Addr: h.Addr, Host: fmt.Sprintf("good%d.test", i), Conns: 2, Closes: rawhttp.NeverCloses, Limit: 20 * time.Second}
		go func() { reports <- l.Run(ctx) }()
	}
	var total int64
	for range 17 {
		r := <-reports
		if err := r.Err(); err != nil {
			t.Error(err)
		}
		total += r.Requests
	}
	return total
}

// crowd opens n connections to each host and sends a request on each.
func crowd(t *testing.T, h *hosttest.Host, n int, hosts ...string) []net.Conn {
	t.Helper()
	var conns []net.Conn
	for _, host := range hosts {
		for range n {
			c, err := net.Dial("tcp", h.Addr)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			if _, err := io.WriteString(c, "GET /pid HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	return conns
}
