package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// probePath is the path of a health check, with query, or "" for none.
type probePath struct{ p *string }

func (x probePath) set(v any) error {
	s, err := stringOf(v)
	if err != nil {
		return err
	}
	if s != "" {
		u, err := url.ParseRequestURI(s)
		if err != nil || s[0] != '/' || u.Host != "" || strings.ContainsAny(s, "# ") {
			return fmt.Errorf(`want a path such as "/healthz", or "" for none, got %s`, quote(s))
		}
	}
	*x.p = s
	return nil
}

func (x probePath) String() string { return quote(*x.p) }

// checkHang sees to it that a request that hangs still holds a slot when it is
// looked for: as a stream it does not.
func (d *decoder) checkHang(pool, health *table, p *Pool) {
	if p.Health.HangTimeout > 0 && p.MaxConcurrent == 0 && !pool.bad("max_concurrent") {
		d.problem(health.key("hang_timeout"), "needs a limit max_concurrent: without one a process is never full")
	}
	if p.Health.HangTimeout <= p.StreamAfter || health.bad("hang_timeout") || pool.bad("stream_after") {
		return
	}
	d.problem(health.key("hang_timeout"), "hang_timeout %s must not be longer than stream_after %s: a stream takes no slot",
		duration{&p.Health.HangTimeout, zero}, duration{&p.StreamAfter, positive})
}

// checkProbes sees to it that the path of each health check is one that an
// application of the pool answers.
func (d *decoder) checkProbes(cfg *Config, entries []*appEntry) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Pools)) {
		path, _, _ := strings.Cut(cfg.Pools[name].Health.Path, "?")
		var paths []string
		fits := path == ""
		for _, e := range entries {
			if e.pool == name {
				paths = append(paths, e.app.Path)
				fits = fits || e.app.Answers(path)
			}
		}
		if !fits && len(paths) > 0 {
			d.problem((&place{}).key("pools").key(name).key("health").key("path"),
				"no app of the pool answers %s: their paths are %s", quote(path), strings.Join(paths, ", "))
		}
	}
}

// Answers reports whether a path is the app's or below it.
func (a *App) Answers(path string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(a.Path, "/"))
	return ok && (rest == "" || rest[0] == '/')
}
