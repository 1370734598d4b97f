// Package docs compares the manual with the code that it describes.
package docs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"aerie/admin"
	"aerie/config"
	"aerie/module/accesslog"
)

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// section is what stands below a heading of a page, up to the next one.
func section(t *testing.T, file, heading string) string {
	t.Helper()
	_, after, ok := strings.Cut(read(t, file), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no heading %q", file, heading)
	}
	text, _, _ := strings.Cut(after, "\n## ")
	return text
}

// quoted are the words in backquotes.
func quoted(s string) map[string]bool {
	out := map[string]bool{}
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(s, -1) {
		out[m[1]] = true
	}
	return out
}

// key is one row of configuration.md; value is the default, "" if there is none.
type key struct{ table, name, value string }

func (k key) String() string { return k.table + "." + k.name }

// keys are the rows of the tables of configuration.md.
func keys(t *testing.T) []key {
	t.Helper()
	heading := regexp.MustCompile("^## `\\[+([a-zA-Z.]+)\\]+`$")
	row := regexp.MustCompile("^\\| `([a-z_]+)` \\| (?:`(.*?)`|required.*?) \\|")
	var out []key
	table := ""
	for line := range strings.Lines(read(t, "configuration.md")) {
		line = strings.TrimSpace(line)
		if m := heading.FindStringSubmatch(line); m != nil {
			table = m[1]
		} else if m := row.FindStringSubmatch(line); m != nil {
			out = append(out, key{table, m[1], m[2]})
		}
	}
	return out
}

// The sample names every key that there is, which package config's own test
// sees to. The manual has to name the same.
func TestEveryKey(t *testing.T) {
	documented := map[string]bool{}
	tables := map[string]bool{"pools": true}
	for _, k := range keys(t) {
		documented[k.String()] = true
		tables[k.table] = true
	}
	var values map[string]any
	meta, err := toml.Decode(read(t, "../sites.toml"), &values)
	if err != nil {
		t.Fatal(err)
	}
	sample := map[string]bool{}
	for _, k := range meta.Keys() {
		if len(k) > 1 && k[0] == "pools" {
			k[1] = "NAME"
		}
		if name := k.String(); !tables[name] && !strings.HasPrefix(name, "sites.apps.env.") {
			sample[name] = true
		}
	}
	for name := range maps.Keys(sample) {
		if !documented[name] {
			t.Errorf("configuration.md does not have %s", name)
		}
	}
	for name := range documented {
		if !sample[name] {
			t.Errorf("configuration.md has %s, which sites.toml does not have", name)
		}
	}
}

// What the manual says is the default, written down, changes nothing.
func TestDefaults(t *testing.T) {
	needed := map[string]string{
		"sites.name": `"shop"`, "sites.bindings": `["http://shop.localhost:8080"]`,
		"sites.apps.pool": `"NAME"`, "sites.apps.process": `"shop"`, "sites.apps.hosting": `"inprocess"`,
	}
	heads := []struct{ table, head string }{
		{"host", "[host]"}, {"host.limits", "[host.limits]"}, {"host.log", "[host.log]"}, {"pools.NAME", "[pools.NAME]"},
		{"pools.NAME.failure", "[pools.NAME.failure]"}, {"pools.NAME.recycle", "[pools.NAME.recycle]"},
		{"pools.NAME.health", "[pools.NAME.health]"},
		{"pools.NAME.identity", "[pools.NAME.identity]"}, {"pools.NAME.limits", "[pools.NAME.limits]"},
		{"sites", "[[sites]]"}, {"sites.limits", "[sites.limits]"}, {"sites.apps", "[[sites.apps]]"},
	}
	var full, short strings.Builder
	for _, h := range heads {
		fmt.Fprintln(&full, h.head)
		fmt.Fprintln(&short, h.head)
		for _, k := range keys(t) {
			if k.table != h.table {
				continue
			}
			if value := needed[k.String()]; value != "" {
				fmt.Fprintf(&full, "%s = %s\n", k.name, value)
				fmt.Fprintf(&short, "%s = %s\n", k.name, value)
			} else if k.value == "" {
				t.Errorf("configuration.md gives no default for %s", k)
			} else {
				fmt.Fprintf(&full, "%s = %s\n", k.name, k.value)
			}
		}
	}
	dir := t.TempDir()
	got, want := load(t, dir, strings.ReplaceAll(full.String(), "NAME", "shop")), load(t, dir, strings.ReplaceAll(short.String(), "NAME", "shop"))
	if changes := config.Diff(want, got).Lines(); len(changes) > 0 {
		t.Errorf("the defaults of configuration.md are not those of the code:\n%s", strings.Join(changes, "\n"))
	}
}

func load(t *testing.T, dir, text string) *config.Config {
	t.Helper()
	file := filepath.Join(dir, "sites.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// fields are the names of a struct in JSON, and of those in it.
func fields(of reflect.Type) []string {
	for of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || of.PkgPath() == "time" {
		return nil
	}
	var names []string
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		names = append(append(names, name), fields(of.Field(i).Type)...)
	}
	return names
}

func TestStatusFields(t *testing.T) {
	documented := map[string]bool{}
	for name := range quoted(section(t, "operations.md", "Status")) {
		documented[name[strings.LastIndexByte(name, '.')+1:]] = true
	}
	for _, name := range fields(reflect.TypeFor[admin.Status]()) {
		if name != "sites" && name != "pools" && name != "apps" && name != "workers" && !documented[name] {
			t.Errorf("operations.md, Status: field %q is missing", name)
		}
	}
}

func TestAccessLogFields(t *testing.T) {
	var out bytes.Buffer
	sink := accesslog.NewSink(&out, slog.New(slog.DiscardHandler))
	h := accesslog.New(accesslog.Options{Sink: sink}).Wrap(http.NotFoundHandler())
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	documented := quoted(section(t, "operations.md", "Logs"))
	for name := range line {
		if !documented[name] {
			t.Errorf("operations.md, Logs: field %q is missing", name)
		}
	}
}

// The environment of worker processes, as it is spelled in the code.
func TestEnvironment(t *testing.T) {
	documented := quoted(read(t, "app-contract.md"))
	spelled := regexp.MustCompile(`"(AERIE_[A-Z_]*[A-Z]|PORT|HOST)"`)
	for _, file := range []string{"../proto/handshake.go", "../outproc/env.go"} {
		for _, m := range spelled.FindAllStringSubmatch(read(t, file), -1) {
			if !documented[m[1]] {
				t.Errorf("app-contract.md does not have %s of %s", m[1], file)
			}
		}
	}
}

// Every verb is in the manual: the help, as package main's own test holds it to
// the code, begins each with its command line.
func TestVerbs(t *testing.T) {
	documented := section(t, "operations.md", "Verbs")
	help := regexp.MustCompile(`(?m)^\$ (aerie [a-z]+(?: [a-z]+)?) --help$`)
	for _, m := range help.FindAllStringSubmatch(read(t, "../cmd/aerie/testdata/help.txt"), -1) {
		if m[1] != "aerie pool" && !strings.Contains(documented, "`"+m[1]) {
			t.Errorf("operations.md, Verbs: %q is missing", m[1])
		}
	}
}

// pages are the manual's and the README.
func pages(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(files, "../README.md")
}

func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

func TestMakeTargets(t *testing.T) {
	makefile := read(t, "../Makefile")
	command := regexp.MustCompile("(?m)(?:`|^)make ([a-z-]+)")
	for _, page := range pages(t) {
		for _, m := range command.FindAllStringSubmatch(read(t, page), -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s: there is no target %q", page, m[1])
			}
		}
	}
}

// A page that no other page links to is not found by anybody.
func TestEveryPageIsLinked(t *testing.T) {
	var all strings.Builder
	for _, page := range pages(t) {
		all.WriteString(read(t, page))
	}
	for _, page := range pages(t) {
		if page != "../README.md" && !strings.Contains(all.String(), page+")") {
			t.Errorf("no page links to %s", page)
		}
	}
}
