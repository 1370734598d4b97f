package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
)

// account is the name or the number of a user or group; "" is none. Whether
// there is one of that name is a matter of the machine, and not of the file.
type account struct{ p *string }

func (a account) set(v any) error {
	s, err := stringOf(v)
	if err != nil {
		return err
	}
	if s != "" {
		if err := checkAccount(s); err != nil {
			return err
		}
	}
	*a.p = s
	return nil
}

func (a account) String() string { return quote(*a.p) }

func checkAccount(s string) error {
	unfit := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(":,/", r) }
	if s == "" || strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") || strings.ContainsFunc(s, unfit) {
		return fmt.Errorf(`bad name %q: want the name or the number of an account, such as "www-data" or "33"`, s)
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n >= 1<<32-1 {
		return fmt.Errorf("bad number %q: must be less than %d", s, uint32(1<<32-1))
	}
	return nil
}

// accounts is a list of groups.
type accounts struct{ p *[]string }

func (x accounts) set(v any) error {
	var list []string
	err := eachString(v, func(_ int, s string) error {
		list = append(list, s)
		return checkAccount(s)
	})
	*x.p = list
	return err
}

func (x accounts) String() string { return quoteAll(*x.p) }

// umask is written as chmod's are: octal digits in a string.
type umask struct{ p *os.FileMode }

func (u umask) set(v any) error {
	s, _ := v.(string) // anything else is no umask either
	n, err := strconv.ParseUint(s, 8, 16)
	if err != nil || n > 0o777 {
		return fmt.Errorf(`want octal digits in a string, "000" to "777", such as "027", got %s`, shown(v))
	}
	*u.p = os.FileMode(n)
	return nil
}

func (u umask) String() string { return fmt.Sprintf(`"%03o"`, *u.p) }

// folder is a working directory, as written: inside the pool's folder, or
// absolute.
type folder struct{ p *string }

func (f folder) set(v any) error {
	s, err := stringOf(v)
	if err != nil {
		return err
	}
	local := filepath.FromSlash(s)
	if s == "" || !filepath.IsAbs(local) && !filepath.IsLocal(local) {
		return fmt.Errorf(`bad folder %q: want one inside the pool's folder, such as "." or "data", or an absolute path`, s)
	}
	*f.p = filepath.ToSlash(filepath.Clean(local))
	return nil
}

func (f folder) String() string { return quote(*f.p) }

// files is a list of paths.
type files struct{ p *[]string }

func (f files) set(v any) error {
	var list []string
	err := eachString(v, func(_ int, s string) error {
		list = append(list, s)
		if s == "" {
			return errors.New("must not be empty")
		}
		return nil
	})
	*f.p = list
	return err
}

func (f files) String() string { return quoteAll(*f.p) }
