package config

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
)

// Address is a set of local addresses with a port, on which the host listens.
// It is comparable.
type Address struct {
	Listen Listen
	IP     netip.Addr // with ListenIP
	Port   uint16
}

// String is "*:8080", "localhost:8080", "192.0.2.1:8080" or "[2001:db8::1]:8080".
func (a Address) String() string {
	port := strconv.Itoa(int(a.Port))
	switch a.Listen {
	case ListenAny:
		return "*:" + port
	case ListenLoopback:
		return "localhost:" + port
	default:
		return netip.AddrPortFrom(a.IP, a.Port).String()
	}
}

// covers says whether whoever listens on a listens on b, too.
func (a Address) covers(b Address) bool {
	if a.Port != b.Port || a == b {
		return a == b
	}
	switch a.Listen {
	case ListenAny:
		return true
	case ListenLoopback:
		return b.IP == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || b.IP == netip.IPv6Loopback()
	default:
		return false
	}
}

// Addresses are those on which a host with this configuration listens, sorted.
// One that another one covers is left out, as the two cannot both be opened:
// whoever accepts a connection finds its bindings by the connection's own
// local address.
func (c *Config) Addresses() []Address {
	var all []Address
	for _, site := range c.Sites {
		for _, b := range site.Bindings {
			all = append(all, b.endpoint().address)
		}
	}
	var out []Address
	for _, a := range all {
		covered := slices.ContainsFunc(all, func(b Address) bool { return b != a && b.covers(a) })
		if !covered {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b Address) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Listen, b.Listen), a.IP.Compare(b.IP))
	})
	return slices.Compact(out)
}
