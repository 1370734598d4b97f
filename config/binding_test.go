package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParseBinding(t *testing.T) {
	ip := netip.MustParseAddr
	tests := []struct {
		text string
		want Binding
	}{
		{"http://*", Binding{Port: 80}},
		{"http://*:8080", Binding{Port: 8080}},
		{"HTTP://Example.ORG", Binding{Host: "example.org", Port: 80}},
		{"http://example.org:65535", Binding{Host: "example.org", Port: 65535}},
		{"http://*.example.org", Binding{Host: "*.example.org", Port: 80}},
		{"http://a_b.example", Binding{Host: "a_b.example", Port: 80}},
		{"http://xn--bcher-kva.example", Binding{Host: "xn--bcher-kva.example", Port: 80}},
		{"http://3com", Binding{Host: "3com", Port: 80}},
		{"http://localhost", Binding{Host: "localhost", Listen: ListenLoopback, Port: 80}},
		{"http://Shop.Localhost:1", Binding{Host: "shop.localhost", Listen: ListenLoopback, Port: 1}},
		{"http://*.localhost", Binding{Host: "*.localhost", Listen: ListenLoopback, Port: 80}},
		{"http://notlocalhost", Binding{Host: "notlocalhost", Port: 80}},
		{"http://localhost.example", Binding{Host: "localhost.example", Port: 80}},
		{"http://0.0.0.0:81", Binding{Port: 81}},
		{"http://[::]", Binding{Port: 80}},
		{"http://127.0.0.1:81", Binding{Listen: ListenIP, IP: ip("127.0.0.1"), Port: 81}},
		{"http://[::1]", Binding{Listen: ListenIP, IP: ip("::1"), Port: 80}},
		{"http://[2001:DB8::1]:81", Binding{Listen: ListenIP, IP: ip("2001:db8::1"), Port: 81}},
		{"http://[::ffff:10.0.0.1]", Binding{Listen: ListenIP, IP: ip("10.0.0.1"), Port: 80}},
	}
	for _, test := range tests {
		test.want.Text, test.want.Scheme = test.text, "http"
		got, err := parseBinding(test.text)
		if err != nil || got != test.want {
			t.Errorf("%s: got %+v, %v; want %+v", test.text, got, err, test.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	tests := []struct {
		bindings string
		want     string
	}{
		{"http://a.example http://b.example", "*:80"},
		{"http://a.example http://a.example:81", "*:80 *:81"},
		{"http://a.localhost http://b.localhost", "localhost:80"},
		{"http://a.localhost http://a.example http://10.0.0.1", "*:80"},
		{"http://a.localhost http://127.0.0.1 http://[::1] http://127.0.0.2", "localhost:80 127.0.0.2:80"},
		{"http://10.0.0.2 http://[2001:db8::1]:80 http://10.0.0.1", "10.0.0.1:80 10.0.0.2:80 [2001:db8::1]:80"},
		{"http://a.localhost:81 http://a.example", "*:80 localhost:81"},
	}
	for _, test := range tests {
		site := &Site{}
		for text := range strings.FieldsSeq(test.bindings) {
			b, err := parseBinding(text)
			if err != nil {
				t.Fatal(err)
			}
			site.Bindings = append(site.Bindings, b)
		}
		for range 2 { // in any order
			got := addressNames((&Config{Sites: []*Site{site}}).Addresses())
			if got != test.want {
				t.Errorf("%s: got %s, want %s", test.bindings, got, test.want)
			}
			slices.Reverse(site.Bindings)
		}
	}
}

func addressNames(list []Address) string {
	var names []string
	for _, a := range list {
		names = append(names, a.String())
	}
	return strings.Join(names, " ")
}
