package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"aerie/config"
	"aerie/internal/tcpconn"
)

// listeners are the open listening sockets, by the address of the configuration
// that they serve; "localhost" has two.
type listeners struct {
	log *slog.Logger

	// accept gets each connection. It does at once what needs no waiting, and
	// returns the rest, if there is any, to be run on a goroutine of its own.
	accept func(net.Conn) (rest func())

	mu     sync.Mutex // guards below
	open   map[config.Address][]net.Listener
	closed chan struct{}
	tasks  sync.WaitGroup
}

func newListeners(log *slog.Logger, accept func(net.Conn) func()) *listeners {
	return &listeners{log: log, accept: accept, open: map[config.Address][]net.Listener{}, closed: make(chan struct{})}
}

// listen opens the sockets of an address. Connections that come wait in the
// kernel until serve.
func listen(a config.Address) ([]net.Listener, error) {
	port := strconv.Itoa(int(a.Port))
	var hosts []string
	switch a.Listen {
	case config.ListenAny:
		hosts = []string{""}
	case config.ListenLoopback:
		hosts = []string{"127.0.0.1", "::1"}
	default:
		hosts = []string{a.IP.String()}
	}
	var out []net.Listener
	for i, host := range hosts {
		l, err := listenTCP(net.JoinHostPort(host, port))
		if err != nil && i > 0 && isNoAddress(err) {
			continue // a machine without IPv6 has no ::1
		}
		if err != nil {
			for _, l := range out {
				err = errors.Join(err, l.Close())
			}
			return nil, fmt.Errorf("listen on %s: %w", a, err)
		}
		out = append(out, l)
	}
	return out, nil
}

func listenTCP(address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: socketOptions}
	lc.SetMultipathTCP(false)                                 // what the kernel tells of such a connection is of one of its paths
	l, err := lc.Listen(context.Background(), "tcp", address) // does not wait for an address
	if err != nil {
		return nil, err
	}
	return tcpconn.NewListener(l.(*net.TCPListener))
}

// add opens addresses and accepts on them. On an error none of them is open.
func (ls *listeners) add(addrs []config.Address) error {
	opened := map[config.Address][]net.Listener{}
	for _, a := range addrs {
		l, err := listen(a)
		if err != nil {
			for _, list := range opened {
				err = errors.Join(err, closeAll(list))
			}
			return err
		}
		opened[a] = l
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for a, list := range opened {
		ls.open[a] = list
		for _, l := range list {
			ls.tasks.Go(func() { ls.serve(l) })
		}
	}
	return nil
}

// remove closes addresses. Connections that were accepted live on.
func (ls *listeners) remove(addrs []config.Address) error {
	ls.mu.Lock()
	var list []net.Listener
	for _, a := range addrs {
		list = append(list, ls.open[a]...)
		delete(ls.open, a)
	}
	ls.mu.Unlock()
	return closeAll(list)
}

// close closes everything. Connections that were accepted are still decided on.
func (ls *listeners) close() error {
	ls.mu.Lock()
	var list []net.Listener
	for a, l := range ls.open {
		list = append(list, l...)
		delete(ls.open, a)
	}
	ls.mu.Unlock()
	close(ls.closed)
	return closeAll(list)
}

// wait returns when no connection is left to decide on.
func (ls *listeners) wait() { ls.tasks.Wait() }

// serve accepts until the listener is closed. Lack of descriptors passes, so it
// waits a little then.
func (ls *listeners) serve(l net.Listener) {
	var pause time.Duration
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			if rest := ls.accept(conn); rest != nil {
				ls.tasks.Go(rest)
			}
		case errors.Is(err, net.ErrClosed):
			return
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			ls.log.Warn("accept", "listener", l.Addr(), "error", err, "retry_in", pause)
			select {
			case <-time.After(pause):
			case <-ls.closed:
				return
			}
		}
	}
}

func closeAll(list []net.Listener) error {
	var err error
	for _, l := range list {
		err = errors.Join(err, l.Close())
	}
	return err
}
