package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// Load reads the file at path and returns what it says over the defaults. The
// error is a *Problems when the file was read and is not valid, and then holds
// everything that is wrong with it. Load looks into pool folders and PATH to
// find programs, changes nothing, and may be called at any time.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	d := &decoder{file: path, system: runtime.GOOS}
	cfg := d.decode(abs, string(data))
	if len(d.problems) > 0 {
		sortProblems(d.problems)
		return nil, &Problems{List: d.problems}
	}
	return cfg, nil
}

// decode decodes text over the defaults. The result counts only if no problem
// was found.
func (d *decoder) decode(path, text string) *Config {
	var values map[string]any
	if _, err := toml.Decode(text, &values); err != nil {
		d.syntaxError(text, err)
		return nil
	}
	d.lines = scanLines(text)

	cfg := &Config{
		Path:   path,
		Dir:    filepath.Dir(path),
		Host:   DefaultHost(),
		Pools:  map[string]*Pool{},
		places: places{file: d.file, lines: d.lines, programs: map[string]*place{}, envFiles: map[string]*place{}},
	}
	root := d.table(&place{}, values)
	d.host(root.sub("host"), cfg)
	d.pools(root.sub("pools"), cfg)
	entries := d.sites(root, cfg)
	root.close()

	d.linkPools(cfg, entries)
	d.checkProbes(cfg, entries)
	d.programs(cfg, entries)
	d.checkSites(cfg)
	return cfg
}

// syntaxError reports TOML that cannot be parsed. Of the position in err only
// the offset is exact: its line is off where line ends are involved.
func (d *decoder) syntaxError(text string, err error) {
	p := Problem{File: d.file, Message: err.Error()}
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		text = strings.TrimPrefix(text, "\ufeff")
		before := text[:min(max(parse.Position.Start, 0), len(text))]
		p.Line = 1 + strings.Count(before, "\n")
		p.Column = 1 + utf8.RuneCountInString(before[1+strings.LastIndexByte(before, '\n'):])
		p.Message = parse.Message
	}
	p.Message = strings.ReplaceAll(p.Message, "\n", " ")
	d.problems = append(d.problems, p)
}

// host reads [host] and makes its paths absolute.
func (d *decoder) host(t *table, cfg *Config) {
	h := &cfg.Host
	t.read(h.settings())
	limits := t.sub("limits")
	limits.read(h.Limits.settings())
	limits.close()
	log := t.sub("log")
	log.read(h.Log.settings())
	log.close()
	t.close()

	for _, path := range []*string{&h.RunDir, &h.StateDir, &h.PoolsDir} {
		*path = cfg.abs(*path)
	}
	if socket, ok := strings.CutPrefix(h.Admin, "unix:"); ok {
		h.Admin = "unix:" + cfg.abs(socket)
	} else {
		h.Admin = "unix:" + filepath.Join(h.RunDir, "admin.sock")
	}
}

// abs makes a path of the file absolute.
func (c *Config) abs(path string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(c.Dir, path)
}

// pools reads the tables [pools.NAME].
func (d *decoder) pools(t *table, cfg *Config) {
	for _, name := range slices.Sorted(maps.Keys(t.values)) {
		pt := t.sub(name)
		pool := DefaultPool(name)
		if err := checkName(name); err != nil {
			d.problem(pt.place, "%v", err)
		} else {
			cfg.addPool(pool)
		}
		pt.read(pool.settings())
		failure := pt.sub("failure")
		failure.read(pool.Failure.settings())
		failure.close()
		recycle := pt.sub("recycle")
		recycle.read(pool.Recycle.settings())
		recycle.close()
		health := pt.sub("health")
		health.read(pool.Health.settings())
		health.close()
		d.identity(pt.sub("identity"), pool)
		limits := pt.sub("limits")
		limits.read(pool.Limits.settings())
		limits.close()
		pt.close()
		pool.Failure.OnFailed = cfg.command(pool.Failure.OnFailed)
		d.checkDelays(pt, pool)
		d.checkRecycle(recycle, &pool.Recycle)
		d.checkHang(pt, health, pool)
	}
}

// command makes the program of a command absolute: a bare name is one of PATH,
// anything else a path.
func (c *Config) command(words []string) []string {
	if len(words) == 0 || words[0] == "" {
		return nil
	}
	words = slices.Clone(words)
	if !strings.ContainsAny(words[0], `/\`) {
		if found, err := exec.LookPath(words[0]); err == nil && filepath.IsAbs(found) {
			words[0] = found
			return words
		}
	}
	words[0] = c.abs(words[0])
	return words
}

// identity reads [pools.NAME.identity].
func (d *decoder) identity(t *table, pool *Pool) {
	id := &pool.Identity
	t.read(id.settings())
	t.close()
	if id.User != "" || t.bad("user") {
		return
	}
	for _, key := range []string{"group", "groups"} {
		if t.good[key] && (key == "group" && id.Group != "" || key == "groups" && len(id.Groups) > 0) {
			d.problem(t.key(key), "needs user: without one the pool runs as the host's user, with its groups")
		}
	}
}

// checkDelays compares the two delays, unless one of them is reported already.
func (d *decoder) checkDelays(t *table, pool *Pool) {
	const low, high = "restart_delay", "restart_delay_max"
	if t.bad(low) || t.bad(high) || pool.RestartDelay <= pool.RestartDelayMax {
		return
	}
	at := t.key(low)
	if !t.has(low) {
		at = t.key(high)
	}
	d.problem(at, "%s %s must not be longer than %s %s",
		low, duration{&pool.RestartDelay, positive}, high, duration{&pool.RestartDelayMax, positive})
}

// addPool adds the pool and gives it its folder.
func (c *Config) addPool(pool *Pool) {
	pool.Dir = filepath.Join(c.Host.PoolsDir, pool.Name)
	c.Pools[pool.Name] = pool
}
