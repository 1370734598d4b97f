package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"aerie/config"
	"aerie/internal/systemd"
	"aerie/internal/tcpconn"
)

// sockets is where listening sockets come from: the service manager, which may
// have passed some, and the system.
//
//	            adopt                      its address goes, at a reload
//	passed --------------> listener -----------------------------------> passed (a socket unit's)
//	system --------------> listener --------------------------------> closed (any other)
//	            open, put in the store         shut down, removed from the store
//
// A socket that the host opened itself has a copy in the service manager's store
// of descriptors. When the host is killed that copy stays open: clients wait in the
// kernel for the next host, which gets it passed. A socket unit's socket is systemd's
// own and open as long as systemd wants; the host keeps its copy while no binding has its
// address, since a later one could get the address in no other way.
type sockets struct {
	service *systemd.Service
	log     *slog.Logger
	started atomic.Bool // since all addresses of the start are listened on

	mu     sync.Mutex // guards below
	passed []*passed  // those that serve no address now
}

// passed is a listening socket that the service manager passed.
type passed struct {
	file *os.File
	name string
	at   local
}

// stored says whether it comes from the store of descriptors, where the host has
// put it under the name that its address gives it.
func (p *passed) stored() bool { return p.name == p.at.name() }

func (p *passed) String() string { return fmt.Sprintf("%q on %s", p.name, p.at) }

// local is where a socket listens. It is comparable.
type local struct {
	addr netip.AddrPort
	dual bool // IPv6's wildcard and IPv4's with it (IPV6_V6ONLY is off)
}

func (l local) String() string {
	if l.dual {
		return "*:" + strconv.Itoa(int(l.addr.Port()))
	}
	return l.addr.String()
}

// name is that of the socket in the store of descriptors: no ":" may be in it.
func (l local) name() string {
	host := "any"
	if !l.dual {
		host = strings.ReplaceAll(l.addr.Addr().String(), ":", "-")
	}
	return fmt.Sprintf("aerie-%s-%d", host, l.addr.Port())
}

// listener is an open listening socket.
type listener struct {
	net.Listener
	at   local
	copy *os.File // of the same socket; nil without a service manager
	unit *passed  // nil unless it is a socket unit's
}

// opening is a socket that is to be opened.
type opening struct {
	network, host string
	optional      bool // a machine may lack that kind of address
}

// arrange says with which sockets an address is listened on: those of have that
// are exactly on it, and what they leave open. "Any address" is one socket
// for IPv6 and IPv4, or one for each.
func arrange(a config.Address, have []local) (use []int, open []opening) {
	on := func(l local) bool {
		found := false
		for i, h := range have {
			if h == l {
				use, found = append(use, i), true
			}
		}
		return found
	}
	at := func(addr netip.Addr) local { return local{addr: netip.AddrPortFrom(addr, a.Port)} }
	four, six := at(netip.IPv4Unspecified()), at(netip.IPv6Unspecified())
	switch a.Listen {
	case config.ListenAny:
		if on(local{six.addr, true}) {
			break
		}
		switch hasFour, hasSix := on(four), on(six); {
		case !hasFour && !hasSix:
			open = append(open, opening{network: "tcp"})
		case !hasFour:
			open = append(open, opening{"tcp4", "0.0.0.0", true})
		case !hasSix:
			open = append(open, opening{"tcp6", "::", true})
		}
	case config.ListenLoopback:
		if !on(at(netip.AddrFrom4([4]byte{127, 0, 0, 1}))) {
			open = append(open, opening{network: "tcp", host: "127.0.0.1"})
		}
		if !on(at(netip.IPv6Loopback())) {
			open = append(open, opening{"tcp", "::1", true})
		}
	default:
		if !on(at(a.IP)) {
			open = append(open, opening{network: "tcp", host: a.IP.String()})
		}
	}
	return use, open
}

// receive takes what the service manager passed, before anything is listened on.
// Something that is no listening TCP socket is an error that names it. A socket that no
// address is for is warned of: the host closes it and has it removed from the store, or
// leaves it alone if it is a socket unit's.
func (s *sockets) receive(addrs []config.Address) error {
	var errs []error
	for _, given := range s.service.Sockets() {
		p := &passed{file: given.File, name: given.Name}
		listens := false
		var err error
		if p.at, listens, err = inspect(p.file); err != nil {
			errs = append(errs, fmt.Errorf("the service manager passed %q: %w", p.name, err))
		}
		s.passed = append(s.passed, p)
		if err == nil && !listens && !p.stored() { // a stored one was shut down just before the host was killed
			errs = append(errs, fmt.Errorf("the service manager passed %s: it does not listen (Accept=yes in a socket unit is not for the host)", p))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return s.sortOut(addrs)
}

// sortOut drops the stored sockets that no address is for.
func (s *sockets) sortOut(addrs []config.Address) error {
	have := s.locals()
	wanted := map[int]bool{}
	for _, a := range addrs {
		use, _ := arrange(a, have)
		for _, i := range use {
			wanted[i] = true
		}
	}
	var keep []*passed
	var errs []error
	for i, p := range s.passed {
		_, listens, err := inspect(p.file)
		errs = append(errs, err)
		switch {
		case wanted[i] && listens:
			keep = append(keep, p)
			continue
		case p.stored():
			s.log.Warn("closed a stored socket: no binding has its address", "socket", p.name, "address", p.at.String())
			errs = append(errs, s.discard(p.file, p.at))
		default:
			s.log.Warn("no binding has the address of a socket that the service manager passed: who connects to it waits in vain", "socket", p.name, "address", p.at.String())
			keep = append(keep, p)
		}
	}
	s.passed = keep
	return errors.Join(errs...)
}

func (s *sockets) locals() []local {
	var have []local
	for _, p := range s.passed {
		have = append(have, p.at)
	}
	return have
}

// discard ends a socket of the host's own for good. It is shut down first: the
// address is free then, although the store has a copy that is closed a little later.
func (s *sockets) discard(file *os.File, at local) error {
	err := shutdown(file)
	s.told(s.service.Forget(at.name()))
	return errors.Join(err, file.Close())
}

// told logs a message that did not reach the service manager: the host serves
// without its help.
func (s *sockets) told(err error) {
	if err != nil {
		s.log.Warn("service manager", "error", err)
	}
}

// take removes from what was passed the sockets of an address, and says what is
// left to open.
func (s *sockets) take(a config.Address) ([]*passed, []opening) {
	s.mu.Lock()
	defer s.mu.Unlock()
	use, open := arrange(a, s.locals())
	var out, left []*passed
	for i, p := range s.passed {
		if slices.Contains(use, i) {
			out = append(out, p)
		} else {
			left = append(left, p)
		}
	}
	s.passed = left
	return out, open
}

// listen listens on an address. Connections that come wait in the kernel until
// they are accepted.
func (s *sockets) listen(a config.Address) (out []*listener, err error) {
	used, open := s.take(a)
	defer func() {
		if err != nil {
			err = fmt.Errorf("listen on %s: %w%s", a, err, s.hint(a.Port))
			for _, l := range out {
				err = errors.Join(err, s.undo(l))
			}
			out = nil
		}
	}()
	for i, p := range used {
		l, err := s.adopt(p)
		if err != nil {
			s.mu.Lock()
			s.passed = append(s.passed, used[i:]...)
			s.mu.Unlock()
			return out, err
		}
		out = append(out, l)
	}
	for _, o := range open {
		l, err := s.open(net.JoinHostPort(o.host, strconv.Itoa(int(a.Port))), o.network)
		if err != nil && o.optional && isNoAddress(err) {
			continue
		}
		if err != nil {
			return out, err
		}
		out = append(out, l)
	}
	return out, nil
}

// hint says what else may have the port.
func (s *sockets) hint(port uint16) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.passed {
		if p.at.addr.Port() == port {
			return fmt.Sprintf(" (the service manager holds %s)", p)
		}
	}
	return ""
}

// adopt makes a listener of a socket that was passed. Its options are set as on
// one that the host opens.
func (s *sockets) adopt(p *passed) (*listener, error) {
	made, err := net.FileListener(p.file)
	if err != nil {
		return nil, fmt.Errorf("use the socket %s: %w", p, err)
	}
	tcp := made.(*net.TCPListener) // as inspect has seen
	raw, err := tcp.SyscallConn()
	if err == nil {
		err = socketOptions("", "", raw)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("use the socket %s: %w", p, err), tcp.Close())
	}
	l, err := tcpconn.NewListener(tcp)
	if err != nil {
		return nil, fmt.Errorf("use the socket %s: %w", p, err)
	}
	out := &listener{Listener: l, at: p.at, copy: p.file}
	if !p.stored() {
		out.unit = p
	}
	s.log.Info("took over a listening socket", "socket", p.name, "address", p.at.String())
	return out, nil
}

// open opens a socket and puts a copy of it in the store.
func (s *sockets) open(address, network string) (*listener, error) {
	lc := net.ListenConfig{Control: socketOptions}
	lc.SetMultipathTCP(false)                                      // what the kernel tells of such a connection is of one of its paths
	made, err := lc.Listen(context.Background(), network, address) // does not wait for an address
	if err != nil {
		return nil, err
	}
	tcp := made.(*net.TCPListener)
	out := &listener{}
	if s.service.Notified() {
		if out.copy, err = tcp.File(); err == nil {
			out.at, _, err = inspect(out.copy)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("copy the socket of %s: %w", address, err), tcp.Close())
		}
		s.told(s.service.Store(out.at.name(), out.copy))
	}
	if out.Listener, err = tcpconn.NewListener(tcp); err != nil {
		return nil, errors.Join(err, s.forgo(out))
	}
	return out, nil
}

// release closes a listener whose address the host does not serve any more.
func (s *sockets) release(l *listener) error {
	err := l.Close()
	if l.unit == nil {
		return errors.Join(err, s.forgo(l))
	}
	s.log.Warn("the service manager still listens on an address that no binding has: who connects to it waits in vain", "socket", l.unit.name, "address", l.at.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed = append(s.passed, l.unit)
	return err
}

// undo closes a listener because another one cannot be had. At the start that ends
// the host, and clients wait for one that has better luck.
func (s *sockets) undo(l *listener) error {
	if s.started.Load() {
		return s.release(l)
	}
	return s.end(l)
}

func (s *sockets) forgo(l *listener) error {
	if l.copy == nil {
		return nil
	}
	return s.discard(l.copy, l.at)
}

// end closes a listener with the host. What the service manager has of it stays
// open, for the next host.
func (s *sockets) end(l *listener) error {
	err := l.Close()
	if l.copy != nil {
		err = errors.Join(err, l.copy.Close())
	}
	return err
}

// close closes what serves no address.
func (s *sockets) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, p := range s.passed {
		err = errors.Join(err, p.file.Close())
	}
	s.passed = nil
	return err
}
