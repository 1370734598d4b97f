package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func putText(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEnvironment(t *testing.T) {
	p := &Program{
		EnvFiles: []string{
			putText(t, "first", "# a comment\n\nA=from the first file\nB= spaces stay  \r\nC=x=y#z\nEMPTY=\n"),
			putText(t, "second", "A=from the second\nD=\"\nE=it's \"so\""),
		},
		Env: map[string]string{"D": "from env"},
	}
	want := map[string]string{"A": "from the second", "B": " spaces stay  ", "C": "x=y#z", "EMPTY": "", "D": "from env", "E": `it's "so"`}
	if got, err := p.Environment(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestEnvironmentProblems(t *testing.T) {
	bad := putText(t, "bad", "OK=1\nno sign, secret\n1A=1\nA =1\nexport B=1\nQ=\"secret\"\nN=a\x00b\nOK=secret\n")
	p := &Program{EnvFiles: []string{filepath.Join(t.TempDir(), "absent"), bad}}
	_, err := p.Environment()
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	want := []string{
		"env_files: open ", bad + ":2: want KEY=VALUE", bad + `:3: bad name "1A"`, bad + `:4: bad name "A "`,
		bad + `:5: bad name "export B"`, bad + ":6: Q: quotes", bad + ":7: N: must not hold a NUL", bad + ":8: OK is set already, on line 1",
	}
	if len(lines) != len(want) {
		t.Fatalf("got %d lines, want %d:\n%v", len(lines), len(want), err)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("line %d: got %q, want %q...", i, lines[i], want[i])
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows a value: %v", err)
	}
}

// What is wrong with a file of environment is a warning with the line of the key.
func TestWarningsEnvFiles(t *testing.T) {
	path := write(t, `[[sites]]
name = "shop"
bindings = ["http://shop.localhost:8080"]
[[sites.apps]]
pool = "shop"
process = "shop"
hosting = "inprocess"
env_files = ["absent.env"]
`)
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(cfg.Pools["shop"].Dir, "shop"), 0o700)
	expectWarnings(t, cfg, []string{`:8: sites.shop.apps[0].env_files: pool "shop" cannot start: env_files: open ` + filepath.Join(cfg.Dir, "absent.env")})
}

func TestIdentityProblems(t *testing.T) {
	for text, want := range map[string]string{
		`user = "a b"`:                      `pools.p.identity.user: bad name "a b"`,
		`user = "-1"`:                       `pools.p.identity.user: bad name "-1"`,
		`user = "4294967295"`:               `pools.p.identity.user: bad number "4294967295"`,
		`user = 33`:                         `pools.p.identity.user: want a string`,
		`group = "adm"`:                     `pools.p.identity.group: needs user`,
		`groups = ["adm"]`:                  `pools.p.identity.groups: needs user`,
		"user = \"x\"\ngroups = [\"\"]":     `pools.p.identity.groups[0]: bad name ""`,
		`umask = 22`:                        `pools.p.identity.umask: want octal digits`,
		`umask = "0o22"`:                    `pools.p.identity.umask: want octal digits`,
		`umask = "1000"`:                    `pools.p.identity.umask: want octal digits`,
		`capabilities = "net_bind_service"`: `pools.p.identity.capabilities: want "auto" or "none" or "host"`,
		`no_new_priv = true`:                `pools.p.identity.no_new_priv: unknown key; did you mean "no_new_privs"?`,
	} {
		_, err := Load(write(t, "[pools.p.identity]\n"+text+"\n"))
		if err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestPoolLimitsProblems(t *testing.T) {
	for text, want := range map[string]string{
		`cpu = -1`:                 `pools.p.limits.cpu: must not be negative, got -1`,
		`cpu = 0.001`:              `pools.p.limits.cpu: must be 0 or at least 0.01, got 0.001`,
		`cpu = "1"`:                `pools.p.limits.cpu: want a number of CPUs such as 1.5, got "1"`,
		`cpu = nan`:                `pools.p.limits.cpu: want a number of CPUs such as 1.5, got NaN`,
		`cpu = 1e9`:                `pools.p.limits.cpu: must be at most 8192, got 1000000000`,
		`memory = "lots"`:          `pools.p.limits.memory: want a whole number of bytes`,
		`processes = -1`:           `pools.p.limits.processes: must not be negative`,
		`cpus = "1-0"`:             `pools.p.limits.cpus: bad CPUs "1-0": want numbers and ranges from low to high, such as "0-1,4"`,
		`cpus = "0,,1"`:            `pools.p.limits.cpus: bad CPUs "0,,1"`,
		`cpus = "9999"`:            `pools.p.limits.cpus: bad CPUs "9999"`,
		`cpus = 0`:                 `pools.p.limits.cpus: want a string, got 0`,
		`open_files = 0`:           `pools.p.limits.open_files: must be greater than zero, got 0`,
		`open_files = "8KiB"`:      `pools.p.limits.open_files: want a whole number or "host", got "8KiB"`,
		`open_files = "unlimited"`: `pools.p.limits.open_files: want a whole number or "host", got "unlimited"`,
		`core_size = "none"`:       `pools.p.limits.core_size: want a size such as "512MiB", "unlimited" or "host", got "none"`,
		`core_size = -1`:           `pools.p.limits.core_size: must not be negative, got -1`,
		`mem = 1`:                  `pools.p.limits.mem: unknown key`,
	} {
		_, err := Load(write(t, "[pools.p.limits]\n"+text+"\n"))
		if err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestDropsCapabilities(t *testing.T) {
	for _, c := range []struct {
		user string
		word Capabilities
		want bool
	}{
		{"", CapabilitiesAuto, false}, {"x", CapabilitiesAuto, true},
		{"", CapabilitiesNone, true}, {"x", CapabilitiesNone, true},
		{"", CapabilitiesHost, false}, {"x", CapabilitiesHost, false},
	} {
		if got := (&Identity{User: c.user, Capabilities: c.word}).DropsCapabilities(); got != c.want {
			t.Errorf("user %q, %s: got %v", c.user, c.word, got)
		}
	}
}
