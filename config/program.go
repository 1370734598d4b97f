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

// programs gathers the program of each pool from the apps that name it. An app
// that leaves a key out takes it from the others; those that give it must
// agree, because a pool runs one program.
func (d *decoder) programs(cfg *Config, entries []*appEntry) {
	byPool := map[string][]*appEntry{}
	for _, e := range entries {
		if e.pool != "" {
			byPool[e.pool] = append(byPool[e.pool], e)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byPool)) {
		pool, apps := cfg.Pools[name], byPool[name]
		pool.Program = d.agree(apps)
		cfg.places.programs[name] = apps[0].place
		pool.Program.Dir = pool.abs(pool.Program.Dir)
		if first := giver(apps, "env_files"); first != nil {
			cfg.places.envFiles[name] = first.key("env_files")
		}
		for i, file := range pool.Program.EnvFiles {
			pool.Program.EnvFiles[i] = cfg.abs(file)
		}
		if first := giver(apps, "process"); first != nil {
			cfg.places.programs[name] = first.key("process")
			pool.Program.Process = pool.find(pool.Program.Process)
		}
	}
}

// agree makes one program of what the apps of a pool say.
func (d *decoder) agree(apps []*appEntry) *Program {
	program := &Program{Dir: "."}
	if first := giver(apps, "process"); first != nil {
		program.Process = first.program.Process
	} else if !anyHas(apps, "process") {
		d.problem(apps[0].key("process"), "missing: one app of pool %q must name the executable in the pool's folder", apps[0].pool)
	}
	if first := giver(apps, "args"); first != nil {
		program.Args = first.program.Args
	}
	if first := giver(apps, "dir"); first != nil {
		program.Dir = first.program.Dir
	}
	if first := giver(apps, "env"); first != nil {
		program.Env = first.program.Env
	}
	if first := giver(apps, "env_files"); first != nil {
		program.EnvFiles = slices.Clone(first.program.EnvFiles) // its paths are made absolute
	}
	if first := giver(apps, "hosting"); first != nil {
		program.Hosting = first.program.Hosting
	} else if !anyHas(apps, "hosting") {
		d.problem(apps[0].key("hosting"), "missing: one app of pool %q must say %q or %q", apps[0].pool, InProcess, OutOfProcess)
	}
	want := program.settings()
	for _, e := range apps {
		for i, s := range e.program.settings() {
			first := giver(apps, s.key)
			if !e.good[s.key] || s.value.String() == want[i].value.String() {
				continue
			}
			mine, other := s.value.String(), want[i].value.String()
			if s.key == "env" {
				mine, other = "this", "that" // its values may be secret
			}
			d.problem(e.key(s.key), "%s differs from %s of %s on line %d: apps of one pool (%q) run one program",
				mine, other, first.name, d.lines.of(first.key(s.key)), e.pool)
		}
	}
	return program
}

// giver is the first of the apps that gives that key a good value; nil when
// none does.
func giver(apps []*appEntry, key string) *appEntry {
	for _, e := range apps {
		if e.good[key] {
			return e
		}
	}
	return nil
}

// anyHas says whether one of the apps gives that key, good or not.
func anyHas(apps []*appEntry, key string) bool {
	return slices.ContainsFunc(apps, func(e *appEntry) bool { return e.has(key) })
}

// abs makes a path of the pool's program absolute.
func (p *Pool) abs(path string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(p.Dir, path)
}

// find is the absolute path of a process: the file in the pool's folder, else
// the command of that name in PATH, else the place in the pool's folder where
// it is yet to be deployed.
func (p *Pool) find(process string) string {
	inside := filepath.Join(p.Dir, filepath.FromSlash(process))
	if process == "" || strings.ContainsAny(process, `/\`) {
		return inside
	}
	if _, ok := p.stat(inside); ok {
		return inside
	}
	if command, err := exec.LookPath(process); err == nil && filepath.IsAbs(command) {
		return command
	}
	return inside
}

// stat looks for a file inside the pool's folder, following no link out of it.
func (p *Pool) stat(file string) (info os.FileInfo, ok bool) {
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return nil, false
	}
	defer root.Close()
	local, err := filepath.Rel(p.Dir, file)
	if err != nil {
		return nil, false
	}
	info, err = root.Stat(local)
	if err != nil && runtime.GOOS == "windows" {
		info, err = root.Stat(local + ".exe") // as the start of a process adds it
	}
	return info, err == nil && info.Mode().IsRegular()
}
