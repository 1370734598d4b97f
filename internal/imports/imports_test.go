// Package imports tests which package may import which: the table below is the
// architecture, and a package that is not in it fails.
package imports

import (
	"slices"
	"strings"
	"testing"
)

// row is what a package, or all below a folder ("x/..."), may import of this
// module, and what it must not import of anybody's.
type row struct {
	pkg   string
	may   []string
	never []string
	why   string
}

// parts are what meets in the host and nowhere else.
func parts() []string {
	return []string{"config", "proto", "module/...", "worker", "apppool", "inproc", "outproc", "admin", "internal/..."}
}

func table() []row {
	return []row{
		{pkg: "config",
			why: "sites.toml is only data: everybody may know it, so it knows nobody"},
		{pkg: "proto",
			why: "what host and worker process say to each other is the same at both ends, whatever they are made of"},
		{pkg: "module/...", may: []string{"config", "module/..."},
			why: "a module runs in front of any application, in the host and in worker processes alike"},
		{pkg: "worker", may: []string{"config", "module", "proto", "internal/..."},
			never: []string{"github.com/hashicorp/go-plugin", "google.golang.org/grpc"},
			why:   "the same code serves in the host and in every worker process: it cannot know how those are started"},
		{pkg: "app", may: []string{"worker", "proto", "module/...", "internal/..."},
			why: "an application's binary holds no host: no pools, no starting of processes"},
		{pkg: "apppool", may: []string{"config"},
			never: []string{"net/http", "os/exec", "github.com/hashicorp/go-plugin"},
			why:   "the life of a pool is the same for every kind of worker: it knows them by an interface of its own"},
		{pkg: "inproc", may: []string{"apppool", "proto", "worker", "config", "internal/..."},
			why: "one way to host of several: it implements apppool's interface and knows no other way"},
		{pkg: "outproc", may: []string{"apppool", "proto", "worker", "config", "module", "internal/..."},
			never: []string{"github.com/hashicorp/go-plugin"},
			why:   "one way to host of several; of proto it needs the record, of module the word for a problem"},
		{pkg: "host", may: parts(),
			never: []string{"github.com/spf13/cobra"},
			why:   "the only place where the parts meet; it is a library, and knows no command line"},
		{pkg: "admin", may: []string{"config"},
			why: "the API over an interface of its own: what answers behind it is not its business"},
		{pkg: "cmd/aerie", may: append(parts(), "host"),
			why: "the binary wires everything, except what belongs to applications and tests"},
		{pkg: "internal/...", may: []string{"internal/..."},
			why: "seams and helpers, with no word of what they are used for"},
		{pkg: "examples/...", may: []string{"app"},
			why: "the samples show what an application needs, and no more"},
		{pkg: "test/...", may: append(parts(), "host", "app", "test/..."),
			why: "whole-host tests and their helpers; nothing but tests imports them"},
		{pkg: "bench/...", may: append(parts(), "host", "app", "bench/..."),
			why: "it measures, from outside, side by side with peers; nothing imports it"},
		{pkg: "docs",
			why: "it holds a test only, which compares the manual with the code"},
	}
}

// forTests is what the tests of a package may import beside what itself may.
func forTests(name string) []string {
	more := []string{name, "internal/...", "test/..."}
	switch name {
	case "docs":
		more = append(more, "config", "admin", "module/...", "proto")
	case "inproc":
		more = append(more, "app") // the other end: a test's worker process is made with it
	}
	return more
}

// matches says whether a pattern of the table means the package.
func matches(pattern, name string) bool {
	folder, below := strings.CutSuffix(pattern, "/...")
	return name == folder || below && strings.HasPrefix(name, folder+"/")
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

// complaints are the imports of p and of its tests that the row does not allow.
func (r row) complaints(p pkg) []string {
	var out []string
	check := func(who string, may []string, imports ...string) {
		for _, path := range imports {
			if name, ours := strings.CutPrefix(path, module+"/"); ours && !matchesAny(may, name) {
				out = append(out, who+" must not import "+path)
			}
		}
	}
	check("it", r.may, p.Imports...)
	for _, path := range p.Imports {
		if matchesAny(r.never, path) {
			out = append(out, "it must not import "+path)
		}
	}
	check("its tests", append(forTests(p.name()), r.may...), slices.Concat(p.TestImports, p.XTestImports)...)
	return out
}

func TestDirections(t *testing.T) {
	rows, used, said := table(), map[string]bool{}, map[string]bool{}
	complain := func(p pkg, what string) { // once, not for each system
		if line := p.ImportPath + ": " + what; !said[line] {
			said[line] = true
			t.Error(line)
		}
	}
	for _, system := range systems() {
		for _, p := range list(t, system, "./...") {
			i := slices.IndexFunc(rows, func(r row) bool { return matches(r.pkg, p.name()) })
			if i < 0 {
				complain(p, "no row says what it may import: add one, with the reason")
				continue
			}
			used[rows[i].pkg] = true
			for _, c := range rows[i].complaints(p) {
				complain(p, c+": "+rows[i].why)
			}
		}
	}
	for _, r := range rows {
		if !used[r.pkg] {
			t.Errorf("row %q is for no package: remove it", r.pkg)
		}
	}
}

func TestTableBites(t *testing.T) {
	r := row{pkg: "x", may: []string{"config", "internal/..."}, never: []string{"net/http"}}
	for _, c := range []struct {
		p    pkg
		want string
	}{
		{pkg{Imports: []string{"aerie/config", "aerie/internal/h1", "net"}}, ""},
		{pkg{Imports: []string{"aerie/configure"}}, "it must not import aerie/configure"},
		{pkg{Imports: []string{"aerie/config", "aerie/host"}}, "it must not import aerie/host"},
		{pkg{Imports: []string{"net/http"}}, "it must not import net/http"},
		{pkg{TestImports: []string{"net/http", "aerie/test/suite"}}, ""},
		{pkg{XTestImports: []string{"aerie/x", "aerie/host"}}, "its tests must not import aerie/host"},
	} {
		c.p.ImportPath = "aerie/x"
		if got := strings.Join(r.complaints(c.p), "; "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.p, got, c.want)
		}
	}
}

// TestBinary looks at everything of ours that is linked into the binary.
func TestBinary(t *testing.T) {
	packages := list(t, "linux", "-deps", "./cmd/aerie")
	for _, p := range packages {
		if matchesAny([]string{"app", "test/...", "bench/...", "examples/..."}, p.name()) {
			t.Errorf("cmd/aerie holds %s: %s", p.ImportPath, way(packages, p.ImportPath))
		}
	}
}
