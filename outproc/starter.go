package outproc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"aerie/apppool"
	"aerie/config"
	"aerie/internal/h1"
	"aerie/internal/logfile"
	"aerie/internal/process"
	"aerie/proto"
)

// subStatus is IIS's for a process that did not start.
const subStatus = "502.5"

// maxSocketPath is the longest path of a socket that every system takes.
const maxSocketPath = 100

// Starter starts worker processes for out-of-process hosting. All exported
// fields are required. It is safe for concurrent use.
type Starter struct {
	Launcher  *process.Launcher
	Contain   func(*config.Pool) (*process.Contain, error)                // as whom its processes run
	SocketDir func(*config.Pool, *process.User) (string, error)           // the pool's own folder below run_dir, that user's; it exists when this returns
	Log       func(pool string) (*logfile.File, error)                    // the pool's log, which the caller closes
	Env       func() []string                                             // the host's environment as workers get it
	Site      func(pool, path string) (b config.Binding, pathBase string) // of the site and application of the pool that a path belongs to
	Trusted   func(netip.Addr) bool                                       // whether a client's address is in trusted_proxies
	Logger    *slog.Logger

	ports ports

	mu      sync.Mutex // guards below
	sockets int        // names given out
}

var _ apppool.Starter = (*Starter)(nil)

// Start starts the program and returns when it accepts connections. The error
// is an *apppool.StartError of sub-status 502.5. A program that ended because
// its port had been taken, or whose port turned out to be a stranger's, is
// started again with another one, three times at most.
func (s *Starter) Start(ctx context.Context, spec apppool.Spec) (apppool.Worker, error) {
	for attempt := 1; ; attempt++ {
		w, err := s.try(ctx, spec)
		if err == nil {
			return w, nil
		}
		if !errors.Is(err, errPortTaken) || attempt == portAttempts {
			return nil, startError(err)
		}
		s.Logger.Warn("port was taken; starting again with another", "pool", spec.Pool.Name, "generation", spec.Generation, "error", err)
	}
}

func startError(err error) *apppool.StartError {
	if e, ok := errors.AsType[*apppool.StartError](err); ok {
		return e
	}
	return &apppool.StartError{SubStatus: subStatus, Reason: err.Error(), Err: err}
}

// try starts the program once.
func (s *Starter) try(ctx context.Context, spec apppool.Spec) (*Worker, error) {
	w, err := s.prepare(spec)
	if err != nil {
		return nil, err
	}
	if err := w.launch(ctx, s); err != nil {
		w.release()
		return nil, &apppool.StartError{SubStatus: subStatus, Reason: w.reason(ctx, err), Err: err}
	}
	addr, err := w.awaitReady(ctx)
	if err != nil {
		return nil, w.failed(ctx, err)
	}
	w.upstream.Dial = w.dialer(addr)
	w.forwarder = &Forwarder{Upstream: w.upstream, Token: w.token, Trusted: s.Trusted, Alive: w.proc.Status}
	return w, nil
}

// prepare makes a worker that has all that its process needs but the process.
func (s *Starter) prepare(spec apppool.Spec) (*Worker, error) {
	contain, err := s.Contain(spec.Pool)
	if err != nil {
		return nil, err
	}
	own, err := spec.Program.Environment()
	if err != nil {
		return nil, err
	}
	dir, err := s.SocketDir(spec.Pool, contain.User)
	if err != nil {
		return nil, fmt.Errorf("socket folder: %w", err)
	}
	socket := filepath.Join(dir, s.socketName(spec.Generation))
	if len(socket) > maxSocketPath {
		return nil, fmt.Errorf("socket path %q has %d bytes; at most %d are possible: choose a shorter run_dir", socket, len(socket), maxSocketPath)
	}
	if err := removeSocket(socket); err != nil { // of a host that was killed
		return nil, err
	}
	log, err := s.Log(spec.Pool.Name)
	if err != nil {
		return nil, err
	}
	port, err := s.ports.take()
	if err != nil {
		return nil, err
	}
	return &Worker{
		spec:     spec,
		contain:  contain,
		own:      own,
		logger:   s.Logger.With("pool", spec.Pool.Name, "generation", spec.Generation),
		log:      log,
		socket:   socket,
		port:     port,
		giveBack: func() { s.ports.giveBack(port) },
		token:    proto.NewToken(),
		site:     s.Site,
		upstream: &h1.Upstream{},
		load:     newLoad(spec.Pool.StreamAfter),
		done:     make(chan struct{}),
	}, nil
}

// socketName is unique in the host's life, and not only among generations: a
// pool that was removed and made again counts its generations from 1, while a
// worker of the old one may still drain.
func (s *Starter) socketName(generation int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets++
	return fmt.Sprintf("o%d-%d", generation, s.sockets)
}

// launch starts the process, and the goroutines that end with it.
func (w *Worker) launch(ctx context.Context, s *Starter) error {
	output, stdout, err := newCapture(w.log, w.logger)
	if err != nil {
		return err
	}
	w.startedAt = time.Now()
	proc, err := s.Launcher.Start(ctx, process.Spec{
		Path: w.spec.Program.Process, Args: w.spec.Program.Args, Env: w.environment(s.Env()), Dir: w.spec.Program.Dir,
		Stdout: stdout, Stderr: stdout, EndWithHost: true, Contain: w.contain,
		DumpStacks: w.spec.Pool.ShutdownTimeout > 0,
	})
	_ = stdout.Close() // the process has its own, and through this one nothing was written
	if err != nil {
		return errors.Join(err, output.discard())
	}
	w.proc, w.output = proc, output
	go output.run() // ends with the process: see watch
	go w.watch()    // ends with the process, and closes done
	return nil
}

// failed ends the process, which is not to be waited for politely, and says all
// that is known about why.
func (w *Worker) failed(ctx context.Context, err error) error {
	e := &apppool.StartError{SubStatus: subStatus, Reason: w.reason(ctx, err), Err: err}
	if errors.Is(err, errEnded) {
		<-w.done
		e.Exit, e.Output = w.proc.Status(), w.output.lines()
		if saysPortTaken(e.Output) {
			e.Err = errors.Join(err, errPortTaken)
		}
		return e
	}
	w.stopped.Store(true)
	if killErr := w.proc.Kill(); killErr != nil {
		e.Err = errors.Join(err, killErr)
		return e
	}
	<-w.done
	e.Output = w.output.lines()
	return e
}

// reason is the one line for the operator.
func (w *Worker) reason(ctx context.Context, err error) string {
	switch {
	case ctx.Err() == nil || !errors.Is(err, context.Cause(ctx)):
		return err.Error()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Sprintf("start-up time-out: after %s neither AERIE_SOCKET nor PORT (%d) accepts a connection",
			time.Since(w.startedAt).Round(time.Millisecond), w.port)
	default:
		return fmt.Sprintf("the start was called off: %v", err)
	}
}

func removeSocket(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove socket: %w", err)
	}
	return nil
}
