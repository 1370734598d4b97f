package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"aerie/admin"
)

var update = flag.Bool("update", false, "write the golden files")

// exec runs one command line.
func exec(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join(packageDir(t), "testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s:\n%s", name, got)
	}
}

// packageDir is this folder, also for a test that has gone elsewhere.
func packageDir(t *testing.T) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no caller")
	}
	return filepath.Dir(file)
}

const sites = `[[sites]]
name     = "shop"
bindings = ["http://shop.localhost:8080"]
apps     = [{ pool = "shop", process = "shop", hosting = "inprocess" }]

[[sites]]
name     = "blog"
bindings = ["http://*:8081", "http://blog.localhost:8080"]

[[sites.apps]]
pool    = "blog"
process = "blog"
args    = ["-v"]
hosting = "outofprocess"

[[sites.apps]]
path    = "/shop"
pool    = "shop"
process = "shop"
hosting = "inprocess"

[pools.blog]
auto_start = false
`

// project makes a folder with a sites.toml and its pools the working directory.
func project(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, pool := range []string{"shop", "blog"} {
		if err := os.MkdirAll(filepath.Join(dir, "pools", pool), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pools", pool, pool), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "sites.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	return dir
}

// fakeHost answers the admin API from its fields.
type fakeHost struct {
	status admin.Status
	reload error
	pool   error
	asked  string
}

func (f *fakeHost) Status() admin.Status { return f.status }

func (f *fakeHost) Reload(context.Context) (admin.Reload, error) {
	f.asked += "reload\n"
	return admin.Reload{ConfigVersion: 8, Changes: []string{"pool shop: hosting inprocess -> outofprocess"}}, f.reload
}

func (f *fakeHost) Queue(_ context.Context, name string) (admin.Queue, error) {
	for _, p := range f.status.Pools {
		if p.Name == name {
			return admin.Queue{Pool: name, Length: 10, Waiting: []admin.Waiter{{Since: f.status.StartedAt, Client: "127.0.0.1:9", Request: "GET /"}}}, nil
		}
	}
	return admin.Queue{}, admin.ErrUnknownPool
}

func (f *fakeHost) Pool(_ context.Context, name string, action admin.Action) (admin.PoolStatus, error) {
	f.asked += fmt.Sprintf("%s %s\n", action, name)
	for _, p := range f.status.Pools {
		if p.Name == name {
			return p, f.pool
		}
	}
	return admin.PoolStatus{}, admin.ErrUnknownPool
}

// serve answers on the project's admin socket until the test ends.
func (f *fakeHost) serve(t *testing.T, dir string) {
	t.Helper()
	s := admin.NewServer(f, slog.New(slog.DiscardHandler))
	if err := s.Listen(filepath.Join(dir, "run", "admin.sock")); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
}

// Every verb's help is as reviewed.
func TestHelp(t *testing.T) {
	var all strings.Builder
	for _, verb := range []string{"", "run", "check", "reload", "status", "pool", "pool start", "pool stop", "pool recycle", "version"} {
		code, out, errOut := exec(t, append(strings.Fields(verb), "--help")...)
		if code != 0 || errOut != "" {
			t.Errorf("%s --help: code %d, stderr %q", verb, code, errOut)
		}
		if verb != "" && !strings.Contains(out, "Examples:") {
			t.Errorf("%s --help has no examples", verb)
		}
		fmt.Fprintf(&all, "$ aerie %s\n%s\n", strings.TrimSpace(verb+" --help"), out)
	}
	golden(t, "help.txt", all.String())
}

// What is wrong with a command line goes to stderr, with exit code 2.
func TestUsage(t *testing.T) {
	project(t, sites)
	var all strings.Builder
	for _, line := range []string{"statsu", "status --jsn", "status now", "check a b", "pool", "pool restart shop",
		"pool stop", "pool stop a b", "run --log-format xml", "run --log-level loud", "version -x"} {
		code, out, errOut := exec(t, strings.Fields(line)...)
		if code != 2 || out != "" {
			t.Errorf("aerie %s: code %d, stdout %q", line, code, out)
		}
		fmt.Fprintf(&all, "$ aerie %s\n%s", line, errOut)
	}
	golden(t, "usage.txt", all.String())
}

func TestVersion(t *testing.T) {
	code, out, _ := exec(t, "version")
	if code != 0 || !strings.HasPrefix(out, "aerie ") || !strings.HasSuffix(out, runtime.Version()+" "+runtime.GOOS+"/"+runtime.GOARCH+"\n") {
		t.Errorf("code %d, %q", code, out)
	}
	code, out, _ = exec(t, "version", "--json")
	var b build
	if err := json.Unmarshal([]byte(out), &b); err != nil || code != 0 || b != thisBuild() || b.Version == "" || b.Go != runtime.Version() {
		t.Errorf("code %d, %q, %v", code, out, err)
	}
	if got := (build{Version: "v1", Revision: "abc", Modified: true, Go: "go1", OS: "linux", Arch: "amd64"}).String(); got != "aerie v1 (abc, modified) go1 linux/amd64" {
		t.Error(got)
	}
}

func TestCompletionOfShells(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, errOut := exec(t, "completion", shell); code != 0 || !strings.Contains(out, "aerie") || errOut != "" {
			t.Errorf("completion %s: code %d, %d bytes, %q", shell, code, len(out), errOut)
		}
	}
}

// The verbs by which the host starts its own binary are no part of the help,
// and nothing else is taken for them.
func TestHelper(t *testing.T) {
	for _, args := range [][]string{nil, {"run"}, {"-c", "launch"}, {"pool", "guard"}} {
		if _, ok := helper(args); ok {
			t.Errorf("%q is taken for a helper", args)
		}
	}
	if code, ok := helper([]string{"launch"}); !ok || code == 0 {
		t.Errorf("launch without a program: %d, %v", code, ok)
	}
}

func TestClean(t *testing.T) {
	if got, want := clean("a\x1b[31mb\tc\n\x07\u009b\x7fé"), "a\ufffd[31mb\tc\n\ufffd\ufffd\ufffdé"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
