package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// stage is everything that runs during the benchmark: two hosts, one of which
// writes an access log, their peers, and a folder for all of them.
type stage struct {
	root   string
	say    func(format string, args ...any)
	dir    string
	script string // check.lua

	inProcess, inProcessLogged target // of Aerie
	outOfProcess               target
	bare, bareLogged           target
	reverseProxy               target

	procs []*process // in the order in which they were started
}

// open builds the programs and starts them. What was started is the caller's
// to close, also after an error.
func (s *stage) open(ctx context.Context) error {
	var err error
	if s.dir, err = os.MkdirTemp("", "aerie-bench"); err != nil {
		return err
	}
	s.script = filepath.Join(s.dir, "check.lua")
	if err := os.WriteFile(s.script, checkLua, 0o600); err != nil {
		return err
	}
	s.say("building")
	if err := s.build(ctx); err != nil {
		return err
	}
	s.say("starting")
	if err := s.startHosts(ctx); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil { // the application first: it is ReverseProxy's upstream
		return err
	}
	return s.startPeers(ctx)
}

func (s *stage) bin(name string) string { return filepath.Join(s.dir, "bin", name) }

func (s *stage) aerie() string { return s.bin("aerie") }

// upstream is the socket on which the application serves ReverseProxy.
func (s *stage) upstream() string { return filepath.Join(s.dir, "upstream.sock") }

// build builds the programs as `make build` does, and deploys the application
// into two pools.
func (s *stage) build(ctx context.Context) error {
	bin := filepath.Join(s.dir, "bin")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-X main.version="+s.version(ctx),
		"-o", bin+string(filepath.Separator), "./cmd/aerie", "./bench/apps/hello", "./bench/peers/bare", "./bench/peers/reverseproxy")
	cmd.Dir = s.root
	cmd.SysProcAttr = ownSession()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	for _, pool := range []string{"inside", "outside"} {
		dir := filepath.Join(s.dir, "pools", pool)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.Link(s.bin("hello"), filepath.Join(dir, "hello")); err != nil {
			return err
		}
	}
	return nil
}

// version is what the source is called, as in the Makefile.
func (s *stage) version(ctx context.Context) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty")
	cmd.Dir = s.root
	out, err := cmd.Output()
	if err != nil {
		return "devel" // no git, or no repository
	}
	return strings.TrimSpace(string(out))
}

// startHosts starts `aerie run` twice.
func (s *stage) startHosts(ctx context.Context) error {
	for _, t := range []*target{&s.inProcess, &s.inProcessLogged, &s.outOfProcess} {
		var err error
		if t.addr, err = freeAddress(); err != nil {
			return err
		}
	}
	quiet := siteInside(s.inProcess.addr) + siteOutside(s.outOfProcess.addr, s.upstream())
	p, err := s.startHost(ctx, "quiet", host(false)+quiet)
	if err != nil {
		return err
	}
	s.inProcess.proc, s.outOfProcess.proc = p, p
	s.inProcessLogged.proc, err = s.startHost(ctx, "logged", host(true)+siteInside(s.inProcessLogged.addr))
	return err
}

func (s *stage) startHost(ctx context.Context, name, sites string) (*process, error) {
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "sites.toml"), []byte(sites), 0o600); err != nil {
		return nil, err
	}
	return s.start(ctx, dir, s.aerie(), "run")
}

// host, siteInside and siteOutside are parts of a sites.toml. Whatever they
// leave out is as it is by default.
func host(accessLog bool) string {
	return fmt.Sprintf("[host]\npools_dir = \"../pools\"\nhost_away = \"1s\" # should it be killed\n\n[host.log]\naccess = %t\n", accessLog)
}

func siteInside(addr string) string {
	return fmt.Sprintf(`
[[sites]]
name     = "inside"
bindings = ["http://%s"]
apps     = [{ pool = "inside", process = "hello", hosting = "inprocess" }]
`, addr)
}

func siteOutside(addr, socket string) string {
	return fmt.Sprintf(`
[[sites]]
name     = "outside"
bindings = ["http://%s"]
apps     = [{ pool = "outside", process = "hello", args = ["-unix", %q], hosting = "outofprocess" }]
`, addr, socket)
}

func (s *stage) startPeers(ctx context.Context) error {
	for _, peer := range []struct {
		target *target
		path   string
		args   []string
	}{
		{&s.bare, s.bin("bare"), nil},
		{&s.bareLogged, s.bin("bare"), []string{"-log", filepath.Join(s.dir, "bare.log")}},
		{&s.reverseProxy, s.bin("reverseproxy"), []string{"-unix", s.upstream()}},
	} {
		p, err := s.start(ctx, s.dir, peer.path, peer.args...)
		if err != nil {
			return err
		}
		peer.target.proc, peer.target.addr = p, p.out.firstLine()
	}
	return nil
}

func (s *stage) start(ctx context.Context, dir, path string, args ...string) (*process, error) {
	p, err := start(ctx, dir, path, args...)
	if err == nil {
		s.procs = append(s.procs, p)
	}
	return p, err
}

// close ends every process and removes the folder.
func (s *stage) close() error {
	for _, p := range s.procs {
		p.stop()
	}
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// freeAddress returns a loopback address on which nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
