package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// appEntry is one [[sites.apps]] entry while the file is being read: what an
// *App cannot hold yet.
type appEntry struct {
	*table
	app     *App
	pool    string // "" when it is missing or broken
	program Program
}

// sites reads the [[sites]] and their apps.
func (d *decoder) sites(root *table, cfg *Config) []*appEntry {
	var entries []*appEntry
	named := map[string]*place{}
	for _, t := range root.array("sites", renameSite) {
		site := DefaultSite()
		t.read(site.settings())
		d.required(t, "name", "every site needs a name of its own")
		d.required(t, "bindings", `a site needs a binding such as "http://shop.localhost:8080"`)
		limits := t.sub("limits")
		limits.read(site.Limits.settings())
		limits.close()
		entries = append(entries, d.apps(t, site)...)
		t.close()

		if first, ok := named[site.Name]; ok {
			d.problem(t.key("name"), "another site is named %q, on line %d", site.Name, d.lines.of(first))
		} else if site.Name != "" {
			named[site.Name] = t.key("name")
		}
		cfg.Sites = append(cfg.Sites, site)
		cfg.places.sites = append(cfg.places.sites, t.place)
	}
	return entries
}

// renameSite lets messages say sites.blog for sites[0].
func renameSite(at *place, values map[string]any) {
	if s, ok := values["name"].(string); ok && checkName(s) == nil {
		at.name = joinKey("sites", s)
	}
}

// apps reads the [[sites.apps]] of the site.
func (d *decoder) apps(t *table, site *Site) []*appEntry {
	var entries []*appEntry
	paths := map[string]*place{}
	for _, at := range t.array("apps", nil) {
		e := &appEntry{table: at, app: DefaultApp()}
		e.read(e.app.settings(&e.pool))
		e.read(e.program.settings())
		e.close()
		d.required(e.table, "pool", "an app needs the name of a pool")
		if first, ok := paths[e.app.Path]; ok && !e.bad("path") {
			d.problem(e.key("path"), "another app of this site has the path %q, on line %d", e.app.Path, d.lines.of(first))
		} else if !e.bad("path") {
			paths[e.app.Path] = e.key("path")
		}
		site.Apps = append(site.Apps, e.app)
		entries = append(entries, e)
	}
	if !t.has("apps") || isEmptyArray(t.values["apps"]) {
		d.problem(t.key("apps"), "missing: a site needs at least one [[sites.apps]]")
	}
	slices.SortStableFunc(site.Apps, func(a, b *App) int {
		return cmp.Or(len(b.Path)-len(a.Path), strings.Compare(a.Path, b.Path))
	})
	return entries
}

func isEmptyArray(v any) bool {
	list, ok := v.([]any)
	return ok && len(list) == 0
}

func (d *decoder) required(t *table, key, rule string) {
	if !t.has(key) {
		d.problem(t.key(key), "missing: %s", rule)
	}
}

// linkPools gives each app its pool. A pool that has no table exists with the
// defaults, unless its name looks like a mistyped one.
func (d *decoder) linkPools(cfg *Config, entries []*appEntry) {
	unused := map[string]bool{}
	for name := range cfg.Pools {
		unused[name] = true
	}
	for _, e := range entries {
		delete(unused, e.pool)
	}
	candidates := slices.Sorted(maps.Keys(unused))
	for _, e := range entries {
		if e.pool == "" {
			continue
		}
		pool, ok := cfg.Pools[e.pool]
		if !ok {
			if hint := didYouMean(e.pool, candidates); hint != "" {
				d.problem(e.key("pool"), "unknown pool %q%s", e.pool, hint)
			}
			pool = DefaultPool(e.pool)
			cfg.addPool(pool)
		}
		e.app.Pool = pool
	}
}

// checkSites finds bindings that two sites, or one site twice, lay claim to.
func (d *decoder) checkSites(cfg *Config) {
	type claim struct {
		site *Site
		at   *place
	}
	claims := map[endpoint]claim{}
	for i, site := range cfg.Sites {
		for j, b := range site.Bindings {
			if b.Port == 0 {
				continue // reported
			}
			at := cfg.places.sites[i].key("bindings").item(j)
			first, ok := claims[b.endpoint()]
			switch {
			case !ok:
				claims[b.endpoint()] = claim{site, at}
			case first.site == site:
				d.problem(at, "%q is listed twice", b.Text)
			default:
				d.problem(at, "%q is a binding of site %q already, on line %d", b.Text, first.site.Name, d.lines.of(first.at))
			}
		}
	}
}
