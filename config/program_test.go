package config

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// put writes a file of that mode, and the folders above it.
func put(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, mode); err != nil {
		t.Fatal(err)
	}
}

// command is a file name that PATH finds on this system.
func command(name string) string {
	if runtime.GOOS == "windows" {
		return name + ".exe"
	}
	return name
}

func TestFindProcess(t *testing.T) {
	pool := DefaultPool("shop")
	pool.Dir = filepath.Join(t.TempDir(), "shop")
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	for _, name := range []string{"both", "path", "folder"} {
		put(t, filepath.Join(bin, command(name)), 0o700)
	}
	put(t, filepath.Join(pool.Dir, "both"), 0o600)
	put(t, filepath.Join(pool.Dir, "folder", "file"), 0o600)
	for process, want := range map[string]string{
		"both":       filepath.Join(pool.Dir, "both"),
		"path":       filepath.Join(bin, command("path")),
		"folder":     filepath.Join(bin, command("folder")), // a folder is no program
		"sub/path":   filepath.Join(pool.Dir, "sub", "path"),
		"not-yet":    filepath.Join(pool.Dir, "not-yet"),
		"sub/absent": filepath.Join(pool.Dir, "sub", "absent"),
	} {
		if got := pool.find(process); got != want {
			t.Errorf("%s: got %s, want %s", process, got, want)
		}
	}
}

// A link that leads out of the pool's folder is not a file of the pool.
func TestFindProcessLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // links need a privilege there
	}
	pool := DefaultPool("shop")
	pool.Dir = filepath.Join(t.TempDir(), "shop")
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	put(t, filepath.Join(bin, "node"), 0o700)
	put(t, filepath.Join(pool.Dir, "real"), 0o700)
	for link, target := range map[string]string{"node": filepath.Join(bin, "node"), "inner": "real"} {
		if err := os.Symlink(target, filepath.Join(pool.Dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := pool.find("node"), filepath.Join(bin, "node"); got != want {
		t.Errorf("link out of the folder: got %s, want %s", got, want)
	}
	if got, want := pool.find("inner"), filepath.Join(pool.Dir, "inner"); got != want {
		t.Errorf("link inside the folder: got %s, want %s", got, want)
	}
}

const warningsText = `
[host]
run_dir = "RUN"
limits.max_request_line = "1KiB"
[pools.nobody]
[[sites]]
name = "shop"
bindings = ["http://shop.localhost"]
limits.max_query = "1000B"
  [[sites.apps]]
  pool = "there"
  process = "there"
  hosting = "inprocess"
  [[sites.apps]]
  path = "/dull"
  pool = "dull"
  process = "dull"
  hosting = "inprocess"
  [[sites.apps]]
  path = "/absent"
  pool = "absent"
  hosting = "outofprocess"
  process = "absent"
  [[sites.apps]]
  path = "/command"
  pool = "command"
  process = "aerie-test-command"
  hosting = "outofprocess"
`

func TestWarnings(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	put(t, filepath.Join(bin, command("aerie-test-command")), 0o700)
	path := write(t, strings.Replace(warningsText, "RUN", strings.Repeat("r", 90), 1))
	dir := filepath.Dir(path)
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	expectWarnings(t, cfg, []string{
		":2: host.admin: the socket's path has ",
		":2: host.pools_dir: there is no folder ",
		":3: host.run_dir: sockets in it would have paths of ",
		":9: sites.shop.limits.max_url: 4KiB is never reached: max_request_line of [host.limits] is 1KiB",
	})

	put(t, filepath.Join(dir, "pools", "there", "there"), 0o700)
	put(t, filepath.Join(dir, "pools", "dull", "dull"), 0o600)
	want := []string{
		":2: host.admin: ",
		":3: host.run_dir: ",
		":5: pools.nobody: no app names this pool",
		":9: sites.shop.limits.max_url: ",
		":17: sites.shop.apps[1].process: " + filepath.Join(dir, "pools", "dull", "dull") + " is not executable (mode 0600)",
		":23: sites.shop.apps[2].process: there is no file " + filepath.Join(dir, "pools", "absent", "absent") + ": ",
	}
	if runtime.GOOS == "windows" { // has no such mode
		want = slices.Delete(want, 4, 5)
	}
	expectWarnings(t, cfg, want)
}

func TestWarningsNoSites(t *testing.T) {
	cfg := load(t, `host.run_dir = "/r"`)
	if err := os.Mkdir(cfg.Host.PoolsDir, 0o700); err != nil {
		t.Fatal(err)
	}
	expectWarnings(t, cfg, []string{": there is no [[sites]] entry"})
}

// A Config that came from no file has warnings without lines.
func TestWarningsNoFile(t *testing.T) {
	pool := DefaultPool("shop")
	pool.Dir = filepath.Join(t.TempDir(), "shop")
	pool.Program = &Program{Process: filepath.Join(pool.Dir, "shop"), Hosting: InProcess}
	site := DefaultSite()
	site.Limits.MaxURL = 1 << 20
	cfg := &Config{Host: DefaultHost(), Pools: map[string]*Pool{"shop": pool}, Sites: []*Site{site}}
	cfg.Host.PoolsDir = filepath.Dir(pool.Dir)
	expectWarnings(t, cfg, []string{"sites[0].limits.max_url: ", "pools.shop: there is no file "})
}

// expectWarnings compares the warnings of cfg with parts of them, in order.
// Those of the host's user depend on who runs the test.
func expectWarnings(t *testing.T, cfg *Config, want []string) {
	t.Helper()
	var got []string
	root := false
	for _, p := range cfg.Warnings() {
		if strings.Contains(p.Message, "runs as root") || strings.Contains(p.Message, "run as the host's user") {
			root = true
			continue
		}
		got = append(got, p.String())
	}
	if want := len(cfg.Pools) > 1 || len(cfg.Pools) > 0 && os.Geteuid() == 0; root != want {
		t.Errorf("the warning about the host's user is there: %v, for user %d and %d pools", root, os.Geteuid(), len(cfg.Pools))
	}
	if !slices.EqualFunc(got, want, strings.Contains) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
