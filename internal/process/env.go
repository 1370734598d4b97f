package process

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Environment puts lists of "NAME=VALUE" over one another: of a name that is
// there more than once the last value counts. To most programs it would be the
// first. The result is sorted.
func Environment(layers ...[]string) []string {
	env := make(map[string]string)
	for _, layer := range layers {
		for _, entry := range layer {
			if name, value, ok := strings.Cut(entry, "="); ok && name != "" { // Windows has names like "=C:"
				env[name] = value
			}
		}
	}
	return List(env)
}

// List is env as "NAME=VALUE", sorted.
func List(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// Environment is what a process of the user expects to find of it; nil, the
// host's own user, adds nothing.
func (u *User) Environment() []string {
	if u == nil || u.Name == "" {
		return nil
	}
	return []string{"HOME=" + u.Home, "USER=" + u.Name, "LOGNAME=" + u.Name}
}

// Environment is what a process that is so contained should find in its
// environment: its user, and for the garbage collector of a Go program nine
// tenths of the memory that it may have.
func (c *Contain) Environment() []string {
	env := c.User.Environment()
	if c.Memory > 0 {
		env = append(env, "GOMEMLIMIT="+strconv.FormatInt(c.Memory/10*9, 10))
	}
	return env
}
