package host

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"aerie/config"
)

// locals reads "*:80 [::]:80 0.0.0.0:80"; "*" is IPv6's wildcard with IPv4's.
func locals(t *testing.T, text string) (out []local) {
	t.Helper()
	for field := range strings.FieldsSeq(text) {
		dual := strings.HasPrefix(field, "*")
		addr, err := netip.ParseAddrPort(strings.Replace(field, "*", "[::]", 1))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, local{addr, dual})
	}
	return out
}

func TestArrange(t *testing.T) {
	anyAddress, loopback := config.Address{Port: 80}, config.Address{Listen: config.ListenLoopback, Port: 80}
	ip := func(s string) config.Address {
		return config.Address{Listen: config.ListenIP, IP: netip.MustParseAddr(s), Port: 80}
	}
	tests := []struct {
		address         config.Address
		have, use, open string
	}{
		{anyAddress, "", "[]", "[tcp ]"},
		{anyAddress, "*:81 127.0.0.1:80 [::1]:80", "[]", "[tcp ]"},
		{anyAddress, "[::1]:80 *:80", "[1]", "[]"},
		{anyAddress, "0.0.0.0:80", "[0]", "[tcp6 ::?]"},
		{anyAddress, "[::]:80", "[0]", "[tcp4 0.0.0.0?]"},
		{anyAddress, "[::]:80 0.0.0.0:80", "[1 0]", "[]"},
		{anyAddress, "*:80 *:80", "[0 1]", "[]"}, // SO_REUSEPORT
		{loopback, "", "[]", "[tcp 127.0.0.1 tcp ::1?]"},
		{loopback, "*:80 [::]:80 0.0.0.0:80", "[]", "[tcp 127.0.0.1 tcp ::1?]"},
		{loopback, "[::1]:80", "[0]", "[tcp 127.0.0.1]"},
		{loopback, "127.0.0.1:80", "[0]", "[tcp ::1?]"},
		{loopback, "127.0.0.1:80 127.0.0.1:81 [::1]:80", "[0 2]", "[]"},
		{ip("192.0.2.1"), "192.0.2.1:80", "[0]", "[]"},
		{ip("192.0.2.1"), "192.0.2.1:81 192.0.2.2:80 *:80 0.0.0.0:80 [::ffff:192.0.2.1]:80", "[]", "[tcp 192.0.2.1]"},
		{ip("2001:db8::1"), "192.0.2.1:80 [2001:db8::1]:80", "[1]", "[]"},
		{ip("fe80::1"), "[fe80::1%2]:80", "[]", "[tcp fe80::1]"},
	}
	for _, test := range tests {
		use, open := arrange(test.address, locals(t, test.have))
		words := []string{}
		for _, o := range open {
			word := o.network + " " + o.host
			if o.optional {
				word += "?"
			}
			words = append(words, word)
		}
		if gotUse, gotOpen := fmt.Sprint(use), fmt.Sprint(words); gotUse != test.use || gotOpen != test.open {
			t.Errorf("%v with %q: use %v, open %q; want %v, %q", test.address, test.have, gotUse, gotOpen, test.use, test.open)
		}
	}
}

// No two sockets have one name, and all names are what the service manager takes.
func TestNamesOfStoredSockets(t *testing.T) {
	seen := map[string]local{}
	for _, l := range locals(t, "*:80 [::]:80 0.0.0.0:80 0.0.0.0:8 [::1]:80 [::1:80]:80 [::180]:80 [::1]:8080 127.0.0.1:80 [2001:db8::1]:80") {
		name := l.name()
		if other, ok := seen[name]; ok {
			t.Errorf("%s and %s are both %s", l, other, name)
		}
		seen[name] = l
		if strings.ContainsAny(name, ": \n") {
			t.Errorf("bad name %q", name)
		}
	}
}
