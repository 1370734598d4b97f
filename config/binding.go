package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// bindings is the list of a site's bindings.
type bindings struct{ p *[]Binding }

func (b bindings) set(v any) error {
	list, ok := v.([]any)
	if ok && len(list) == 0 {
		return errors.New(`must not be empty: a site needs a binding such as "http://shop.localhost:8080"`)
	}
	// A broken one stays zero, so that each keeps its index.
	*b.p = make([]Binding, len(list))
	return eachString(v, func(i int, s string) error {
		binding, err := parseBinding(s)
		if err != nil {
			return fmt.Errorf("bad binding %q: %w", s, err)
		}
		(*b.p)[i] = binding
		return nil
	})
}

func (b bindings) String() string {
	list := make([]string, len(*b.p))
	for i, binding := range *b.p {
		list[i] = binding.Text
	}
	return quoteAll(list)
}

// endpoint is what no two bindings may have in common.
type endpoint struct {
	address Address
	host    string
}

func (b Binding) endpoint() endpoint {
	return endpoint{Address{b.Listen, b.IP, b.Port}, b.Host}
}

// parseBinding reads "http://HOST[:PORT]".
func parseBinding(s string) (Binding, error) {
	b := Binding{Text: s, Port: 80}
	scheme, rest, ok := strings.Cut(s, "://")
	b.Scheme = strings.ToLower(scheme)
	switch {
	case !ok:
		return b, errors.New(`want "http://HOST:PORT"`)
	case b.Scheme == "https":
		return b, errors.New("https bindings need TLS, which this version does not have")
	case b.Scheme != "http":
		return b, fmt.Errorf(`unknown scheme %q: want "http"`, scheme)
	case strings.Contains(rest, "@"):
		return b, errors.New("a binding has no user")
	case strings.ContainsAny(rest, `/\?#`):
		return b, errors.New("a binding has no path; paths go into [[sites.apps]]")
	}
	host, err := b.cutPort(rest)
	if err != nil {
		return b, err
	}
	return b, b.setHost(host)
}

// cutPort sets the port of b, if one is written, and returns the host.
func (b *Binding) cutPort(hostPort string) (string, error) {
	host, port, found := hostPort, "", false
	bracketed := strings.HasPrefix(hostPort, "[")
	if i := strings.LastIndexByte(hostPort, ':'); i > strings.LastIndexByte(hostPort, ']') && bracketed == strings.Contains(hostPort, "]") {
		host, port, found = hostPort[:i], hostPort[i+1:], true
	}
	if strings.Contains(host, ":") && !bracketed {
		return "", errors.New("an IPv6 address stands in brackets, as in http://[::1]:8080")
	}
	if !found {
		return host, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("bad port %q: want 1 to 65535", port)
	}
	b.Port = uint16(n)
	return host, nil
}

// setHost sets where b listens and for which host name.
func (b *Binding) setHost(host string) error {
	host = strings.ToLower(host)
	if strings.ContainsAny(host, "[]") {
		inner, ok := strings.CutPrefix(host, "[")
		inner, closed := strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !ok || !closed || err != nil || !addr.Is6() || addr.Zone() != "" {
			return fmt.Errorf("bad IPv6 address %q: want one in brackets and without a zone, as in http://[::1]:8080", host)
		}
		b.setIP(addr)
		return nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		b.setIP(addr)
		return nil
	}
	if host == "*" {
		return nil // ListenAny, any host
	}
	if err := checkHost(strings.TrimPrefix(host, "*.")); err != nil {
		return err
	}
	b.Host = host
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		b.Listen = ListenLoopback
	}
	return nil
}

func (b *Binding) setIP(addr netip.Addr) {
	if addr = addr.Unmap(); !addr.IsUnspecified() {
		b.Listen, b.IP = ListenIP, addr
	}
}

// checkHost checks a host name without its "*.".
func checkHost(host string) error {
	if host == "" {
		return errors.New(`the host is missing; "*" is any host`)
	}
	for i := range len(host) {
		switch c := host[i]; {
		case c >= 0x80:
			return fmt.Errorf("bad host %q: write names that are not ASCII in punycode (xn--...), as browsers send them", host)
		case c == '*':
			return fmt.Errorf(`bad host %q: "*" stands alone, or once at the beginning, as in *.example.org`, host)
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return fmt.Errorf("bad host %q: %q cannot be in a host name", host, string(c))
		}
	}
	if len(host) > 253 {
		return fmt.Errorf("bad host: %d characters; a host name has at most 253", len(host))
	}
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("bad host %q: between its dots are 1 to 63 characters, the first and last no '-'", host)
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("bad host %q: it ends in a number but is not an IPv4 address", host)
	}
	return nil
}
