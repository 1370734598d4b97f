package host

import (
	"net/netip"
	"path/filepath"
	"testing"

	"aerie/config"
	"aerie/inproc"
	"aerie/proto"
)

// TestOwned: connections of a host before are known again by their numbers, which
// the new ones do not meet, and count against their site.
func TestOwned(t *testing.T) {
	h := newHost(t, sites)
	h.clients.begin(3)
	port := h.routes.Load().cfg.Addresses()[0].Port
	local := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	remote := netip.MustParseAddrPort("192.0.2.7:4000")
	c := h.owned("a", proto.Owned{Number: 2<<epochShift + 5, Local: local, Remote: remote})
	if c == nil || c.Local != local || c.Remote != remote {
		t.Fatalf("%+v", c)
	}
	known := h.clients.find(c.Number)
	if known == nil || h.clients.poolOf(known) != "a" {
		t.Errorf("%+v", known)
	}
	open, bySite := h.clients.figures()
	if want := onlySite(h.next.Load(), "a"); open != 1 || want != "" && bySite[want] != 1 {
		t.Errorf("%d open, by site %v", open, bySite)
	}
	for name, o := range map[string]proto.Owned{
		"known already": {Number: c.Number, Local: local, Remote: remote},
		"none":          {Local: local, Remote: remote},
		"of this epoch": {Number: 3<<epochShift + 1, Local: local, Remote: remote},
		"other port":    {Number: 7, Local: netip.AddrPortFrom(local.Addr(), port+1), Remote: remote},
	} {
		if c := h.owned("a", o); c != nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
	h.Ended(c)
	if open, bySite := h.clients.figures(); open != 0 || len(bySite) != 0 {
		t.Errorf("at the end %d open, %v", open, bySite)
	}
	if h.clients.last != 3<<epochShift {
		t.Errorf("last number %d", h.clients.last)
	}
}

func TestOnlySite(t *testing.T) {
	cfg := load(t, sites)
	one := 0
	for name := range cfg.Pools {
		if site := onlySite(cfg, name); site != "" {
			one++
		}
	}
	if one == 0 || onlySite(cfg, "nobody") != "" {
		t.Errorf("%d pools with one site", one)
	}
}

func TestListensOn(t *testing.T) {
	addrs := []config.Address{
		{Listen: config.ListenAny, Port: 80},
		{Listen: config.ListenLoopback, Port: 81},
		{Listen: config.ListenIP, IP: netip.MustParseAddr("192.0.2.1"), Port: 82},
	}
	for text, want := range map[string]bool{
		"198.51.100.1:80": true, "127.0.0.1:81": true, "[::1]:81": true, "192.0.2.1:82": true, "[::ffff:192.0.2.1]:82": true,
		"198.51.100.1:81": false, "192.0.2.2:82": false, "127.0.0.1:83": false,
	} {
		if got := listensOn(addrs, netip.MustParseAddrPort(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestFolderOf(t *testing.T) {
	s := newService("/r", "now")
	in := func(parts ...string) string { return filepath.Join(append([]string{"/r", "p"}, parts...)...) }
	good := inproc.Record{Dir: in("ab", "then"), Relay: in("ab", "then", "r1"), Control: in("ab", "then", "d", "c"), Handover: in("ab", "then", "h1")}
	if dir, err := s.folderOf(good); err != nil || dir != filepath.Join("ab", "then") {
		t.Errorf("%q, %v", dir, err)
	}
	for name, change := range map[string]func(*inproc.Record){
		"folder":        func(r *inproc.Record) { r.Dir = in("ab") },
		"deep folder":   func(r *inproc.Record) { r.Dir = in("ab", "then", "d") },
		"other folder":  func(r *inproc.Record) { r.Dir = "/tmp/ab/then" },
		"outside":       func(r *inproc.Record) { r.Control = "/tmp/a/b/c" },
		"above":         func(r *inproc.Record) { r.Relay = in("..", "x", "y", "z") },
		"another start": func(r *inproc.Record) { r.Handover = in("ab", "now", "h1") },
		"shallow":       func(r *inproc.Record) { r.Relay = in("ab", "r1") },
		"none":          func(r *inproc.Record) { r.Handover = "" },
	} {
		r := good
		change(&r)
		if dir, err := s.folderOf(r); err == nil {
			t.Errorf("%s: %q", name, dir)
		}
	}
}
