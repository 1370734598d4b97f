package config

import (
	"strconv"

	"github.com/BurntSushi/toml"
)

// place is where a value stands in the file. The id is what lines are found
// by, "sites[0].apps[1].pool"; the name is what people read,
// "sites.blog.apps[1].pool".
type place struct {
	parent   *place
	id, name string
}

// key is the place of a key of the table at p.
func (p *place) key(k string) *place {
	return &place{parent: p, id: joinKey(p.id, k), name: joinKey(p.name, k)}
}

// item is the place of element i of the array at p.
func (p *place) item(i int) *place {
	n := itemID(i)
	return &place{parent: p, id: p.id + n, name: p.name + n}
}

func joinKey(table, k string) string {
	k = toml.Key{k}.String() // quotes what needs quotes
	if table == "" {
		return k
	}
	return table + "." + k
}

func itemID(i int) string { return "[" + strconv.Itoa(i) + "]" }

// lineMap says on which line each key, table and array element begins, by id.
type lineMap map[string]int

// of is the line of p, or of the nearest table around it that is written down;
// 0 when there is none.
func (m lineMap) of(p *place) int {
	for ; p != nil; p = p.parent {
		if line, ok := m[p.id]; ok {
			return line
		}
	}
	return 0
}
