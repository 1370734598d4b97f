package config

import (
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestScanLines(t *testing.T) {
	const text = "\ufeff# comment [x]\r\n" + `top = 1 # = 2
"quoted # key" = "a \" # b"
'literal' = 'c:\'
dotted . "in.ner" = 3
multi = """
not = "a key"
[not.a.table]
\""""""
raw = '''
x = 1''''
array = [ # [comment
  1, [2,
  3],
  { x = 1, y = [
    "]"
  ] },
]
empty = []
none = {}
date = 1979-05-27 07:32:00

[ host . limits ] # here
a = 1
[[sites]]
name = "a"
  [[sites.apps]]
  path = "/"
  [[sites.apps]]
  [sites.apps.env]
  A = "1"
[[sites]]
  [sites.limits]
  [[sites.apps]]
  env = { B.C = "2", "D" = '3' }`
	var values map[string]any
	if _, err := toml.Decode(text, &values); err != nil {
		t.Fatal(err)
	}
	lines := scanLines(text)
	want := lineMap{
		"top": 2, `"quoted # key"`: 3, "literal": 4, "dotted": 5, `dotted."in.ner"`: 5, "multi": 6, "raw": 10,
		"array": 12, "array[0]": 13, "array[1]": 13, "array[1][0]": 13, "array[1][1]": 14,
		"array[2]": 15, "array[2].x": 15, "array[2].y": 15, "array[2].y[0]": 16,
		"empty": 19, "none": 20, "date": 21,
		"host": 23, "host.limits": 23, "host.limits.a": 24,
		"sites": 25, "sites[0]": 25, "sites[0].name": 26,
		"sites[0].apps": 27, "sites[0].apps[0]": 27, "sites[0].apps[0].path": 28,
		"sites[0].apps[1]": 29, "sites[0].apps[1].env": 30, "sites[0].apps[1].env.A": 31,
		"sites[1]": 32, "sites[1].limits": 33, "sites[1].apps": 34, "sites[1].apps[0]": 34,
		"sites[1].apps[0].env": 35, "sites[1].apps[0].env.B": 35, "sites[1].apps[0].env.B.C": 35, "sites[1].apps[0].env.D": 35,
	}
	for id, line := range want {
		if lines[id] != line {
			t.Errorf("%s: got line %d, want %d", id, lines[id], line)
		}
	}
	for id, line := range lines {
		if _, ok := want[id]; !ok {
			t.Errorf("%s on line %d is none", id, line)
		}
	}
}

func TestScanLinesEnds(t *testing.T) {
	for _, text := range []string{"[", "[[", "a", "a=", "a=[", "a=[}", "a={", "a={]", "a=[[", `a="`, `a="\`, `a="""`, "'", "=", "]", "a.", "a=[,", "a={,}", "{", "}"} {
		scanLines(text) // must return, whatever it finds
	}
	const deep = 100_000
	lines := scanLines("a = " + strings.Repeat("[", deep) + "\n" + strings.Repeat("]", deep) + "\nb = 1")
	if got := lines["b"]; got != 3 {
		t.Errorf("after nested arrays: got line %d, want 3", got)
	}
}
