package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"aerie/admin"
	"aerie/config"
)

// sample is a host with pools in many states.
func sample(dir string) admin.Status {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	worker := func(pid, generation int, state string) admin.WorkerStatus {
		return admin.WorkerStatus{Pid: pid, Generation: generation, State: state, Requests: 123456, Active: 2, Connections: 64, RSSBytes: 25 << 20, StartedAt: at}
	}
	return admin.Status{
		Version: "v1.2.3", Pid: 100, StartedAt: at, Config: filepath.Join(dir, "sites.toml"), ConfigVersion: 7, Connections: 130,
		Sites: []admin.SiteStatus{
			{Name: "shop", Bindings: []string{"http://shop.localhost:8080", "http://*:8081"}, Connections: 128, Apps: []admin.AppStatus{
				{Path: "/", Pool: "shop", Hosting: "inprocess"}, {Path: "/api", Pool: "api", Hosting: "outofprocess"}}},
			{Name: "blog", Bindings: []string{"http://blog.localhost:8080"}, Connections: 2, Apps: []admin.AppStatus{
				{Path: "/", Pool: "blog", Hosting: "inprocess"}}},
		},
		Pools: []admin.PoolStatus{
			{Name: "api", Hosting: "outofprocess", State: "stopped", Generation: 1, LastReason: "stopped by the operator", Workers: []admin.WorkerStatus{}},
			{Name: "blog", Hosting: "inprocess", State: "failed", Generation: 2, Queued: 3, Crashes: 5, LastReason: "did not start (exit status 2)", RetryAt: at.Add(3*time.Hour + 30*time.Minute),
				LastOutput: []string{"panic: no database\x1b[31m", "\tgoroutine 1 [running]:"}, Workers: []admin.WorkerStatus{}},
			{Name: "shop", Hosting: "inprocess", State: "overlapping", Generation: 4, Recycles: 3, LastReason: "recycle: hosting changed",
				Workers: []admin.WorkerStatus{worker(101, 3, "draining"), worker(102, 4, "running")}},
		},
	}
}

func TestStatus(t *testing.T) {
	dir := project(t, sites)
	host := &fakeHost{status: sample(dir)}
	host.serve(t, dir)
	code, out, errOut := exec(t, "status", "--json")
	var got admin.Status
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || errOut != "" || !reflect.DeepEqual(got, host.status) {
		t.Errorf("code %d, %v, stderr %q:\n%s", code, err, errOut, out)
	}
	code, out, errOut = exec(t, "status")
	if code != 0 || errOut != "" || !strings.Contains(out, "shop.localhost:8080/api") {
		t.Errorf("code %d, stderr %q:\n%s", code, errOut, out)
	}
}

func TestQueueText(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	got := queueText(admin.Queue{Pool: "shop", Waiting: []admin.Waiter{
		{Since: at, Client: "127.0.0.1:9"}, {Pid: 5, Since: at.Add(time.Second), Client: "[::1]:10", Request: "GET /a\x1b[31m"},
	}}, at.Add(90*time.Second))
	golden(t, "queue.txt", got)
	if got := queueText(admin.Queue{Pool: "shop"}, at); got != "nobody waits for pool shop\n" {
		t.Errorf("%q", got)
	}
}

func TestQueue(t *testing.T) {
	dir := project(t, sites)
	host := &fakeHost{status: sample(dir)}
	host.serve(t, dir)
	code, out, errOut := exec(t, "pool", "queue", "shop", "--json")
	var got admin.Queue
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || errOut != "" || len(got.Waiting) != 1 || got.Waiting[0].Request != "GET /" {
		t.Errorf("code %d, %v, stderr %q:\n%s", code, err, errOut, out)
	}
	if code, out, _ = exec(t, "pool", "queue", "shop"); code != 0 || !strings.Contains(out, "127.0.0.1:9") {
		t.Errorf("code %d:\n%s", code, out)
	}
	if code, _, errOut = exec(t, "pool", "queue", "shpo"); code != 1 || !strings.Contains(errOut, `did you mean "shop"?`) {
		t.Errorf("code %d, stderr %q", code, errOut)
	}
}

func TestStatusText(t *testing.T) {
	s := sample("/srv")
	golden(t, "status.txt", statusText(s, s.StartedAt.Add(3*time.Hour+25*time.Minute)))
}

func TestUnits(t *testing.T) {
	for n, want := range map[int64]string{0: "-", 1 << 20: "1.0 MiB", 25 << 20: "25 MiB", 1 << 30: "1024 MiB", 20 << 30: "20.0 GiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-1: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m1s", 25 * time.Hour: "1d1h", 2 * time.Hour: "2h0m"} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %s, want %s", d, got, want)
		}
	}
}

// Without a host, each verb that needs one says so and how to start it.
func TestNoHost(t *testing.T) {
	project(t, sites)
	for _, verb := range []string{"status", "reload", "pool stop shop"} {
		code, out, errOut := exec(t, strings.Fields(verb)...)
		if code != 1 || out != "" || errOut != "aerie: no host is running on run/admin.sock (start it with: aerie run)\n" {
			t.Errorf("%s: code %d, %q, %q", verb, code, out, errOut)
		}
	}
	t.Chdir(t.TempDir())
	code, _, errOut := exec(t, "status")
	if code != 1 || errOut != "aerie: there is no sites.toml: go to its folder, or name it with -c FILE\n" {
		t.Errorf("code %d, %q", code, errOut)
	}
}

// The host is found while its sites.toml is not valid, but not by guessing.
func TestBrokenFile(t *testing.T) {
	dir := project(t, broken)
	(&fakeHost{status: sample(dir)}).serve(t, dir)
	if code, out, errOut := exec(t, "status"); code != 0 || out == "" {
		t.Errorf("code %d, %q", code, errOut)
	}
	if err := os.WriteFile("sites.toml", []byte("[host"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := exec(t, "status"); code != 1 || !strings.Contains(errOut, "where the host listens cannot be read") {
		t.Errorf("code %d, %q", code, errOut)
	}
}

// The two keys that say where the host listens are read as config.Load reads them.
func TestSocketOf(t *testing.T) {
	for _, head := range []string{"", `run_dir = "r"`, `run_dir = "/var/r"`, `admin = "unix:x/a.sock"`, `admin = "unix:/run/a.sock"`,
		"run_dir = \"r\"\nadmin = \"unix:x/a.sock\""} {
		text := "[host]\n" + head + "\n" + sites
		dir := project(t, text)
		cfg, err := config.Load("sites.toml")
		if err != nil {
			t.Fatal(err)
		}
		got, err := socketOf(dir, text)
		if err != nil || "unix:"+got != cfg.Host.Admin {
			t.Errorf("%s: %s, %v, want %s", head, got, err, cfg.Host.Admin)
		}
	}
}

func TestReload(t *testing.T) {
	dir := project(t, sites)
	host := &fakeHost{status: sample(dir)}
	host.serve(t, dir)
	code, out, errOut := exec(t, "reload")
	want := "sites.toml is in force (version 8)\n  pool shop: hosting inprocess -> outofprocess\n"
	if code != 0 || out != want || errOut != "" {
		t.Errorf("code %d, %q, %q", code, out, errOut)
	}
	code, out, _ = exec(t, "reload", "--json")
	var got admin.Reload
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || got.ConfigVersion != 8 || len(got.Changes) != 1 {
		t.Errorf("code %d, %q, %v", code, out, err)
	}

	host.reload = &config.Problems{List: []config.Problem{
		{File: "sites.toml", Line: 3, Key: "sites.shop", Message: "no"}, {File: "sites.toml", Line: 4, Message: "nor this"}}}
	code, out, errOut = exec(t, "reload")
	want = "aerie: reload refused, the host goes on unchanged: 2 problems in sites.toml\n  sites.toml:3: sites.shop: no\n  sites.toml:4: nor this\n"
	if code != 1 || out != "" || errOut != want {
		t.Errorf("code %d, %q, %q", code, out, errOut)
	}
}

// A host that runs another file is left alone.
func TestReloadOfAnotherFile(t *testing.T) {
	dir := project(t, sites)
	host := &fakeHost{status: sample("/elsewhere")}
	host.serve(t, dir)
	code, out, errOut := exec(t, "reload")
	want := "aerie: the running host reads /elsewhere/sites.toml, not " + filepath.Join(dir, "sites.toml") +
		": use -c /elsewhere/sites.toml, or start another host with another run_dir\n"
	if code != 1 || out != "" || errOut != want || host.asked != "" {
		t.Errorf("code %d, %q, %q, asked %q", code, out, errOut, host.asked)
	}
	// The same file by another name is the same file.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	host.status.Config = filepath.Join(link, "sites.toml")
	if code, _, errOut := exec(t, "reload"); code != 0 {
		t.Errorf("through a link: code %d, %q", code, errOut)
	}
}

func TestPool(t *testing.T) {
	dir := project(t, sites)
	host := &fakeHost{status: sample(dir)}
	host.serve(t, dir)
	code, out, errOut := exec(t, "pool", "recycle", "shop")
	if code != 0 || out != "pool shop: overlapping, generation 4, pid 102\n" || errOut != "" {
		t.Errorf("code %d, %q, %q", code, out, errOut)
	}
	code, out, _ = exec(t, "pool", "stop", "shop", "--json")
	var got admin.PoolStatus
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || !reflect.DeepEqual(got, host.status.Pools[2]) {
		t.Errorf("code %d, %q, %v", code, out, err)
	}
	code, out, errOut = exec(t, "pool", "start", "shpo")
	if code != 1 || out != "" || errOut != "aerie: unknown pool \"shpo\": did you mean \"shop\"?\n" {
		t.Errorf("code %d, %q, %q", code, out, errOut)
	}
	host.pool = errors.New("pool blog did not start (exit status 2)")
	code, out, errOut = exec(t, "pool", "start", "blog")
	want := "aerie: pool blog did not start (exit status 2)\n\nblog last printed:\n  | panic: no database\ufffd[31m\n  |  goroutine 1 [running]:\n"
	if code != 1 || out != "" || errOut != want {
		t.Errorf("code %d, %q, %q", code, out, errOut)
	}
	if want := "recycle shop\nstop shop\nstart shpo\nstart blog\n"; host.asked != want {
		t.Errorf("host was asked %q, want %q", host.asked, want)
	}
}

func TestCompletionOfPools(t *testing.T) {
	dir := project(t, sites)
	complete := func() string {
		_, out, _ := exec(t, "__complete", "pool", "stop", "")
		return out
	}
	if got, want := complete(), "blog\nshop\n:4\n"; got != want {
		t.Errorf("from sites.toml: %q, want %q", got, want)
	}
	(&fakeHost{status: sample(dir)}).serve(t, dir)
	if got, want := complete(), "api\nblog\nshop\n:4\n"; got != want {
		t.Errorf("from the host: %q, want %q", got, want)
	}
}
