package host

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"aerie/config"
	"aerie/internal/systemd"
)

// listeners are the open listening sockets, by the address of the configuration
// that they serve; "localhost" has two.
type listeners struct {
	log *slog.Logger

	// accept gets each connection. It does at once what needs no waiting, and
	// returns the rest, if there is any, to be run on a goroutine of its own.
	accept func(net.Conn) (rest func())

	sockets *sockets

	mu     sync.Mutex // guards below
	open   map[config.Address][]*listener
	closed chan struct{}
	tasks  sync.WaitGroup
}

func newListeners(log *slog.Logger, accept func(net.Conn) func(), service *systemd.Service) *listeners {
	return &listeners{
		log: log, accept: accept, sockets: &sockets{service: service, log: log},
		open: map[config.Address][]*listener{}, closed: make(chan struct{}),
	}
}

// add opens addresses and accepts on them. On an error none of them is open.
func (ls *listeners) add(addrs []config.Address) error {
	opened := map[config.Address][]*listener{}
	for _, a := range addrs {
		l, err := ls.sockets.listen(a)
		if err != nil {
			for _, list := range opened {
				err = errors.Join(err, each(list, ls.sockets.undo))
			}
			return err
		}
		opened[a] = l
	}
	ls.sockets.started.Store(true)
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
	var list []*listener
	for _, a := range addrs {
		list = append(list, ls.open[a]...)
		delete(ls.open, a)
	}
	ls.mu.Unlock()
	return each(list, ls.sockets.release)
}

// close closes everything. Connections that were accepted are still decided on.
func (ls *listeners) close() error {
	ls.mu.Lock()
	var list []*listener
	for a, l := range ls.open {
		list = append(list, l...)
		delete(ls.open, a)
	}
	ls.mu.Unlock()
	close(ls.closed)
	return errors.Join(each(list, ls.sockets.end), ls.sockets.close())
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

func each(list []*listener, do func(*listener) error) error {
	var err error
	for _, l := range list {
		err = errors.Join(err, do(l))
	}
	return err
}
