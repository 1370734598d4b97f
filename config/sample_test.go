package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/BurntSushi/toml"
)

// schema is every key that the decoder reads, by the table that holds it.
func schema() map[string][]setting {
	var (
		host  Host
		site  Site
		app   App
		pool  string
		prog  Program
		hello Pool
	)
	return map[string][]setting{
		"host":                 host.settings(),
		"host.limits":          host.Limits.settings(),
		"host.log":             host.Log.settings(),
		"pools.hello":          hello.settings(),
		"pools.hello.failure":  hello.Failure.settings(),
		"pools.hello.recycle":  hello.Recycle.settings(),
		"pools.hello.health":   hello.Health.settings(),
		"pools.hello.identity": hello.Identity.settings(),
		"pools.hello.limits":   hello.Limits.settings(),
		"sites":                site.settings(),
		"sites.limits":         site.Limits.settings(),
		"sites.apps":           slices.Concat(app.settings(&pool), prog.settings()),
	}
}

func TestSampleNamesEveryKey(t *testing.T) {
	data, err := os.ReadFile("../sites.toml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	meta, err := toml.Decode(string(data), &values)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, key := range meta.Keys() {
		named[key.String()] = true
	}
	for table, settings := range schema() {
		for _, s := range settings {
			if key := table + "." + s.key; !named[key] {
				t.Errorf("sites.toml does not name %s", key)
			}
		}
	}
}

func TestSampleShowsDefaults(t *testing.T) {
	cfg, err := Load("../sites.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	host := DefaultHost()
	host.RunDir = filepath.Join(dir, "run")
	host.StateDir = filepath.Join(dir, "state")
	host.PoolsDir = filepath.Join(dir, "pools")
	host.Admin = "unix:" + filepath.Join(dir, "run", "admin.sock")
	if !reflect.DeepEqual(cfg.Host, host) {
		t.Errorf("host: got %+v, want the defaults %+v", cfg.Host, host)
	}
	if got, want := cfg.Sites[0].Limits, DefaultSite().Limits; got != want {
		t.Errorf("limits: got %+v, want the defaults %+v", got, want)
	}
	for _, name := range []string{"hello", "api", "chat", "node"} {
		pool := cfg.Pools[name]
		if pool == nil || pool.Program == nil {
			t.Fatalf("pool %s: got %+v, want one with a program", name, pool)
		}
		want := DefaultPool(name)
		want.Dir = filepath.Join(host.PoolsDir, name)
		want.Program = pool.Program
		if !reflect.DeepEqual(pool, want) {
			t.Errorf("pool %s: got %+v, want the defaults %+v", name, pool, want)
		}
	}
	if got, want := appsText(cfg.Sites[1].Apps), "{/v1: api}"; got != want {
		t.Errorf("apps of %s: got %s, want %s", cfg.Sites[1].Name, got, want)
	}
}
