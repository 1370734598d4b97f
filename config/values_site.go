package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// name is the name of a site or a pool. A pool's name is also that of a folder.
type name struct{ p *string }

func (n name) set(v any) error {
	s, err := stringOf(v)
	if err != nil {
		return err
	}
	if err := checkName(s); err != nil {
		return err
	}
	*n.p = s
	return nil
}

func (n name) String() string { return quote(*n.p) }

func checkName(s string) error {
	ok := s != "" && len(s) <= 63
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		ok = ok && (letter || i > 0 && strings.IndexByte("._-", c) >= 0)
	}
	if !ok {
		return fmt.Errorf("bad name %q: want 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit", s)
	}
	return nil
}

// handover is "auto" (true) or "never" (false).
type handover struct{ p *bool }

func (h handover) set(v any) error {
	var s string
	if err := (word[string]{&s, []string{"auto", "never"}}).set(v); err != nil {
		return err
	}
	*h.p = s == "auto"
	return nil
}

func (h handover) String() string {
	if *h.p {
		return `"auto"`
	}
	return `"never"`
}

// appPath is the path of an app below its site. It is compared with the
// decoded path of a request, byte for byte.
type appPath struct{ p *string }

func (a appPath) set(v any) error {
	s, err := stringOf(v)
	if err != nil {
		return err
	}
	if err := checkAppPath(s); err != nil {
		return fmt.Errorf("bad path %q: %w", s, err)
	}
	*a.p = s
	return nil
}

func (a appPath) String() string { return quote(*a.p) }

func checkAppPath(s string) error {
	if !strings.HasPrefix(s, "/") {
		return errors.New(`must begin with "/"`)
	}
	if s == "/" {
		return nil
	}
	if strings.HasSuffix(s, "/") {
		return errors.New(`must not end with "/"`)
	}
	if i := strings.IndexAny(s, `?#%\`); i >= 0 {
		return fmt.Errorf("must not hold %q: it is a plain path, without query, fragment or escapes", s[i:i+1])
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("must not hold control characters")
	}
	for segment := range strings.SplitSeq(s[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return errors.New(`must not hold "//", "/./" or "/../"`)
		}
	}
	return nil
}

// process is the executable of a program, as written: a slash-separated path
// inside the pool's folder, or a command.
type process struct{ p *string }

func (x process) set(v any) error {
	s, err := stringOf(v)
	if err != nil {
		return err
	}
	local := filepath.FromSlash(s)
	inside := filepath.IsLocal(local) && filepath.Clean(local) != "."
	if !inside || slices.Contains(strings.Split(s, "/"), "..") {
		return fmt.Errorf(`bad process %q: want a file inside the pool's folder, such as "shop" or "bin/shop", `+
			`or the bare name of a command, such as "node"`, s)
	}
	*x.p = s
	return nil
}

func (x process) String() string { return quote(*x.p) }

// arguments are the arguments of a program.
type arguments struct{ p *[]string }

func (a arguments) set(v any) error {
	args := []string{}
	err := eachString(v, func(_ int, s string) error {
		args = append(args, s)
		return nil
	})
	*a.p = args
	return err
}

func (a arguments) String() string { return quoteAll(*a.p) }

// commandLine is a program with its arguments, [] for none.
type commandLine struct{ p *[]string }

func (c commandLine) set(v any) error {
	words := []string{}
	err := eachString(v, func(i int, s string) error {
		if i == 0 && s == "" {
			return errors.New("must not be empty: the first word is the program")
		}
		words = append(words, s)
		return nil
	})
	*c.p = words
	return err
}

func (c commandLine) String() string { return quoteAll(*c.p) }

// environment is what a program finds in its environment beside what the host
// puts there.
type environment struct{ p *map[string]string }

func (e environment) set(v any) error {
	table, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf(`want a table of strings such as { GREETING = "hello" }, got %s`, shown(v))
	}
	env := make(map[string]string, len(table))
	var errs itemErrors
	for _, key := range slices.Sorted(maps.Keys(table)) {
		s, err := stringOf(table[key])
		if key == "" || strings.ContainsAny(key, "=\x00") {
			err = fmt.Errorf(`bad variable name %q: must not be empty or hold "=" or NUL`, key)
		}
		if err != nil {
			errs = append(errs, itemError{func(p *place) *place { return p.key(key) }, err})
		}
		env[key] = s
	}
	*e.p = env
	return errs.orNil()
}

func (e environment) String() string {
	pairs := make([]string, 0, len(*e.p))
	for _, key := range slices.Sorted(maps.Keys(*e.p)) {
		pairs = append(pairs, key+" = "+quote((*e.p)[key]))
	}
	if len(pairs) == 0 {
		return "{}"
	}
	return "{ " + strings.Join(pairs, ", ") + " }"
}
