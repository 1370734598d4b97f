package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// adminAddress is where the admin API listens: "unix:run/admin.sock".
type adminAddress struct{ p *string }

func (a adminAddress) set(v any) error {
	s, err := stringOf(v)
	if err != nil {
		return err
	}
	path, ok := strings.CutPrefix(s, "unix:")
	if !ok {
		return fmt.Errorf(`bad address %q: this version takes only a unix socket, such as "unix:run/admin.sock"`, s)
	}
	if path == "" {
		return errors.New(`"unix:" needs the path of a socket, such as "unix:run/admin.sock"`)
	}
	*a.p = s
	return nil
}

func (a adminAddress) String() string { return quote(*a.p) }

// proxies is a list of addresses and networks.
type proxies struct{ p *[]netip.Prefix }

func (x proxies) set(v any) error {
	var prefixes []netip.Prefix
	err := eachString(v, func(_ int, s string) error {
		prefix, err := parseProxy(s)
		prefixes = append(prefixes, prefix)
		return err
	})
	*x.p = prefixes
	return err
}

func (x proxies) String() string {
	list := make([]string, len(*x.p))
	for i, prefix := range *x.p {
		list[i] = prefix.String()
		if prefix.IsSingleIP() {
			list[i] = prefix.Addr().String()
		}
	}
	return quoteAll(list)
}

func parseProxy(s string) (netip.Prefix, error) {
	rule := `want an IP address or a network, such as "10.0.0.7" or "10.0.0.0/8"`
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("bad address %q: %s", s, rule)
		}
		addr = addr.Unmap() // as the addresses of clients are compared
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("bad network %q: %s", s, rule)
	}
	if prefix.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("bad network %q: write IPv4 networks in the form of IPv4", s)
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, fmt.Errorf("bad network %q: the address has bits beyond /%d; did you mean %q?",
			s, prefix.Bits(), prefix.Masked())
	}
	return prefix, nil
}

// eachString calls f with each string of the array v, and goes on after those
// that are to blame: they are in the error.
func eachString(v any, f func(i int, s string) error) error {
	list, ok := v.([]any)
	if !ok {
		return fmt.Errorf("want an array of strings, got %s", shown(v))
	}
	var errs itemErrors
	for i, item := range list {
		s, err := stringOf(item)
		if err == nil {
			err = f(i, s)
		}
		if err != nil {
			errs = append(errs, itemError{func(p *place) *place { return p.item(i) }, err})
		}
	}
	return errs.orNil()
}

// quoteAll prints a list of strings as TOML does.
func quoteAll(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
