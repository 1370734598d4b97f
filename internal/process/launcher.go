package process

import (
	"context"
	"errors"
	"sync"
	"time"
)

// DefaultGrace is how long the processes of a dead host may take to end.
const DefaultGrace = 3 * time.Second

// Launcher starts processes. The zero value is ready to use; the fields are not
// changed after the first Start. It is safe for concurrent use.
type Launcher struct {
	// Command runs the binary that calls LaunchMain and GuardMain for the
	// verbs "launch" and "guard"; the verb and its arguments are appended.
	// Empty is the running binary itself. Only Linux uses it.
	Command []string

	// Grace is how long the guard lets the processes of a dead host live after
	// it has asked them to end. Zero is DefaultGrace.
	Grace time.Duration

	system    system
	starts    sync.WaitGroup // running calls of Start
	closeOnce sync.Once
	closeErr  error

	mu     sync.Mutex // guards below
	closed bool
	bound  map[*Process]struct{} // running, started with EndWithHost
}

// Start starts a process and returns when its program runs. ctx bounds the
// start only. If the program was not executed the error is an *ExecError; after
// any error nothing of the process is left.
func (l *Launcher) Start(ctx context.Context, spec Spec) (*Process, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, ErrClosed
	}
	l.starts.Add(1)
	l.mu.Unlock()
	defer l.starts.Done()
	return l.start(ctx, spec)
}

// Close ends the processes that were started with EndWithHost and still run (by
// kill: whoever wants them to end politely stops them first), then the guard,
// and waits for all of it. Processes without EndWithHost live on. It is
// repeatable.
func (l *Launcher) Close() error {
	l.closeOnce.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Launcher) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.starts.Wait()
	var errs []error
	for _, p := range l.boundNow() {
		if err := p.Kill(); err != nil {
			errs = append(errs, err)
			continue // it could not be killed: waiting would take for ever
		}
		<-p.Done()
	}
	errs = append(errs, l.system.close())
	return errors.Join(errs...)
}

func (l *Launcher) boundNow() []*Process {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ps []*Process
	for p := range l.bound {
		ps = append(ps, p)
	}
	return ps
}

// bind keeps p for Close until unbind.
func (l *Launcher) bind(p *Process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bound == nil {
		l.bound = make(map[*Process]struct{})
	}
	l.bound[p] = struct{}{}
}

func (l *Launcher) unbind(p *Process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.bound, p)
}

func (l *Launcher) grace() time.Duration {
	if l.Grace > 0 {
		return l.Grace
	}
	return DefaultGrace
}
