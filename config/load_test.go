package config

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// update is a flag of the test binary: go test ./config -update
var update = flag.Bool("update", false, "write the golden files")

// write writes a sites.toml into a folder of its own and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sites.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load loads text, which must be valid.
func load(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := Load(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/problems/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			golden := strings.TrimSuffix(file, ".toml") + ".golden"
			cfg, err := Load(filepath.ToSlash(file))
			problems, ok := errors.AsType[*Problems](err)
			if !ok || cfg != nil {
				t.Fatalf("got %v, %v; want problems", cfg, err)
			}
			got := problems.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
			for _, line := range without(gotLines, wantLines) {
				t.Errorf("got, not wanted: %s", line)
			}
			for _, line := range without(wantLines, gotLines) {
				t.Errorf("wanted, not got: %s", line)
			}
			if !t.Failed() && got != string(want) {
				t.Errorf("other order: got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestLoadNoFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "sites.toml"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestLoadShortest(t *testing.T) {
	path := write(t, `
[[sites]]
name     = "shop"
bindings = ["http://shop.localhost:8080"]
apps     = [{ pool = "shop", process = "shop", hosting = "inprocess" }]
`)
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	pool := DefaultPool("shop")
	pool.Dir = filepath.Join(dir, "pools", "shop")
	pool.Program = &Program{Process: filepath.Join(pool.Dir, "shop"), Dir: pool.Dir, Hosting: InProcess}
	site := DefaultSite()
	site.Name = "shop"
	site.Bindings = []Binding{{Text: "http://shop.localhost:8080", Scheme: "http", Host: "shop.localhost", Listen: ListenLoopback, Port: 8080}}
	site.Apps = []*App{{Path: "/", Pool: pool}}

	if cfg.Path != path || cfg.Dir != dir {
		t.Errorf("got path %q in %q, want %q in %q", cfg.Path, cfg.Dir, path, dir)
	}
	if want := []*Site{site}; !reflect.DeepEqual(cfg.Sites, want) {
		t.Errorf("sites: got %+v, want %+v", cfg.Sites[0], site)
	}
	if want := map[string]*Pool{"shop": pool}; !reflect.DeepEqual(cfg.Pools, want) {
		t.Errorf("pools: got %+v, want %+v", cfg.Pools["shop"], pool)
	}
	if cfg.Sites[0].Apps[0].Pool != cfg.Pools["shop"] {
		t.Error("the app's pool is not the one of Pools")
	}
}

func TestLoadEverySetting(t *testing.T) {
	cfg := load(t, `
[host]
run_dir = "r"
state_dir = "/var/lib/../lib/aerie"
pools_dir = "p"
trusted_proxies = ["10.0.0.0/8", "::1", "::ffff:10.0.0.1"]
admin = "unix:/run/x.sock"
host_away = "0s"
limits = { max_request_line = 1, max_header_size = "2KiB", max_header_count = 3, header_timeout = "4s", idle_timeout = "5s", max_connections = 6 }
log = { access = false, max_size = "7GB", max_files = 0 }

[pools.idle]
auto_start = false
start = "on_demand"
idle_timeout = "4s"
startup_timeout = "1s"
shutdown_timeout = "0s"
drain_timeout = "0s"
max_draining = 1
restart_delay = "1ms"
restart_delay_max = "1ms"
queue_length = 0
queue_timeout = "2s"
max_concurrent = 9
max_streams = 1
stream_after = "3s"
[pools.idle.failure]
max_crashes = 0
window = "1s"
second_chance = "0s"
on_failed = ["/bin/x", "y", ""]
[pools.idle.recycle]
overlap = false
interval = "2m"
schedule = ["03:00", "15:30 Europe/Berlin"]
requests = 2
memory = "3KiB"
private_memory = 4
cpu = 5
cpu_window = "6s"
jitter = "7s"
spacing = "8s"
[pools.idle.health]
path = "/healthz?a=b"
interval = "0s"
timeout = "1s"
unhealthy_after = 2
hang_timeout = "3s"
[pools.idle.identity]
user = "www-data"
group = "33"
groups = ["adm", "44"]
umask = "027"
no_new_privs = false
capabilities = "host"
[pools.idle.limits]
cpu = 1.5
memory = "64MiB"
processes = 100
cpus = "4, 0-1"
open_files = 1024
core_size = "unlimited"
locked_memory = "8MiB"
required = false

[[sites]]
name = "s"
bindings = ["http://*.Example.org"]
handover = "never"
limits = { max_body = 0, max_url = 1, max_query = "2B", min_body_rate = 0, min_response_rate = "1KiB/s", rate_grace = "1ms", max_connections = 3, max_connections_per_address = 4 }
[[sites.apps]]
path = "/a"
pool = "shop"
[[sites.apps]]
path = "/abc"
pool = "shop"
process = "bin/shop"
args = ["-v", ""]
[[sites.apps]]
pool = "shop"
dir = "data"
env = { A = "1" }
env_files = ["more.env", "/etc/shop.env"]
hosting = "outofprocess"
`)
	dir := cfg.Dir
	if got, want := settingsText(cfg.Host.settings()), strings.Join([]string{
		"run_dir = " + quote(filepath.Join(dir, "r")),
		"state_dir = " + quote(cfg.abs("/var/lib/aerie")),
		"pools_dir = " + quote(filepath.Join(dir, "p")),
		`trusted_proxies = ["10.0.0.0/8", "::1", "10.0.0.1"]`,
		"admin = " + quote("unix:"+cfg.abs("/run/x.sock")),
		"host_away = 0s",
	}, "\n"); got != want {
		t.Errorf("host: got\n%s\nwant\n%s", got, want)
	}
	if got, want := settingsText(cfg.Host.Limits.settings()), `max_request_line = 1B
max_header_size = 2KiB
max_header_count = 3
header_timeout = 4s
idle_timeout = 5s
max_connections = 6`; got != want {
		t.Errorf("host.limits: got\n%s\nwant\n%s", got, want)
	}
	if got, want := cfg.Host.Log, (HostLog{MaxSize: 7e9}); got != want {
		t.Errorf("host.log: got %+v, want %+v", got, want)
	}
	idle := cfg.Pools["idle"]
	if got, want := settingsText(slices.Concat(idle.settings(), idle.Failure.settings(), idle.Recycle.settings(), idle.Health.settings())), `auto_start = false
start = "on_demand"
idle_timeout = 4s
startup_timeout = 1s
shutdown_timeout = 0s
drain_timeout = 0s
max_draining = 1
restart_delay = 1ms
restart_delay_max = 1ms
queue_length = 0
queue_timeout = 2s
max_concurrent = 9
max_streams = 1
stream_after = 3s
max_crashes = 0
window = 1s
second_chance = 0s
on_failed = [`+quote(cfg.abs("/bin/x"))+`, "y", ""]
overlap = false
interval = 2m
schedule = ["03:00", "15:30 Europe/Berlin"]
requests = 2
memory = 3KiB
private_memory = 4B
cpu = 5
cpu_window = 6s
jitter = 7s
spacing = 8s
path = "/healthz?a=b"
interval = 0s
timeout = 1s
unhealthy_after = 2
hang_timeout = 3s`; got != want {
		t.Errorf("pools.idle: got\n%s\nwant\n%s", got, want)
	}
	if got, want := settingsText(cfg.Pools["idle"].Identity.settings()), `user = "www-data"
group = "33"
groups = ["adm", "44"]
umask = "027"
no_new_privs = false
capabilities = "host"`; got != want {
		t.Errorf("pools.idle.identity: got\n%s\nwant\n%s", got, want)
	}
	if got, want := settingsText(cfg.Pools["idle"].Limits.settings()), `cpu = 1.5
memory = 64MiB
processes = 100
cpus = "0-1,4"
open_files = 1024
core_size = "unlimited"
locked_memory = 8MiB
required = false`; got != want {
		t.Errorf("pools.idle.limits: got\n%s\nwant\n%s", got, want)
	}
	if cfg.Pools["idle"].Program != nil {
		t.Error("a pool that no app names has a program")
	}
	site := cfg.Sites[0]
	if got, want := settingsText(append(site.settings(), site.Limits.settings()...)), `name = "s"
bindings = ["http://*.Example.org"]
handover = "never"
max_body = 0B
max_url = 1B
max_query = 2B
min_body_rate = 0B/s
min_response_rate = 1KiB/s
rate_grace = 1ms
max_connections = 3
max_connections_per_address = 4`; got != want {
		t.Errorf("sites.s: got\n%s\nwant\n%s", got, want)
	}
	if got, want := appsText(site.Apps), "{/abc: shop, /a: shop, /: shop}"; got != want {
		t.Errorf("apps: got %s, want %s", got, want)
	}
	want := &Program{
		Process:  filepath.Join(dir, "p", "shop", "bin", "shop"),
		Args:     []string{"-v", ""},
		Dir:      filepath.Join(dir, "p", "shop", "data"),
		Env:      map[string]string{"A": "1"},
		EnvFiles: []string{filepath.Join(dir, "more.env"), cfg.abs("/etc/shop.env")},
		Hosting:  OutOfProcess,
	}
	if got := cfg.Pools["shop"].Program; !reflect.DeepEqual(got, want) {
		t.Errorf("program: got %+v, want %+v", got, want)
	}
}

func settingsText(list []setting) string {
	var lines []string
	for _, s := range list {
		lines = append(lines, s.key+" = "+s.value.String())
	}
	return strings.Join(lines, "\n")
}

func TestAdminFollowsRunDir(t *testing.T) {
	cfg := load(t, `host.run_dir = "short"`)
	if got, want := cfg.Host.Admin, "unix:"+filepath.Join(cfg.Dir, "short", "admin.sock"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What Load accepts, it must accept again as Diff prints it.
func TestSettingsRoundTrip(t *testing.T) {
	cfg := load(t, "")
	site, pool := DefaultSite(), DefaultPool("x")
	site.Limits.MaxBody, site.Limits.MinBodyRate = 1<<62, 3<<40
	for _, s := range slices.Concat(cfg.Host.Limits.settings(), site.Limits.settings(), pool.settings(), pool.Recycle.settings(), pool.Health.settings()) {
		text := s.value.String()
		var v any = text
		switch value := s.value.(type) {
		case count:
			v = int64(*value.p)
		case boolean:
			v = *value.p
		case word[Start]:
			v = string(*value.p)
		case probePath:
			v = *value.p
		case schedule:
			v = []any{}
		}
		if err := s.value.set(v); err != nil || s.value.String() != text {
			t.Errorf("%s: %s became %s, %v", s.key, text, s.value, err)
		}
	}
}

func TestSyntaxErrorPosition(t *testing.T) {
	for text, want := range map[string]Problem{
		"a=1\r\nb=\"x\r\nc=1": {Line: 2, Column: 5},
		"a=1\nb='x\n":         {Line: 2, Column: 5},
		"a=1\n[x\n":           {Line: 2, Column: 3},
		"a=1\n\na=2\n":        {Line: 3, Column: 1},
		"\ufeffa=\n":          {Line: 1, Column: 3},
		"'ä'=1 2\n":           {Line: 1, Column: 6},
		"a=[1,\n2":            {Line: 2, Column: 1},
	} {
		_, err := Load(write(t, text))
		problems, ok := errors.AsType[*Problems](err)
		if !ok || len(problems.List) != 1 {
			t.Errorf("%q: got %v, want one problem", text, err)
			continue
		}
		if got := problems.List[0]; got.Line != want.Line || got.Column != want.Column {
			t.Errorf("%q: got %s, want %d:%d", text, got, want.Line, want.Column)
		}
	}
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/problems/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../sites.toml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("\"\r\n")) // errors at positions that the TOML module gets wrong
	f.Add([]byte("\x16"))
	path := filepath.Join(f.TempDir(), "sites.toml")
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &decoder{file: "sites.toml"}
		cfg := d.decode(path, string(data))
		for _, p := range d.problems {
			if p.Line < 1 || p.Message == "" || strings.Contains(p.String(), "\n") {
				t.Errorf("not one problem on one line of the file: %q, line %d", p.String(), p.Line)
			}
		}
		if len(d.problems) > 0 {
			return
		}
		if diff := Diff(cfg, cfg); !diff.Empty() {
			t.Errorf("a configuration differs from itself: %q", diff.Lines())
		}
	})
}
