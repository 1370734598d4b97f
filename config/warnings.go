package config

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// maxSocketPath is the length of a socket's path that is safe on every system:
// Linux takes 107 bytes, macOS 103.
const maxSocketPath = 100

// places is where things stand in the file that a Config was read from. It is
// empty for a Config that was not read from a file.
type places struct {
	file     string
	lines    lineMap
	sites    []*place          // of Config.Sites
	programs map[string]*place // by pool: the key "process"
	envFiles map[string]*place // by pool: the key "env_files", where there is one
}

// Warnings says what is doubtful about a valid configuration on this machine
// at this moment: nothing of it stops the host. It looks at the file system,
// so its answer changes with a deployment.
func (c *Config) Warnings() []Problem {
	w := &decoder{file: c.places.file, lines: c.places.lines}
	root := &place{}
	host := root.key("host")
	c.warnUser(w, root)
	if len(c.Sites) == 0 {
		w.problem(root, "there is no [[sites]] entry: the host has nothing to serve")
	}
	c.warnSockets(w, host)
	for i, site := range c.Sites {
		c.warnURL(w, i, site)
	}
	if info, err := os.Stat(c.Host.PoolsDir); err != nil || !info.IsDir() {
		w.problem(host.key("pools_dir"), "there is no folder %s: nothing is deployed", c.Host.PoolsDir)
	} else {
		for _, name := range slices.Sorted(maps.Keys(c.Pools)) {
			c.warnProgram(w, c.Pools[name])
			c.warnCommand(w, c.Pools[name])
			c.warnEnvFiles(w, c.Pools[name])
		}
	}
	sortProblems(w.problems)
	return w.problems
}

// Warning is a warning about a key: its message, and the line on which the key or
// the table around it stands. The key is given in parts: "pools", "shop".
func (c *Config) Warning(message string, key ...string) Problem {
	at := &place{}
	for _, k := range key {
		at = at.key(k)
	}
	return Problem{File: c.places.file, Line: c.places.lines.of(at), Key: at.name, Message: message}
}

// warnUser warns of pools that have no user of their own.
func (c *Config) warnUser(w *decoder, root *place) {
	var shared []string
	for _, name := range slices.Sorted(maps.Keys(c.Pools)) {
		if c.Pools[name].Identity.User == "" {
			shared = append(shared, name)
		}
	}
	const most = 5
	names := strings.Join(shared[:min(len(shared), most)], ", ")
	if len(shared) > most {
		names += ", ..."
	}
	switch {
	case len(shared) > 0 && os.Geteuid() == 0:
		w.problem(root, "the host runs as root, and so do the apps of pools without a user in [pools.NAME.identity]: %s", names)
	case len(shared) > 1:
		w.problem(root, "pools without a user in [pools.NAME.identity] run as the host's user: files and sockets of one are open to the apps of all: %s", names)
	}
}

// warnEnvFiles warns of files of environment that could not be read now.
func (c *Config) warnEnvFiles(w *decoder, pool *Pool) {
	if pool.Program == nil {
		return
	}
	at, ok := c.places.envFiles[pool.Name]
	if !ok {
		at = (&place{}).key("pools").key(pool.Name)
	}
	if _, err := pool.Program.Environment(); err != nil {
		for line := range strings.Lines(err.Error()) {
			w.problem(at, "pool %q cannot start: %s", pool.Name, strings.TrimSuffix(line, "\n"))
		}
	}
}

// warnSockets warns of directories too long for the sockets in them.
func (c *Config) warnSockets(w *decoder, host *place) {
	socket := filepath.Join(c.Host.RunDir, "p", "01234567", "01234", "g0123", "plugin0123456789") // the longest name there
	if len(socket) > maxSocketPath {
		w.problem(host.key("run_dir"), "sockets in it would have paths of %d bytes, over %d: choose a shorter folder, such as /run/aerie",
			len(socket), maxSocketPath)
	}
	if path := strings.TrimPrefix(c.Host.Admin, "unix:"); len(path) > maxSocketPath {
		w.problem(host.key("admin"), "the socket's path has %d bytes, over %d: choose a shorter one", len(path), maxSocketPath)
	}
}

// warnURL warns of limits of a site that the host's own make pointless.
func (c *Config) warnURL(w *decoder, i int, site *Site) {
	at := (&place{}).key("sites").item(i)
	if i < len(c.places.sites) {
		at = c.places.sites[i]
	}
	line := c.Host.Limits.MaxRequestLine
	warn := func(key string, n int) {
		if int64(n) > line {
			w.problem(at.key("limits").key(key), "%s is never reached: max_request_line of [host.limits] is %s",
				FormatSize(int64(n)), FormatSize(line))
		}
	}
	warn("max_url", site.Limits.MaxURL)
	warn("max_query", site.Limits.MaxQuery)
}

// warnProgram warns of a pool whose program could not be started now.
func (c *Config) warnProgram(w *decoder, pool *Pool) {
	at := (&place{}).key("pools").key(pool.Name)
	if pool.Program == nil {
		w.problem(at, "no app names this pool: it runs nothing")
		return
	}
	if given, ok := c.places.programs[pool.Name]; ok {
		at = given
	}
	file := pool.Program.Process
	if !inside(pool.Dir, file) {
		return // a command of PATH, which was there when it was found
	}
	info, ok := pool.stat(file)
	switch {
	case !ok:
		w.problem(at, "there is no file %s: pool %q (%s) cannot start", file, pool.Name, pool.Program.Hosting)
	case runtime.GOOS != "windows" && info.Mode()&0o111 == 0:
		w.problem(at, "%s is not executable (mode %04o)", file, info.Mode().Perm())
	}
}

// warnCommand warns of a command for a failed pool that could not be run now.
func (c *Config) warnCommand(w *decoder, pool *Pool) {
	if len(pool.Failure.OnFailed) == 0 {
		return
	}
	at := (&place{}).key("pools").key(pool.Name).key("failure").key("on_failed")
	if _, err := exec.LookPath(pool.Failure.OnFailed[0]); err != nil {
		w.problem(at, "there is no program %s", pool.Failure.OnFailed[0])
	}
}

// inside says whether file lies in dir; both are clean and absolute.
func inside(dir, file string) bool {
	local, err := filepath.Rel(dir, file)
	return err == nil && filepath.IsLocal(local)
}
