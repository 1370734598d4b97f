package config

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Change is one key that has another value.
type Change struct {
	Key      string // within its table: "queue_length", "limits.max_body"
	Old, New string // as sites.toml writes them; both "" for env, whose values may be secret
}

// String is "queue_length 1000 -> 500".
func (c Change) String() string {
	if c.Old == c.New {
		return c.Key
	}
	return c.Key + " " + c.Old + " -> " + c.New
}

// Changed is a pool or a site of which some keys have changed.
type Changed struct {
	Name    string
	Changes []Change // at least one
}

// Keys are the keys that have changed.
func (c Changed) Keys() []string {
	keys := make([]string, len(c.Changes))
	for i, change := range c.Changes {
		keys[i] = change.Key
	}
	return keys
}

// Changes is what a host has to do to get from one configuration to another.
// Pools, sites and addresses are sorted.
type Changes struct {
	HostRestart []Change // of [host]: what a running host cannot take over
	HostLive    []Change // of [host]: the rest

	PoolsAdded      []string
	PoolsRemoved    []string
	ProgramChanged  []Changed // process, args, env, hosting: needs a new generation; also of a pool that gains its first program or loses its last
	SettingsChanged []Changed // the keys of [pools.NAME] and of the tables in it

	SitesAdded   []string
	SitesRemoved []string
	SitesChanged []Changed // bindings, handover, apps, limits.*

	AddressesAdded   []Address // to open; first close those of AddressesRemoved that they cover
	AddressesRemoved []Address // to close
}

// Diff compares two configurations. The order of sites, apps and bindings, and
// other ways to write the same value, are no difference.
func Diff(old, new *Config) *Changes {
	d := &Changes{}
	for _, change := range hostChanges(&old.Host, &new.Host) {
		if needsRestart(change.Key) {
			d.HostRestart = append(d.HostRestart, change)
		} else {
			d.HostLive = append(d.HostLive, change)
		}
	}
	var both []string
	d.PoolsAdded, d.PoolsRemoved, both = compareSets(old.Pools, new.Pools)
	for _, name := range both {
		a, b := old.Pools[name], new.Pools[name]
		d.ProgramChanged = appendChanged(d.ProgramChanged, name, programChanges(a, b))
		d.SettingsChanged = appendChanged(d.SettingsChanged, name, poolChanges(a, b))
	}
	oldSites, newSites := old.sitesByName(), new.sitesByName()
	d.SitesAdded, d.SitesRemoved, both = compareSets(oldSites, newSites)
	for _, name := range both {
		d.SitesChanged = appendChanged(d.SitesChanged, name, siteChanges(oldSites[name], newSites[name]))
	}
	a, b := old.Addresses(), new.Addresses()
	d.AddressesAdded, d.AddressesRemoved = without(b, a), without(a, b)
	return d
}

// Empty says whether nothing has changed.
func (d *Changes) Empty() bool { return len(d.Lines()) == 0 }

// Lines is the difference for people, one fact per line.
func (d *Changes) Lines() []string {
	var lines []string
	add := func(what string, names ...string) {
		for _, name := range names {
			lines = append(lines, what+" "+name)
		}
	}
	changed := func(what, note string, list []Changed) {
		for _, c := range list {
			for _, change := range c.Changes {
				lines = append(lines, what+" "+c.Name+": "+change.String()+note)
			}
		}
	}
	for _, c := range d.HostRestart {
		add("host:", c.String()+" (after a restart of the host)")
	}
	for _, c := range d.HostLive {
		add("host:", c.String())
	}
	add("remove site", d.SitesRemoved...)
	add("remove pool", d.PoolsRemoved...)
	add("add pool", d.PoolsAdded...)
	add("add site", d.SitesAdded...)
	changed("pool", " (new generation)", d.ProgramChanged)
	changed("pool", "", d.SettingsChanged)
	changed("site", "", d.SitesChanged)
	for _, a := range d.AddressesRemoved {
		add("close", a.String())
	}
	for _, a := range d.AddressesAdded {
		add("listen on", a.String())
	}
	return lines
}

func hostChanges(a, b *Host) []Change {
	return slices.Concat(
		settingChanges("", a.settings(), b.settings()),
		settingChanges("limits.", a.Limits.settings(), b.Limits.settings()),
		settingChanges("log.", a.Log.settings(), b.Log.settings()),
	)
}

func poolChanges(a, b *Pool) []Change {
	return slices.Concat(
		settingChanges("", a.settings(), b.settings()),
		settingChanges("failure.", a.Failure.settings(), b.Failure.settings()),
		settingChanges("recycle.", a.Recycle.settings(), b.Recycle.settings()),
		settingChanges("health.", a.Health.settings(), b.Health.settings()),
		settingChanges("identity.", a.Identity.settings(), b.Identity.settings()),
		settingChanges("limits.", a.Limits.settings(), b.Limits.settings()),
	)
}

// settingChanges compares two lists of the same settings.
func settingChanges(prefix string, a, b []setting) []Change {
	var changes []Change
	for i := range a {
		if x, y := a[i].value.String(), b[i].value.String(); x != y {
			changes = append(changes, Change{prefix + a[i].key, x, y})
		}
	}
	return changes
}

// programChanges compares what two pools run. An executable in the pool's
// folder is compared by its place there: that another pools_dir moves it is a
// matter of the restart that pools_dir needs.
func programChanges(a, b *Pool) []Change {
	changes := settingChanges("", a.writtenProgram().settings(), b.writtenProgram().settings())
	for i := range changes {
		if changes[i].Key == "env" {
			changes[i] = Change{Key: "env"}
		}
	}
	return changes
}

// writtenProgram is the program with its process and its working directory
// relative to the pool's folder where they lie in it; an empty one when there is
// none.
func (p *Pool) writtenProgram() *Program {
	if p.Program == nil {
		return &Program{Dir: "."}
	}
	program := *p.Program
	for _, path := range []*string{&program.Process, &program.Dir} {
		if !inside(p.Dir, *path) {
			continue
		}
		if local, err := filepath.Rel(p.Dir, *path); err == nil {
			*path = filepath.ToSlash(local)
		}
	}
	return &program
}

func siteChanges(a, b *Site) []Change {
	var changes []Change
	if !sameEndpoints(a.Bindings, b.Bindings) {
		changes = append(changes, Change{"bindings", bindings{&a.Bindings}.String(), bindings{&b.Bindings}.String()})
	}
	changes = append(changes, settingChanges("", []setting{{"handover", handover{&a.Handover}}}, []setting{{"handover", handover{&b.Handover}}})...)
	if x, y := appsText(a.Apps), appsText(b.Apps); x != y {
		changes = append(changes, Change{"apps", x, y})
	}
	return append(changes, settingChanges("limits.", a.Limits.settings(), b.Limits.settings())...)
}

func sameEndpoints(a, b []Binding) bool {
	set := map[endpoint]int{}
	for _, binding := range a {
		set[binding.endpoint()] |= 1
	}
	for _, binding := range b {
		set[binding.endpoint()] |= 2
	}
	for _, sides := range set {
		if sides != 3 {
			return false
		}
	}
	return true
}

// appsText is "/api: api, /: shop". Load has sorted the apps.
func appsText(apps []*App) string {
	list := make([]string, len(apps))
	for i, app := range apps {
		list[i] = app.Path + ": " + app.Pool.Name
	}
	return "{" + strings.Join(list, ", ") + "}"
}

func (c *Config) sitesByName() map[string]*Site {
	m := make(map[string]*Site, len(c.Sites))
	for _, site := range c.Sites {
		m[site.Name] = site
	}
	return m
}

func appendChanged(list []Changed, name string, changes []Change) []Changed {
	if len(changes) == 0 {
		return list
	}
	return append(list, Changed{name, changes})
}

// compareSets says which keys are only in b, only in a, and in both.
func compareSets[V any](a, b map[string]V) (added, removed, both []string) {
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[key]; ok {
			both = append(both, key)
		} else {
			added = append(added, key)
		}
	}
	return added, without(slices.Sorted(maps.Keys(a)), both), both
}

// without are the elements of list that are not in other.
func without[E comparable](list, other []E) []E {
	return slices.DeleteFunc(slices.Clone(list), func(e E) bool { return slices.Contains(other, e) })
}
