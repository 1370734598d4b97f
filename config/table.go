package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// decoder collects the problems of one file.
type decoder struct {
	file     string
	system   string // runtime.GOOS
	lines    lineMap
	problems []Problem
}

func (d *decoder) problem(at *place, format string, args ...any) {
	d.problems = append(d.problems, Problem{
		File:    d.file,
		Line:    d.lines.of(at),
		Key:     at.name,
		Message: fmt.Sprintf(format, args...),
	})
}

// table is one table of the file. Reading a key makes it known; close reports
// those that nobody has read.
type table struct {
	*place
	d      *decoder
	values map[string]any
	known  []string
	good   map[string]bool // keys that the file gives and that read has set
}

func (d *decoder) table(at *place, values map[string]any) *table {
	return &table{place: at, d: d, values: values, good: map[string]bool{}}
}

// has says whether the file gives that key.
func (t *table) has(key string) bool {
	_, ok := t.values[key]
	return ok
}

// bad says whether the file gives that key a value that broke a rule.
func (t *table) bad(key string) bool { return t.has(key) && !t.good[key] }

func (t *table) take(key string) (any, bool) {
	t.known = append(t.known, key)
	v, ok := t.values[key]
	return v, ok
}

// read sets what the file gives of the list, and reports what breaks a rule.
func (t *table) read(list []setting) {
	for _, s := range list {
		v, ok := t.take(s.key)
		if !ok {
			continue
		}
		err := s.value.set(v)
		if items, ok := errors.AsType[itemErrors](err); ok {
			for _, item := range items {
				t.d.problem(item.at(t.key(s.key)), "%v", item.err)
			}
		} else if err != nil {
			t.d.problem(t.key(s.key), "%v", err)
		} else {
			t.good[s.key] = true
		}
	}
}

// sub is the table under that key; one without values when there is none.
func (t *table) sub(key string) *table {
	at := t.key(key)
	v, ok := t.take(key)
	values, isTable := v.(map[string]any)
	if ok && !isTable {
		t.d.problem(at, "want a table, [%s], got %s", header(at), shown(v))
	}
	return t.d.table(at, values)
}

// array is the array of tables under that key. Each element gets its own name
// by rename, which may be nil.
func (t *table) array(key string, rename func(at *place, values map[string]any)) []*table {
	at := t.key(key)
	v, _ := t.take(key)
	var list []any
	switch v := v.(type) {
	case nil:
	case []map[string]any:
		for _, element := range v {
			list = append(list, element)
		}
	case []any:
		list = v
	default:
		t.d.problem(at, "want an array of tables, [[%s]], got %s", header(at), shown(v))
	}
	var tables []*table
	for i, element := range list {
		values, ok := element.(map[string]any)
		if !ok {
			t.d.problem(at.item(i), "want a table, got %s", shown(element))
			continue
		}
		item := at.item(i)
		if rename != nil {
			rename(item, values)
		}
		tables = append(tables, t.d.table(item, values))
	}
	return tables
}

// close reports the keys that nobody has asked for.
func (t *table) close() {
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		if slices.Contains(t.known, key) {
			continue
		}
		hint := didYouMean(key, t.known)
		if hint == "" {
			hint = "; the keys here are " + strings.Join(t.known, ", ")
		}
		t.d.problem(t.key(key), "unknown key%s", hint)
	}
}

// header is how the head of a table is written: without names and indexes of
// the tables around it.
func header(at *place) string {
	id := at.id
	for {
		before, rest, ok := strings.Cut(id, "[")
		if !ok {
			return id
		}
		_, after, _ := strings.Cut(rest, "]")
		id = before + after
	}
}
