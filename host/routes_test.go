package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"aerie/apppool"
	"aerie/config"
	"aerie/module"
	"aerie/proto"
	"aerie/worker"
)

const sites = `
[host]
trusted_proxies = ["192.0.2.0/24"]

[[sites]]
name = "whole"
bindings = ["http://whole.test:8123"]
apps = [{ path = "/", pool = "a", process = "a", hosting = "inprocess" }, { path = "/b", pool = "a", process = "a", hosting = "inprocess" }]

[[sites]]
name = "split"
bindings = ["http://split.test:8123"]
apps = [{ path = "/", pool = "a", process = "a", hosting = "inprocess" }, { path = "/b", pool = "b", process = "b", hosting = "inprocess" }]

[[sites]]
name = "never"
bindings = ["http://never.test:8123"]
handover = "never"
apps = [{ path = "/", pool = "a", process = "a", hosting = "inprocess" }]

[[sites]]
name = "out"
bindings = ["http://out.test:8123"]
apps = [{ path = "/", pool = "c", process = "c", hosting = "outofprocess" }]
`

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sites.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// newHost is a host with the pools of sites, of which nothing runs.
func newHost(t *testing.T, text string) *Host {
	t.Helper()
	cfg := load(t, text)
	h := New(cfg, Options{})
	h.server = worker.NewServer(worker.Options{Logger: slog.New(slog.DiscardHandler)})
	h.service = newService(t.TempDir(), "1")
	for _, p := range cfg.Pools {
		h.newPool(p, nil).Open()
	}
	h.routes.Store(h.buildRoutes(cfg, 1))
	t.Cleanup(func() {
		h.finish()
		if err := errors.Join(closePools(context.Background(), h.pools.all()), h.server.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestRoutes(t *testing.T) {
	h := newHost(t, sites)
	r := h.routes.Load()
	if len(r.handover) != 1 || r.handover["whole"] != h.pools.find("a") {
		t.Errorf("handed over: %v", r.handover)
	}
	lives := map[string]string{}
	for _, s := range r.cfg.Sites {
		lives[s.Name] = livesIn(s)
	}
	if want := map[string]string{"whole": "a", "split": "", "never": "", "out": ""}; !reflect.DeepEqual(lives, want) {
		t.Errorf("live in %v, want %v", lives, want)
	}
	if !r.trusts(netip.MustParseAddr("192.0.2.9")) || r.trusts(netip.MustParseAddr("192.0.3.9")) {
		t.Error("trusted proxies")
	}
	paths := map[string][]string{}
	for _, s := range sitesOf(r.cfg, func(a *config.App) bool { return a.Pool.Name == "a" }) {
		paths[s.Name] = s.Paths
	}
	if want := map[string][]string{"whole": {"/b", "/"}, "split": {"/"}, "never": {"/"}}; !reflect.DeepEqual(paths, want) {
		t.Errorf("of pool a: %v, want %v", paths, want)
	}
	s, err := h.settings("b", 3)
	if err != nil || s.Pool != "b" || s.Generation != 3 || s.Version != 1 || len(s.Sites) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := h.settings("gone", 1); err == nil {
		t.Error("settings of an unknown pool")
	}
	other := load(t, strings.Replace(sites, "http://split.test:8123", "http://split2.test:8123", 1))
	for pool, want := range map[string]bool{"a": true, "b": true, "c": false} {
		if got := h.settingsDiffer(r.cfg, other, pool); got != want {
			t.Errorf("settings of %s differ: %v", pool, got)
		}
	}
}

func TestReplaced(t *testing.T) {
	ip := func(s string, port uint16) config.Address {
		return config.Address{Listen: config.ListenIP, IP: netip.MustParseAddr(s), Port: port}
	}
	anyOn := func(port uint16) config.Address { return config.Address{Port: port} }
	got := replaced(&config.Changes{
		AddressesRemoved: []config.Address{ip("127.0.0.1", 1), ip("127.0.0.1", 2), ip("127.0.0.2", 1)},
		AddressesAdded:   []config.Address{anyOn(1), anyOn(3)},
	})
	if want := []config.Address{ip("127.0.0.1", 1), ip("127.0.0.2", 1)}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestOpenAddresses replaces one address by any; if another one cannot be opened
// the first is back.
func TestOpenAddresses(t *testing.T) {
	h := New(&config.Config{}, Options{})
	got := make(chan string, 10)
	h.listeners = newListeners(slog.New(slog.DiscardHandler), func(c net.Conn) func() {
		got <- c.LocalAddr().String()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		return nil
	}, nil)
	t.Cleanup(func() {
		if err := h.listeners.close(); err != nil {
			t.Error(err)
		}
		h.listeners.wait()
	})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }() // nothing was written
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	addr := func(l net.Listener) config.Address {
		a := netip.MustParseAddrPort(l.Addr().String())
		return config.Address{Listen: config.ListenIP, IP: a.Addr(), Port: a.Port()}
	}
	narrow, wide := addr(free), config.Address{Port: addr(free).Port}
	answers := func() {
		t.Helper()
		c, err := net.Dial("tcp", free.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		<-got
		_ = c.Close() // it is closed at the other end too
	}
	if err := h.openAddresses(&config.Changes{AddressesAdded: []config.Address{narrow}}); err != nil {
		t.Fatal(err)
	}
	answers()
	err = h.openAddresses(&config.Changes{AddressesRemoved: []config.Address{narrow}, AddressesAdded: []config.Address{wide, addr(taken)}})
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("an address that is taken: %v", err)
	}
	answers()
	if err := h.openAddresses(&config.Changes{AddressesRemoved: []config.Address{narrow}, AddressesAdded: []config.Address{wide}}); err != nil {
		t.Fatal(err)
	}
	answers()
}

func TestPoolProblem(t *testing.T) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	live := context.Background()
	start := func(sub string) error {
		return fmt.Errorf("start: %w", &apppool.StartError{SubStatus: sub, Reason: "no"})
	}
	for name, test := range map[string]struct {
		ctx  context.Context
		err  error
		want module.Problem // without its reason
		text string
	}{
		"queue full":    {live, apppool.ErrQueueFull, module.Problem{Status: 503, RetryAfter: 1}, "QueueFull: "},
		"queue timeout": {live, apppool.ErrQueueTimeout, module.Problem{Status: 503, RetryAfter: 1}, "Timer_AppPool: "},
		"stopped":       {live, apppool.ErrStopped, module.Problem{Status: 503}, "AppOffline: "},
		"closed":        {live, apppool.ErrClosed, module.Problem{Status: 503}, "AppOffline: "},
		"inprocess":     {live, start("500.30"), module.Problem{Status: 500, SubStatus: 30}, "no"},
		"timed out":     {live, start("500.37"), module.Problem{Status: 500, SubStatus: 37}, "no"},
		"outofprocess":  {live, start("502.5"), module.Problem{Status: 502, SubStatus: 5}, "no"},
		"no code":       {live, start(""), module.Problem{Status: 503}, "no"},
		"client gone":   {gone, context.Canceled, module.Problem{Status: 499}, "canceled"},
		"other":         {live, errors.New("odd"), module.Problem{Status: 503}, "odd"},
	} {
		got := poolProblem(httptest.NewRequestWithContext(test.ctx, "GET", "/", nil), test.err)
		if !strings.Contains(got.Reason, test.text) {
			t.Errorf("%s: reason %q", name, got.Reason)
		}
		if got.Reason = ""; !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// TestRelayed: a worker is believed only the number of a connection that was
// handed to its own pool, and of the rest of its record nothing.
func TestRelayed(t *testing.T) {
	h := newHost(t, sites)
	mine, others, hosts := admit(t, h.clients, "192.0.2.7:1000"), admit(t, h.clients, "198.51.100.1:1"), admit(t, h.clients, "198.51.100.1:2")
	h.clients.assign(mine, "a")
	h.clients.assign(others, "b")
	forget := h.service.started("a", 1, "token-of-a")
	h.service.started("b", 1, "token-of-b")
	ask := func(token string, number uint64) (proto.Record, error) {
		rec := proto.Record{Token: token, Conn: number, Scheme: "http", Remote: netip.MustParseAddrPort("10.9.9.9:9"), Trusted: true}
		return h.relayed(nil, http.Header{proto.RecordHeader: {rec.String()}})
	}
	rec, err := ask("token-of-a", mine.Number)
	if err != nil || rec.Remote != mine.Remote || rec.Local != mine.Local || rec.Hop != 1 || !rec.Trusted {
		t.Errorf("%+v, %v", rec, err)
	}
	if !h.clients.mixes(mine.Remote.Addr(), h.now()) {
		t.Error("not noted that the peer mixes sites")
	}
	h.clients.assign(hosts, "")
	for name, test := range map[string]struct {
		token  string
		number uint64
	}{
		"other pool's connection": {"token-of-a", others.Number},
		"host's connection":       {"token-of-a", hosts.Number},
		"no such connection":      {"token-of-a", 99},
		"wrong token":             {"token", mine.Number},
		"no token":                {"", hosts.Number},
		"other pool's token":      {"token-of-b", mine.Number},
	} {
		if _, err := ask(test.token, test.number); !errors.Is(err, proto.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if h.clients.mixes(others.Remote.Addr(), h.now()) {
		t.Error("a refused request was noted")
	}
	h.clients.assign(mine, "b")
	if rec, err := ask("token-of-b", mine.Number); err != nil || !rec.Trusted {
		t.Errorf("%+v, %v", rec, err)
	}
	h.clients.assign(mine, "a")
	forget()
	if _, err := ask("token-of-a", mine.Number); !errors.Is(err, proto.ErrRecord) {
		t.Errorf("after the generation: %v", err)
	}
	if _, err := ask("token-of-a", hosts.Number); !errors.Is(err, proto.ErrRecord) {
		t.Errorf("a forgotten token for a connection of no pool: %v", err)
	}
}
