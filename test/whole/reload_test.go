//go:build unix

package whole

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"aerie/admin"
	"aerie/test/hosttest"
)

const twoSites = `
[[sites]]
name = "one"
bindings = ["http://one.test:PORT"]
apps = [{ pool = "one", process = "one", hosting = "inprocess" }]

[[sites]]
name = "two"
bindings = ["http://two.test:PORT"]
apps = [{ pool = "two", process = "two", hosting = "outofprocess" }]
`

func startTwo(t *testing.T) *hosttest.Host {
	t.Helper()
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	return hosttest.New(t, twoSites, map[string]string{"one": bin, "two": bin}).Start()
}

// TestRefusedReloadChangesNothing reloads configurations that cannot be put in
// force: the reason is told, and processes and routes are as before.
func TestRefusedReloadChangesNothing(t *testing.T) {
	h := startTwo(t)
	if err := os.WriteFile(filepath.Join(h.Dir, "pools", "two", "broken"), []byte("#!/bin/sh\necho no such luck\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := h.Status()
	stop, stopTwo := load(t, h, "one.test", 8), load(t, h, "two.test", 8)
	tests := map[string]struct{ sites, want string }{
		"unknown key":     {strings.Replace(twoSites, "hosting =", "hostnig =", 1), `did you mean "hosting"`},
		"syntax":          {twoSites + "[[", "sites.toml:"},
		"run_dir":         {"[host]\nrun_dir = \"elsewhere\"\n" + twoSites, "restart"},
		"does not start":  {strings.Replace(twoSites, `process = "two"`, `process = "broken"`, 1), "no such luck"},
		"new pool broken": {twoSites + "[[sites]]\nname = \"three\"\nbindings = [\"http://three.test:PORT\"]\napps = [{ pool = \"three\", process = \"none\", hosting = \"inprocess\" }]\n", "three"},
		"one of two":      {strings.Replace(strings.Replace(twoSites, `process = "two"`, `process = "broken"`, 1), `process = "one", hosting`, `process = "one", env = { A = "b" }, hosting`, 1), "no such luck"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h.WriteSites(test.sites)
			var out string
			var err error
			if name == "run_dir" {
				_, err = h.Client.Reload(t.Context()) // the command line would look for the host in the new run_dir
			} else {
				out, err = h.CLI("reload")
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("reload: %q, %v; want an error with %q", out, err, test.want)
			}
			if got := h.Status().Sites; !reflect.DeepEqual(names(got), names(before.Sites)) {
				t.Errorf("sites %v, before %v", got, before.Sites)
			}
			if status, _ := h.Get("three.test", "/pid"); status != 404 {
				t.Errorf("the new site answers %d", status)
			}
		})
	}
	stop()
	stopTwo()
	after := h.Status()
	if after.ConfigVersion != before.ConfigVersion || after.Pools[1].Workers[0].Pid != before.Pools[1].Workers[0].Pid {
		t.Errorf("version %d, pid %d; before %d, %d", after.ConfigVersion, after.Pools[1].Workers[0].Pid, before.ConfigVersion, before.Pools[1].Workers[0].Pid)
	}
}

func names(sites []admin.SiteStatus) (out []string) {
	for _, s := range sites {
		out = append(out, s.Name)
	}
	return out
}

// TestReloadAddsAndRemoves adds a site with a pool and a port of its own, adds a
// host name to a running in-process site, and takes both away again. Processes
// that are not concerned stay.
func TestReloadAddsAndRemoves(t *testing.T) {
	h := startTwo(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h.Install("three", "three", bin)
	pid := h.Pool("one").Workers[0].Pid
	kept := keepAlive(t, h, "one.test")
	stop := load(t, h, "two.test", 8)

	more := strings.Replace(twoSites, `["http://one.test:PORT"]`, `["http://one.test:PORT", "http://*.one.test:PORT"]`, 1) +
		"[[sites]]\nname = \"three\"\nbindings = [\"http://three.test:PORT\"]\napps = [{ path = \"/sub\", pool = \"three\", process = \"three\", hosting = \"inprocess\" }]\n"
	h.WriteSites(more)
	if _, err := h.CLI("reload"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		host, path string
		status     int
	}{{"three.test", "/sub/pid", 200}, {"three.test", "/pid", 404}, {"three.test", "/subway", 404}, {"a.one.test", "/pid", 200}, {"one.test", "/pid", 200}} {
		if status, body := h.Get(want.host, want.path); status != want.status {
			t.Errorf("%s%s: %d %q, want %d", want.host, want.path, status, body, want.status)
		}
	}
	h.WriteSites(twoSites)
	if _, err := h.CLI("reload"); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"three.test", "a.one.test"} {
		if status, _ := h.Get(host, "/sub/pid"); status != 404 {
			t.Errorf("%s is gone and answers %d", host, status)
		}
	}
	kept("/pid")
	stop()
	if now := h.Pool("one").Workers[0].Pid; now != pid {
		t.Errorf("the process of pool one changed from %d to %d", pid, now)
	}
	if s := h.Status(); len(s.Pools) != 2 {
		t.Errorf("pools %+v", s.Pools)
	}
}

// TestStopAndStart: a stopped pool answers 503 at once, and is back after start.
func TestStopAndStart(t *testing.T) {
	h := startTwo(t)
	for _, pool := range []string{"one", "two"} {
		if _, err := h.CLI("pool", "stop", pool); err != nil {
			t.Fatal(err)
		}
		if status, body := h.Get(pool+".test", "/pid"); status != 503 || !strings.Contains(body, "request id") {
			t.Errorf("%s stopped: %d %q", pool, status, body)
		}
		if p := h.Pool(pool); p.State != "stopped" || len(p.Workers) != 0 {
			t.Errorf("%+v", p)
		}
		if _, err := h.CLI("pool", "start", pool); err != nil {
			t.Fatal(err)
		}
		if status, _ := h.Get(pool+".test", "/pid"); status != 200 {
			t.Errorf("%s started again: %d", pool, status)
		}
	}
	if _, err := h.CLI("pool", "recycle", "tow"); err == nil || !strings.Contains(err.Error(), `"two"`) {
		t.Errorf("unknown pool: %v", err)
	}
}

// TestBrokenProgram: the reason why a program does not start, with what it
// printed, is in the status and in the log; clients get the code that ANCM has
// for it.
func TestBrokenProgram(t *testing.T) {
	sites := strings.ReplaceAll(twoSites, `process = "one"`, `process = "broken"`)
	sites = strings.ReplaceAll(sites, `process = "two"`, `process = "broken"`)
	h := hosttest.New(t, sites, nil)
	for _, pool := range []string{"one", "two"} {
		dir := filepath.Join(h.Dir, "pools", pool)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "broken"), []byte("#!/bin/sh\necho the database is away >&2\nexit 3\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.StartOnly()
	for pool, want := range map[string]struct {
		status int
		code   string
	}{"one": {500, "500.30"}, "two": {502, "502.5"}} {
		s := h.Wait("the start to fail", func(s admin.Status) bool { return len(hosttest.PoolOf(t, s, pool).LastOutput) > 0 })
		p := hosttest.PoolOf(t, s, pool)
		if !strings.Contains(strings.Join(p.LastOutput, "\n"), "the database is away") || !strings.Contains(p.LastReason, "exit status 3") {
			t.Errorf("%s: reason %q, output %q", pool, p.LastReason, p.LastOutput)
		}
		status, body := h.Get(pool+".test", "/")
		if status != want.status || !strings.Contains(body, want.code) || strings.Contains(body, "database") {
			t.Errorf("%s: %d %q, want %s", pool, status, body, want.code)
		}
	}
}
