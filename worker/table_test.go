package worker

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"aerie/config"
	"aerie/module"
)

// bindings are those of the sites in tables under test, one site each, in an
// order that must not matter.
var bindings = map[string]config.Binding{
	"any":            {Port: 80},
	"any-loopback":   {Port: 80, Listen: config.ListenLoopback},
	"any-ip":         {Port: 80, Listen: config.ListenIP, IP: netip.MustParseAddr("10.0.0.1")},
	"any-ip6":        {Port: 80, Listen: config.ListenIP, IP: netip.MustParseAddr("fe80::1")},
	"wild":           {Port: 80, Host: "*.example.org"},
	"wild-long":      {Port: 80, Host: "*.shop.example.org"},
	"wild-ip":        {Port: 80, Host: "*.example.org", Listen: config.ListenIP, IP: netip.MustParseAddr("10.0.0.1")},
	"wild-a":         {Port: 80, Host: "*.a.example.org"},
	"exact":          {Port: 80, Host: "www.example.org"},
	"exact-loopback": {Port: 80, Host: "www.example.org", Listen: config.ListenLoopback},
	"exact-ip":       {Port: 80, Host: "www.example.org", Listen: config.ListenIP, IP: netip.MustParseAddr("10.0.0.1")},
	"other-port":     {Port: 81, Host: "www.example.org"},
}

func tableOf(names ...string) *Table {
	opts := TableOptions{App: func(s *Site, path string) http.Handler { return named(s.Name + path) }, Default: named("none")}
	for _, n := range names {
		opts.Sites = append(opts.Sites, Site{Name: n, Bindings: []config.Binding{bindings[n]}, Paths: []string{"/"}})
	}
	return NewTable(opts)
}

// named answers with its name.
func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })
}

func TestTableFindsTheMostSpecificSite(t *testing.T) {
	all := []string{"any", "any-loopback", "any-ip", "any-ip6", "wild", "wild-long", "exact", "exact-loopback", "exact-ip", "other-port"}
	without := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(n string) bool { return slices.Contains(names, n) })
	}
	for _, test := range []struct {
		sites       []string
		local, host string
		want        string
	}{
		{all, "10.0.0.9:80", "www.example.org", "exact"},
		{all, "10.0.0.9:80", "www.example.org:80", "exact"},
		{all, "10.0.0.9:80", "www.example.org:8080", "exact"}, // behind a forwarded port
		{all, "10.0.0.9:80", "www.example.org.", "exact"},
		{all, "10.0.0.9:80", "WWW.Example.ORG.:80", "exact"},
		{all, "127.0.0.1:80", "www.example.org", "exact-loopback"},
		{all, "[::1]:80", "www.example.org", "exact-loopback"},
		{all, "127.9.9.9:80", "www.example.org", "exact-loopback"},
		{all, "10.0.0.1:80", "www.example.org", "exact-ip"},
		{without("exact-ip"), "10.0.0.1:80", "www.example.org", "exact"},
		{without("exact", "exact-ip"), "10.0.0.1:80", "www.example.org", "wild"}, // the name goes before the address
		{all, "10.0.0.9:80", "a.example.org", "wild"},
		{all, "10.0.0.9:80", "a.b.example.org", "wild"},
		{all, "10.0.0.9:80", "a.shop.example.org", "wild-long"},
		{all, "10.0.0.9:80", "shop.example.org", "wild"},
		{all, "10.0.0.9:80", "example.org", "any"},
		{all, "10.0.0.9:80", ".example.org", "any"},
		{all, "10.0.0.9:80", "notexample.org", "any"},
		{all, "10.0.0.9:80", "", "any"}, // HTTP/1.0 without Host
		{all, "127.0.0.1:80", "", "any-loopback"},
		{all, "10.0.0.1:80", "x", "any-ip"},
		{all, "10.0.0.1:80", "10.0.0.1", "any-ip"},
		{all, "[fe80::1]:80", "[fe80::1]", "any-ip6"},
		{all, "[fe80::1]:80", "[FE80::1]:80", "any-ip6"},
		{all, "[::1]:80", "[::1]:80", "any-loopback"},
		{[]string{"wild-ip", "wild-a"}, "10.0.0.1:80", "x.a.example.org", "wild-a"},
		{[]string{"wild-ip", "wild"}, "10.0.0.1:80", "x.example.org", "wild-ip"},
		{without("any"), "10.0.0.9:80", "x", ""},
		{all, "10.0.0.9:81", "www.example.org", "other-port"},
		{all, "10.0.0.9:81", "x", ""},
		{all, "10.0.0.9:82", "www.example.org", ""},
		{[]string{"any-loopback"}, "10.0.0.9:80", "127.0.0.1", ""}, // what the client says it wants is no address
	} {
		for _, names := range [][]string{test.sites, reversed(test.sites)} {
			got := ""
			if s := tableOf(names...).Site(netip.MustParseAddrPort(test.local), test.host); s != nil {
				got = s.Name
			}
			if got != test.want {
				t.Errorf("%q on %s: site %q, want %q", test.host, test.local, got, test.want)
			}
		}
	}
}

func reversed(s []string) []string {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

func FuzzTableFind(f *testing.F) {
	for _, host := range []string{"", ".", "[", "]", "[]", "[:", ":80", "[::1", "a:b:c", "www.example.org.:80", "..", "*.example.org", "\x00"} {
		f.Add(host, "/", uint16(80))
	}
	table := tableOf("any-ip", "wild", "wild-long", "exact", "other-port")
	f.Fuzz(func(t *testing.T, host, path string, port uint16) {
		r := table.find(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), host)
		switch {
		case port != 80 && port != 81 && r != nil:
			t.Errorf("%q found on port %d", host, port)
		case r != nil && r.app(path) == nil:
			t.Errorf("no application for %q", path)
		case r != nil && r.Name == "exact" && !strings.Contains(strings.ToLower(host), "www.example.org"):
			t.Errorf("%q is not www.example.org", host)
		}
	})
}

func TestTableFindsTheLongestPath(t *testing.T) {
	table := NewTable(TableOptions{
		Sites: []Site{
			{Name: "s", Bindings: []config.Binding{{Port: 80}}, Paths: []string{"/shop", "/", "/shop/admin", "/shopping"}},
			{Name: "p", Bindings: []config.Binding{{Port: 81}}, Paths: []string{"/only"}},
		},
		App: func(s *Site, path string) http.Handler { return named(s.Name + " " + path) }, Default: named("none"),
		Modules: func(_ *Site, path string) []module.Module {
			if path == "/shop" {
				return []module.Module{before("1 "), before("2 ")}
			}
			return nil
		},
	})
	for _, test := range []struct {
		port      uint16
		raw, want string
	}{
		{80, "/", "s /"}, {80, "/x", "s /"}, {80, "*", "s /"}, {80, "//shop", "s /"}, {80, "/Shop", "s /"},
		{80, "/shop", "1 2 s /shop"}, {80, "/shop/", "1 2 s /shop"}, {80, "/shop?x=/shopping", "1 2 s /shop"}, {80, "/%73hop/x", "1 2 s /shop"},
		{80, "/shop%2Fadmin", "s /shop/admin"}, {80, "/shop/admin/x", "s /shop/admin"}, {80, "/shop/administrator", "1 2 s /shop"},
		{80, "/shopping", "s /shopping"}, {80, "/shopping/cart", "s /shopping"}, {80, "/shoppings", "s /"},
		{80, "http://elsewhere/shopping", "s /shopping"},
		{81, "/only", "p /only"}, {81, "/", "none"}, {81, "/onl", "none"}, {82, "/", "none"},
	} {
		u, err := url.ParseRequestURI(test.raw)
		if err != nil {
			t.Fatal(err)
		}
		got := "none"
		if r := table.find(netip.AddrPortFrom(netip.Addr{}, test.port), "any"); r != nil {
			if h := r.app(u.Path); h != nil {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Header: http.Header{}})
				got = w.Body.String()
			}
		}
		if got != test.want {
			t.Errorf("port %d, %s: %s, want %s", test.port, test.raw, got, test.want)
		}
	}
}

// before is a module that writes its name first.
type before string

func (b before) Name() string { return string(b) }
func (b before) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, string(b))
		next.ServeHTTP(w, r)
	})
}

// Over the wire: requests for several sites on one connection, and a table that
// is replaced in between.
func TestRoutingOfOneConnection(t *testing.T) {
	s := newServer(t, Options{})
	l := listenTCP(t)
	if err := s.Listen(l, Source{}); err != nil {
		t.Fatal(err)
	}
	port := portOf(l.Addr())
	table := func(version string) *Table {
		return NewTable(TableOptions{
			Sites: []Site{
				{Name: "a", Bindings: []config.Binding{{Port: port, Host: "a.test"}}, Paths: []string{"/"}},
				{Name: "b", Bindings: []config.Binding{{Port: port, Host: "b.test"}}, Paths: []string{"/"}},
			},
			App: func(s *Site, _ string) http.Handler { return named(s.Name + version) }, Default: named("none" + version), Logger: s.opts.Logger,
		})
	}
	c := dial(t, l.Addr().String())
	ask := func(host, want string, status int) {
		t.Helper()
		send(t, c, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if r := read(t, c, "GET", status); status == 200 && string(r.Body) != want {
			t.Errorf("%s: %s, want %s", host, r.Body, want)
		}
	}
	ask("a.test", "", 503) // there is no table yet
	s.SetTable(table("1"))
	for _, q := range [][2]string{{"a.test", "a1"}, {"a.test", "a1"}, {"b.test", "b1"}, {"A.TEST", "a1"}, {"x", "none1"}, {"a.test", "a1"}} {
		ask(q[0], q[1], 200)
	}
	s.SetTable(table("2"))
	ask("a.test", "a2", 200)
	send(t, c, "GET / HTTP/1.0\r\n\r\n")
	if r := read(t, c, "GET", 200); string(r.Body) != "none2" || !r.Close {
		t.Errorf("HTTP/1.0 without Host: %s", r.Body)
	}
}

func TestStripPath(t *testing.T) {
	for _, test := range []struct{ base, uri, path, escaped, pathBase string }{
		{"/", "/x%2Fy", "/x/y", "/x%2Fy", ""},
		{"", "/x", "/x", "/x", ""},
		{"/shop", "/shop", "/", "/", "/shop"},
		{"/shop", "/shop/", "/", "/", "/shop"},
		{"/shop", "/shop/a/b", "/a/b", "/a/b", "/shop"},
		{"/shop", "/shop/a%2Fb", "/a/b", "/a%2Fb", "/shop"},
		{"/shop", "/%73%68op/a%2Fb", "/a/b", "/a%2Fb", "/shop"},
		{"/shop", "/shop%2Fa", "/a", "/a", "/shop"},
		{"/shop", "/shop%2Fa%2Fb", "/a/b", "/a/b", "/shop"},
		{"/grün", "/gr%C3%BCn/x", "/x", "/x", "/grün"},
		{"/a b", "/a%20b/c%2F", "/c/", "/c%2F", "/a b"},
	} {
		r := httptest.NewRequest("GET", test.uri, nil)
		called := false
		StripPath(test.base, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			called = true
			if r.URL.Path != test.path || r.URL.EscapedPath() != test.escaped || PathBase(r) != test.pathBase || r.RequestURI != test.uri {
				t.Errorf("%s below %q: path %q, escaped %q, base %q, URI %q", test.uri, test.base, r.URL.Path, r.URL.EscapedPath(), PathBase(r), r.RequestURI)
			}
			if raw := r.URL.RawPath; raw != "" && raw != test.escaped {
				t.Errorf("%s below %q: raw path %q", test.uri, test.base, raw)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
		if !called || r.URL.Path == test.path && test.pathBase != "" {
			t.Errorf("%s below %q: called %v, the request itself now has path %q", test.uri, test.base, called, r.URL.Path)
		}
	}
}

func FuzzStripPath(f *testing.F) {
	f.Add("/shop/a%2Fb")
	f.Add("/%73hop%2f%")
	f.Fuzz(func(t *testing.T, uri string) {
		u, err := url.ParseRequestURI(uri)
		if err != nil || !UnderPath(u.Path, "/shop") {
			return
		}
		StripPath("/shop", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if "/shop"+r.URL.Path != u.Path && (r.URL.Path != "/" || u.Path != "/shop") {
				t.Errorf("path %q of %q", r.URL.Path, uri)
			}
			if p, err := url.PathUnescape(r.URL.EscapedPath()); err != nil || p != r.URL.Path {
				t.Errorf("path %q, escaped %q (%v)", r.URL.Path, r.URL.EscapedPath(), err)
			}
		})).ServeHTTP(nil, &http.Request{URL: u})
	})
}
