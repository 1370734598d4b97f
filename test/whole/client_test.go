//go:build unix

package whole

import (
	"fmt"
	"testing"

	"aerie/internal/rawhttp"
	"aerie/test/hosttest"
)

// keepAlive opens a connection to a site and returns a function that sends GET
// on it and returns the body of the answer, which must be 200.
func keepAlive(t *testing.T, h *hosttest.Host, host string) (get func(path string) string) {
	t.Helper()
	getFor := keepAliveFor(t, h, host)
	return func(path string) string { t.Helper(); return getFor(host, path) }
}

// keepAliveFor is keepAlive for requests to any site, on a connection whose first
// one is to host.
func keepAliveFor(t *testing.T, h *hosttest.Host, host string) (get func(host, path string) string) {
	t.Helper()
	c, err := rawhttp.Dial(h.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // often closed already
	get = func(host, path string) string {
		t.Helper()
		if err := c.Send(fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host)); err != nil {
			t.Fatal(err)
		}
		r, err := c.ReadResponse("GET")
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != 200 {
			t.Fatalf("GET %s: %d %q", path, r.Status, r.Body)
		}
		return string(r.Body)
	}
	get(host, "/pid")
	return get
}
