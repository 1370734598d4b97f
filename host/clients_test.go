package host

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// fakeConn is a connection from an address.
type fakeConn struct {
	net.Conn
	remote   string
	deadline time.Time
}

func (c *fakeConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
func (c *fakeConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.remote))
}
func (c *fakeConn) SetReadDeadline(t time.Time) error { c.deadline = t; return nil }

func admit(t *testing.T, table *clients, remote string) *client {
	t.Helper()
	c, err := table.admit(&fakeConn{remote: remote}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientLimits(t *testing.T) {
	table := newClients()
	a, err := table.admit(&fakeConn{remote: "[::ffff:192.0.2.1]:1"}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if a.Remote != netip.MustParseAddrPort("192.0.2.1:1") {
		t.Errorf("an address in two forms: %s", a.Remote)
	}
	b, err := table.admit(&fakeConn{remote: "192.0.2.2:2"}, 2)
	if err != nil || a.Number == b.Number {
		t.Fatal(err)
	}
	if _, err := table.admit(&fakeConn{remote: "192.0.2.3:3"}, 2); !errors.Is(err, errTooMany) {
		t.Errorf("past max_connections: %v", err)
	}
	table.end(a.Number)
	table.end(a.Number)
	c, err := table.admit(&fakeConn{remote: "192.0.2.2:3"}, 2)
	if err != nil {
		t.Errorf("after one has ended: %v", err)
	}
	if err := table.count(b, "shop", 2, 1); err != nil {
		t.Error(err)
	}
	if err := table.count(b, "other", 1, 1); err != nil || b.site != "shop" {
		t.Errorf("counted twice: %v", err)
	}
	if err := table.count(c, "shop", 2, 1); !errors.Is(err, errTooMany) || c.site != "" {
		t.Errorf("past max_connections_per_address: %v", err)
	}
	if err := table.count(c, "shop", 1, 0); !errors.Is(err, errTooMany) {
		t.Errorf("past max_connections of the site: %v", err)
	}
	table.end(b.Number)
	if err := table.count(c, "shop", 1, 1); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
	if total, bySite := table.figures(); total != 1 || bySite["shop"] != 1 {
		t.Errorf("%d, %v", total, bySite)
	}
}

// TestCountsReturnToZero ends connections in every order, under limits that come
// and go as at a reload.
func TestCountsReturnToZero(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 2))
		table := newClients()
		var all []*client
		perAddress := map[siteAddr]int{}
		for i := range 100 {
			c := admit(t, table, fmt.Sprintf("192.0.2.%d:%d", rng.IntN(5), i+1))
			all = append(all, c)
			max := rng.IntN(4)
			if err := table.count(c, fmt.Sprint("site", rng.IntN(3)), 30, max); err == nil && max > 0 {
				perAddress[siteAddr{c.site, c.Remote.Addr()}]++
			}
			if rng.IntN(3) == 0 {
				j := rng.IntN(len(all))
				gone := all[j]
				all = append(all[:j], all[j+1:]...)
				if gone.perAddress {
					perAddress[siteAddr{gone.site, gone.Remote.Addr()}]--
				}
				table.end(gone.Number)
			}
			for key, n := range perAddress {
				if table.bySite[key] != n {
					t.Fatalf("seed %d: %v counted %d times, want %d", seed, key, table.bySite[key], n)
				}
			}
		}
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, c := range all {
			table.end(c.Number)
		}
		if len(table.open)+len(table.sites)+len(table.bySite) > 0 {
			t.Fatalf("seed %d: left %v %v %v", seed, table.open, table.sites, table.bySite)
		}
	}
}

func TestMixedMemory(t *testing.T) {
	table := newClients()
	now := time.Now()
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	table.noteMixed(a, now)
	if !table.mixes(a, now.Add(mixedSpell-1)) || table.mixes(a, now.Add(mixedSpell)) || table.mixes(b, now) {
		t.Error("not remembered for mixedSpell")
	}
	for i := range maxMixed + 10 {
		table.noteMixed(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), now)
		if len(table.mixed) > maxMixed {
			t.Fatalf("%d remembered", len(table.mixed))
		}
	}
}

// TestCloseEndsAwaiting: a table that is closing gives up those that have not
// said anything yet, and only those.
func TestCloseEndsAwaiting(t *testing.T) {
	table := newClients()
	waits, decided := admit(t, table, "192.0.2.1:1"), admit(t, table, "192.0.2.1:2")
	for _, c := range []*client{waits, decided} {
		if err := table.awaiting(c, time.Minute); err != nil || c.Conn.(*fakeConn).deadline.IsZero() {
			t.Fatal(err)
		}
	}
	if err := table.decided(decided); err != nil {
		t.Fatal(err)
	}
	table.close()
	if d := waits.Conn.(*fakeConn).deadline; !d.Before(time.Now()) {
		t.Errorf("awaited until %v", d)
	}
	if d := decided.Conn.(*fakeConn).deadline; !d.IsZero() {
		t.Errorf("disturbed: %v", d)
	}
	if _, err := table.admit(&fakeConn{remote: "192.0.2.1:3"}, 0); !errors.Is(err, errTooMany) {
		t.Errorf("admitted: %v", err)
	}
	if err := table.awaiting(decided, time.Minute); !errors.Is(err, net.ErrClosed) {
		t.Errorf("awaiting: %v", err)
	}
}
