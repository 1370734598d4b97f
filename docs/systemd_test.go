package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

const units = "../dist/systemd/"

// settings are the lines of a unit file, "Name=value", except those that say what
// it is and when it starts.
func settings(t *testing.T, file string) (out []string) {
	t.Helper()
	about := regexp.MustCompile(`^(Description|Wants|After|WantedBy|ExecStart)=`)
	section := regexp.MustCompile(`^\[[A-Z][a-z]+\]$`)
	setting := regexp.MustCompile(`^[A-Z][A-Za-z0-9]+=`)
	for i, line := range strings.Split(read(t, units+file), "\n") {
		switch {
		case line == "", line[0] == '#', section.MatchString(line), about.MatchString(line):
		case setting.MatchString(line):
			out = append(out, line)
		default:
			t.Errorf("%s:%d: %q is no setting", file, i+1, line)
		}
	}
	return out
}

// The manual says of each setting of the unit files what it is for, and of no other.
func TestUnitSettings(t *testing.T) {
	documented := map[string]bool{}
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
	for _, m := range row.FindAllStringSubmatch(section(t, "operations.md", "systemd"), -1) {
		documented[m[1]] = true
	}
	for _, line := range append(settings(t, "aerie.service"), settings(t, "aerie.socket")...) {
		if !documented[line] {
			t.Errorf("operations.md, systemd: %q is missing", line)
		}
		delete(documented, line)
	}
	for line := range documented {
		t.Errorf("operations.md, systemd: %q is in no unit file", line)
	}
}

// What the host's promises rest on, and limits that are longer than the host's own.
func TestUnitKeepsPromises(t *testing.T) {
	values := map[string]string{}
	for _, line := range settings(t, "aerie.service") {
		name, value, _ := strings.Cut(line, "=")
		values[name] = value
	}
	for name, want := range map[string]string{"Type": "notify", "KillMode": "process", "Delegate": "yes", "OOMPolicy": "continue"} {
		if values[name] != want {
			t.Errorf("%s=%s, want %s", name, values[name], want)
		}
	}
	seconds := func(name string) time.Duration {
		n, err := strconv.Atoi(values[name])
		if err != nil || n <= 0 {
			t.Errorf("%s=%s: want seconds above 0", name, values[name])
		}
		return time.Duration(n) * time.Second
	}
	pool := load(t, t.TempDir(), "[pools.shop]\n").Pools["shop"]
	if got, least := seconds("TimeoutStopSec"), pool.DrainTimeout+pool.ShutdownTimeout; got <= least {
		t.Errorf("TimeoutStopSec is %v, the host may need %v", got, least)
	}
	if got := seconds("TimeoutStartSec"); got <= pool.StartupTimeout {
		t.Errorf("TimeoutStartSec is %v, a reload may need %v", got, pool.StartupTimeout)
	}
	if seconds("FileDescriptorStoreMax") == 0 || seconds("WatchdogSec") == 0 {
		t.Error("no store of descriptors, or no watchdog")
	}
}

// systemd itself reads the unit files without a word.
func TestUnitsVerify(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") == "true" && runtime.GOOS == "linux" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"aerie.service", "aerie.socket"} {
		text := strings.ReplaceAll(read(t, units+name), "/usr/local/bin/aerie", os.Args[0]) // a program that is there
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	out, err := exec.Command(tool, append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
