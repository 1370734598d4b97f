package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const diffBase = `
[host]
run_dir = "run"
[pools.shop]
queue_length = 1000
[[sites]]
name = "shop"
bindings = ["http://shop.localhost:8080", "http://10.0.0.1:81"]
  [[sites.apps]]
  pool = "shop"
  process = "shop"
  env = { SECRET = "one" }
  hosting = "inprocess"
  [[sites.apps]]
  path = "/api"
  pool = "api"
  process = "api"
  hosting = "inprocess"
`

func TestDiff(t *testing.T) {
	tests := []struct {
		name     string
		old, new string // replaced in diffBase
		want     []string
	}{
		{"nothing", "", "", nil},
		{"same value written otherwise", "queue_length = 1000", "startup_timeout = \"120s\"", nil},
		{"same binding written otherwise", `"http://shop.localhost:8080", "http://10.0.0.1:81"`, `"http://10.0.0.1:81", "http://SHOP.localhost:8080"`, nil},
		{"host, with a restart", `run_dir = "run"`, `pools_dir = "P"`, []string{`host: pools_dir "/pools" -> "/P" (after a restart of the host)`}},
		{"admin follows", `run_dir = "run"`, `run_dir = "r"`, []string{
			`host: run_dir "/run" -> "/r" (after a restart of the host)`,
			`host: admin "unix:/run/admin.sock" -> "unix:/r/admin.sock" (after a restart of the host)`}},
		{"host, live", `run_dir = "run"`, "host_away = \"2m\"\nlimits.header_timeout = \"5s\"\nlog.access = false\ntrusted_proxies = [\"10.0.0.0/8\"]", []string{
			`host: trusted_proxies [] -> ["10.0.0.0/8"]`, "host: host_away 1m -> 2m",
			"host: limits.header_timeout 30s -> 5s", "host: log.access true -> false"}},
		{"pool setting", "queue_length = 1000", "queue_length = 5\nauto_start = false", []string{
			"pool shop: auto_start true -> false", "pool shop: queue_length 1000 -> 5"}},
		{"hosting", "hosting = \"inprocess\"\n  [[sites.apps]]", "hosting = \"outofprocess\"\n  [[sites.apps]]", []string{
			`pool shop: hosting "inprocess" -> "outofprocess" (new generation)`}},
		{"process and args", `process = "shop"`, "process = \"bin/shop\"\nargs = [\"-v\"]", []string{
			`pool shop: process "shop" -> "bin/shop" (new generation)`, `pool shop: args [] -> ["-v"] (new generation)`}},
		{"env tells no values", `SECRET = "one"`, `SECRET = "two"`, []string{"pool shop: env (new generation)"}},
		{"other pool", `pool = "api"`, `pool = "other"`, []string{
			"remove pool api", "add pool other", "site shop: apps {/api: api, /: shop} -> {/api: other, /: shop}"}},
		{"first program", "[pools.shop]", "[pools.idle]\n[pools.shop]", []string{"add pool idle"}},
		{"site setting", `name = "shop"`, "name = \"shop\"\nhandover = \"never\"\nlimits.max_body = 0", []string{
			`site shop: handover "auto" -> "never"`, "site shop: limits.max_body 30MB -> 0B"}},
		{"other name", `name = "shop"`, `name = "store"`, []string{"remove site shop", "add site store"}},
		{"bindings", `, "http://10.0.0.1:81"`, `, "http://shop.example:8080"`, []string{
			`site shop: bindings ["http://shop.localhost:8080", "http://10.0.0.1:81"] -> ["http://shop.localhost:8080", "http://shop.example:8080"]`,
			"close 10.0.0.1:81", "close localhost:8080", "listen on *:8080"}},
		{"binding on an open address", `, "http://10.0.0.1:81"`, `, "http://10.0.0.1:81", "http://s.localhost:8080"`, []string{
			`site shop: bindings ["http://shop.localhost:8080", "http://10.0.0.1:81"] -> ["http://shop.localhost:8080", "http://10.0.0.1:81", "http://s.localhost:8080"]`}},
	}
	dir := t.TempDir()
	loadIn := func(text string) *Config {
		path := filepath.Join(dir, "sites.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	base := loadIn(diffBase)
	for _, test := range tests {
		if !strings.Contains(diffBase, test.old) {
			t.Fatalf("%s: %q is not in the base", test.name, test.old)
		}
		d := Diff(base, loadIn(strings.Replace(diffBase, test.old, test.new, 1)))
		got := d.Lines()
		for i := range got { // paths of every system, without the folder
			got[i] = strings.ReplaceAll(strings.ReplaceAll(got[i], strings.Trim(quote(dir), `"`), ""), `\\`, "/")
		}
		if !slices.Equal(got, test.want) || d.Empty() != (len(test.want) == 0) {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", test.name, strings.Join(got, "\n\t"), strings.Join(test.want, "\n\t"))
		}
	}
}

func TestDiffFields(t *testing.T) {
	a := load(t, diffBase+"[pools.idle]\n[pools.gone]\n")
	b := load(t, strings.NewReplacer(`pool = "api"`, `pool = "idle"`, `"api"`, `"idle"`, "queue_length = 1000", "queue_length = 1\nmax_streams = 2").Replace(diffBase)+"[pools.idle]\n")
	d := Diff(a, b)
	if got, want := d.PoolsRemoved, []string{"api", "gone"}; !slices.Equal(got, want) {
		t.Errorf("pools removed: got %q, want %q", got, want)
	}
	if len(d.ProgramChanged) != 1 || d.ProgramChanged[0].Name != "idle" {
		t.Errorf("got %+v, want the first program of idle", d.ProgramChanged)
	} else if got, want := d.ProgramChanged[0].Keys(), []string{"process", "hosting"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(d.SettingsChanged) != 1 || d.SettingsChanged[0].Name != "shop" {
		t.Errorf("got %+v, want settings of shop", d.SettingsChanged)
	} else if got, want := d.SettingsChanged[0].Keys(), []string{"queue_length", "max_streams"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if d := Diff(b, a); len(d.ProgramChanged) != 1 || !slices.Equal(d.PoolsAdded, []string{"api", "gone"}) {
		t.Errorf("back: got %+v, want idle to lose its program and two pools to come", d)
	}
}
