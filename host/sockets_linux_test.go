package host

import (
	"net"
	"testing"
)

// A socket that was shut down is known by its address, and that is free although
// the socket is open.
func TestShutdown(t *testing.T) {
	for address, network := range map[string]string{":0": "tcp", "127.0.0.1:0": "tcp", "[::1]:0": "tcp", "0.0.0.0:0": "tcp4"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }() // nothing is buffered in it
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		at, listens, err := inspect(f)
		if err != nil || !listens || int(at.addr.Port()) != l.Addr().(*net.TCPAddr).Port || at.dual != (address == ":0") {
			t.Errorf("%s: %v, listens %v, %v", address, at, listens, err)
		}
		if _, err := net.Listen(network, l.Addr().String()); err == nil {
			t.Errorf("%s is free while the socket listens", address)
		}
		for range 2 {
			if err := shutdown(f); err != nil {
				t.Error(err)
			}
		}
		after, listens, err := inspect(f)
		if after != at || listens || err != nil {
			t.Errorf("%s after shutdown: %v, listens %v, %v; was %v", address, after, listens, err, at)
		}
		again, err := net.Listen(network, l.Addr().String())
		if err != nil {
			t.Errorf("%s after shutdown: %v", address, err)
			continue
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}
