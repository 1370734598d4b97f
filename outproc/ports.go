package outproc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
)

const (
	firstPort    = 10000 // below are the ports of well-known services
	lastPort     = 65535
	portAttempts = 3 // starts of a program whose port is found taken
	portSearch   = 200
)

// ports gives out loopback ports. They lie outside the range from which the
// system takes the local ports of outgoing connections, so that none of those
// sits on one when the program listens. The zero value is ready to use.
type ports struct {
	pick func() int // nil is random

	mu    sync.Mutex // guards below
	taken map[int]bool
}

// take returns a port on which nobody listens.
func (p *ports) take() (int, error) {
	pick := p.pick
	if pick == nil {
		low, high := ephemeral()
		pick = func() int { return randomPort(low, high) }
	}
	for range portSearch {
		port := pick()
		if !p.claim(port) {
			continue
		}
		if p.pick != nil || vacant(port) {
			return port, nil
		}
		p.giveBack(port)
	}
	return 0, fmt.Errorf("no free loopback port found in %d attempts", portSearch)
}

func (p *ports) claim(port int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[port] {
		return false
	}
	if p.taken == nil {
		p.taken = make(map[int]bool)
	}
	p.taken[port] = true
	return true
}

func (p *ports) giveBack(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, port)
}

// randomPort returns a port from firstPort on and not within low to high,
// unless that leaves next to none.
func randomPort(low, high int) int {
	below := max(0, min(low, lastPort+1)-firstPort)
	above := max(0, lastPort-max(high, firstPort-1))
	if below+above < portSearch {
		return firstPort + rand.IntN(lastPort+1-firstPort)
	}
	if n := rand.IntN(below + above); n < below {
		return firstPort + n
	} else {
		return max(high, firstPort-1) + 1 + n - below
	}
}

// vacant reports whether nobody listens on the loopback port.
func vacant(port int) bool {
	for _, host := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			err = l.Close()
		}
		noIPv6 := host == "::1" && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT))
		if err != nil && !noIPv6 {
			return false
		}
	}
	return true
}
