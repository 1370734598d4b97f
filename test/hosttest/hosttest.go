//go:build unix

// Package hosttest runs whole hosts for tests: the real aerie binary as a child
// process, with real worker processes, in a folder of its own.
package hosttest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"aerie/admin"
	"aerie/internal/cgroup"

	// What Bin builds is not seen by the cache of test results; these are.
	_ "aerie/app"
	_ "aerie/host"
)

// Limit bounds every wait for something that has to happen.
const Limit = 60 * time.Second

// Bin builds the command of a package of this module once per test process,
// with the race detector if the test has it, and returns its path.
func Bin(t *testing.T, pkg string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if path := builds.done[pkg]; path != "" {
		return path
	}
	path := filepath.Join(builds.dir, filepath.Base(pkg))
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, pkg)...).CombinedOutput()
	if err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	builds.done[pkg] = path
	return path
}

var builds struct {
	sync.Mutex
	dir  string
	done map[string]string
}

// Main is the TestMain of a package that uses Bin: it keeps what is built until
// the tests have run.
func Main(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "aerie")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()     // a temporary folder
		if err := os.Chmod(dir, 0o755); err != nil { // hosts of other users are run from it
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		builds.dir, builds.done = dir, map[string]string{}
		return m.Run()
	}())
}

// Host is a host in its own folder. Its processes end with the test.
type Host struct {
	t      *testing.T
	Dir    string
	Addr   string // of the port that the sites share: 127.0.0.1:PORT
	Port   string
	Client *admin.Client
	As     *syscall.Credential // whose process the host is; nil: the test's own
	Attr   syscall.SysProcAttr // of the host's process, beside As

	// Prepare, if set, is given each `aerie run` before it is started.
	Prepare func(*exec.Cmd)

	cmd    *exec.Cmd
	log    *logBuffer
	exited chan struct{}
	exit   error
}

// New makes a folder with sites.toml, in which PORT stands for a free port, and
// with the programs of the pools: name of the pool to the binary that is copied
// there under the pool's name.
func New(t *testing.T, sites string, pools map[string]string) *Host {
	t.Helper()
	dir, err := os.MkdirTemp("", "ae") // t.TempDir's names are too long for the paths of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // a temporary folder
	h := &Host{t: t, Dir: dir, Port: freePort(t), log: &logBuffer{}}
	h.Addr = "127.0.0.1:" + h.Port
	h.WriteSites(sites)
	for pool, bin := range pools {
		h.Install(pool, pool, bin)
	}
	h.Client = admin.NewClient("unix:" + filepath.Join(dir, "run", "admin.sock"))
	t.Cleanup(h.Client.Close)
	return h
}

// freePort is a port that nobody listens on, from outside the range from which
// the system picks ports for outgoing connections.
func freePort(t *testing.T) string {
	t.Helper()
	for p := 20000 + os.Getpid()%8000; p < 32000; p++ {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", p))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(p)
	}
	t.Fatal("no free port")
	return ""
}

// WriteSites replaces sites.toml.
func (h *Host) WriteSites(sites string) {
	h.t.Helper()
	h.write("sites.toml", []byte(strings.ReplaceAll(sites, "PORT", h.Port)), 0o644)
}

// Install puts a program into a pool's folder under the given name, as a deploy
// does: under a new name first, then renamed.
func (h *Host) Install(pool, name, bin string) {
	h.t.Helper()
	b, err := os.ReadFile(bin)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(filepath.Join("pools", pool, name), b, 0o755)
}

// InstallScript is Install of a program that is text, such as a shell script.
func (h *Host) InstallScript(pool, name, text string) {
	h.t.Helper()
	h.write(filepath.Join("pools", pool, name), []byte(text), 0o755)
}

func (h *Host) write(name string, b []byte, mode os.FileMode) {
	h.t.Helper()
	path := filepath.Join(h.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", b, mode); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		h.t.Fatal(err)
	}
}

// Start starts the host and returns when it answers and all pools with a
// program run.
func (h *Host) Start() *Host {
	h.t.Helper()
	h.StartOnly()
	h.Wait("all pools to run", func(s admin.Status) bool {
		for _, p := range s.Pools {
			if p.State != "running" {
				return false
			}
		}
		return len(s.Pools) > 0
	})
	return h
}

// StartOnly starts the host and returns when its admin API answers.
func (h *Host) StartOnly() {
	h.t.Helper()
	h.cmd = h.Run()
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	attr := h.Attr
	attr.Setpgid, attr.Credential = true, h.As
	h.cmd.SysProcAttr = &attr
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.exited = make(chan struct{})
	cmd, exited := h.cmd, h.exited
	go func() {
		h.exit = cmd.Wait()
		close(exited)
	}()
	h.t.Cleanup(func() {
		h.kill(cmd, exited)
		h.clearGroups()
		if h.t.Failed() {
			h.t.Logf("host:\n%s", h.log)
			h.logTails()
		}
	})
	h.Wait("the host to answer", func(admin.Status) bool { return true })
}

// Run is the command that runs the host.
func (h *Host) Run() *exec.Cmd {
	h.t.Helper()
	cmd := exec.Command(Bin(h.t, "aerie/cmd/aerie"), "run", "-c", filepath.Join(h.Dir, "sites.toml"))
	if h.Prepare != nil {
		h.Prepare(cmd)
	}
	return cmd
}

func (h *Host) kill(cmd *exec.Cmd, exited chan struct{}) {
	select {
	case <-exited:
		return
	default:
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		h.t.Log(err)
	}
	select {
	case <-exited:
	case <-time.After(15 * time.Second):
		h.t.Errorf("the host did not end within 15 s of SIGTERM")
		if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
			h.t.Log(err)
		}
		<-exited
	}
}

// clearGroups removes the control groups that a host which was killed has left for
// its next start.
func (h *Host) clearGroups() {
	tree, err := cgroup.Open(cgroup.Name(filepath.Join(h.Dir, "run")))
	if err != nil {
		return // there were none
	}
	if err := errors.Join(tree.Sweep(func(string) bool { return true }), tree.Close()); err != nil {
		h.t.Error(err)
	}
}

func (h *Host) logTails() {
	logs, err := filepath.Glob(filepath.Join(h.Dir, "state", "logs", "*.log"))
	if err != nil {
		h.t.Log(err)
	}
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err == nil && len(b) > 0 && filepath.Base(path) != "access.log" {
			h.t.Logf("%s:\n%s", filepath.Base(path), b[max(0, len(b)-4000):])
		}
	}
}

// Pid is the host's process.
func (h *Host) Pid() int { return h.cmd.Process.Pid }

// Signal sends the host a signal.
func (h *Host) Signal(sig os.Signal) {
	h.t.Helper()
	if err := h.cmd.Process.Signal(sig); err != nil {
		h.t.Fatal(err)
	}
}

// Exited waits for the host's end and returns what exec.Cmd.Wait did.
func (h *Host) Exited() error {
	h.t.Helper()
	select {
	case <-h.exited:
		return h.exit
	case <-time.After(Limit):
		h.t.Fatal("the host did not end")
		return nil
	}
}

// Log is what the host has printed so far.
func (h *Host) Log() string { return h.log.String() }

// Status asks the host.
func (h *Host) Status() admin.Status {
	h.t.Helper()
	s, err := h.Client.Status(context.Background())
	if err != nil {
		h.t.Fatalf("status: %v\n%s", err, h.log)
	}
	return s
}

// Pool is the status of one pool.
func (h *Host) Pool(name string) admin.PoolStatus {
	h.t.Helper()
	return PoolOf(h.t, h.Status(), name)
}

// PoolOf finds a pool in a status.
func PoolOf(t *testing.T, s admin.Status, name string) admin.PoolStatus {
	t.Helper()
	for _, p := range s.Pools {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no pool %s in %+v", name, s)
	return admin.PoolStatus{}
}

// Wait asks for the status until ok likes it. A host that ends fails the test.
func (h *Host) Wait(what string, ok func(admin.Status) bool) admin.Status {
	h.t.Helper()
	var last admin.Status
	end := time.After(Limit)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := h.Client.Status(context.Background())
		if err == nil {
			if last = s; ok(s) {
				return s
			}
		}
		select {
		case <-tick.C:
		case <-h.exited:
			h.t.Fatalf("waiting for %s: the host ended (%v)\n%s", what, h.exit, h.log)
		case <-end:
			h.t.Fatalf("waiting for %s: last status %+v, %v\n%s", what, last, err, h.log)
		}
	}
}

// WaitFor waits until ok says so.
func (h *Host) WaitFor(what string, ok func() bool) {
	h.t.Helper()
	end := time.After(Limit)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			h.t.Fatalf("waiting for %s in vain\n%s", what, h.log)
		}
	}
}

// CLI runs a verb of aerie against this host.
func (h *Host) CLI(args ...string) (stdout string, err error) {
	h.t.Helper()
	cmd := exec.Command(Bin(h.t, "aerie/cmd/aerie"), append(args, "-c", filepath.Join(h.Dir, "sites.toml"))...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: h.As}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("aerie %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

// Get sends a GET to a site on a new connection and returns status and body.
func (h *Host) Get(host, path string) (int, string) {
	h.t.Helper()
	status, body, err := h.TryGet(host, path)
	if err != nil {
		h.t.Fatalf("GET %s%s: %v", host, path, err)
	}
	return status, body
}

// TryGet is Get that returns its error.
func (h *Host) TryGet(host, path string) (int, string, error) { return h.Try("GET", host, path) }

// Try sends a request without a body to a site on a new connection.
func (h *Host) Try(method, host, path string) (int, string, error) {
	c, err := net.Dial("tcp", h.Addr)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = c.Close() }() // only read from by now
	if err := c.SetDeadline(time.Now().Add(Limit)); err != nil {
		return 0, "", err
	}
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, path, host); err != nil {
		return 0, "", err
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, "", err
	}
	var status int
	if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &status); err != nil {
		return 0, "", fmt.Errorf("status line %q: %w", line, err)
	}
	for line != "\r\n" {
		if line, err = r.ReadString('\n'); err != nil {
			return 0, "", err
		}
	}
	body, err := io.ReadAll(r)
	return status, string(body), err
}

// Alive reports whether a process exists.
func Alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// logBuffer is a bytes.Buffer for several writers.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
