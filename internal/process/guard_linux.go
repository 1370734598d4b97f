package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"aerie/internal/cgroup"
)

const guardVerb = "guard"

// Bounds of what the host waits for its guard.
const (
	guardStart = 10 * time.Second // to come up
	guardWrite = 2 * time.Second  // to take a line
	guardStop  = 5 * time.Second  // to end when it has nothing to do
)

// guard is the host's end of the guard process. The guard starts with the first
// process that it is to look after, and one that has ended is replaced with
// the next. The zero value is ready to use.
type guard struct {
	// mu guards below. It is held while the guard starts or takes a line, which
	// keeps the lines in order; both are bounded, and only starts and ends of
	// other processes wait for it.
	mu   sync.Mutex
	pids map[int]guarded // registered
	proc *Process        // nil before the first start
	pipe *os.File        // only the host holds this end: its end is the host's
}

// add registers the process pid, which must not have been reaped, with its
// control group, or nil.
func (g *guard) add(ctx context.Context, l *Launcher, pid int, group *cgroup.Group) error {
	started, err := startTime(pid)
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	one := guarded{pid, started, group}
	line, err := one.line()
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.proc != nil && g.sayLocked(line) == nil {
		g.pids[pid] = one
		return nil
	}
	if err := g.closeLocked(); err != nil {
		return err
	}
	if err := g.startLocked(ctx, l); err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	g.pids[pid] = one
	for _, one := range g.pids {
		line, err := one.line()
		if err == nil {
			err = g.sayLocked(line)
		}
		if err != nil {
			return fmt.Errorf("guard: %w", err)
		}
	}
	return nil
}

// remove forgets a process that has ended.
func (g *guard) remove(pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.pids[pid]; ok && g.proc != nil {
		_ = g.sayLocked(fmt.Sprintf("-%d\n", pid)) // a guard that is gone is replaced by the next add
	}
	delete(g.pids, pid)
}

// close ends the guard and waits for its end.
func (g *guard) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.pids)
	return g.closeLocked()
}

func (g *guard) sayLocked(line string) error {
	if err := g.pipe.SetWriteDeadline(time.Now().Add(guardWrite)); err != nil {
		return err
	}
	_, err := io.WriteString(g.pipe, line)
	return err
}

// closeLocked ends the guard. Killing comes first if it is to forget processes
// that still run, because the end of the pipe would make it end them.
func (g *guard) closeLocked() error {
	if g.proc == nil {
		return nil
	}
	var killErr error
	if len(g.pids) > 0 {
		killErr = g.proc.Kill()
	}
	pipeErr := g.pipe.Close()
	ctx, cancel := context.WithTimeout(context.Background(), guardStop)
	defer cancel()
	select {
	case <-g.proc.Done():
	case <-ctx.Done():
	}
	stopErr := g.proc.Stop(ctx)
	g.proc, g.pipe = nil, nil
	if err := errors.Join(killErr, pipeErr, stopErr); err != nil {
		return fmt.Errorf("stop guard: %w", err)
	}
	return nil
}

func (g *guard) startLocked(ctx context.Context, l *Launcher) error {
	if g.pids == nil {
		g.pids = make(map[int]guarded)
	}
	lines, pipe, err := os.Pipe()
	if err != nil {
		return err
	}
	defer lines.Close() // the guard has its copy
	ready, readyOut, err := os.Pipe()
	if err != nil {
		return errors.Join(err, pipe.Close())
	}
	defer ready.Close()
	command := append(l.command(), guardVerb, "-grace", l.grace().String())
	proc, err := l.start(ctx, Spec{
		Path: command[0], Args: command[1:], Env: os.Environ(), Dir: "/",
		ExtraFiles: []*os.File{lines, readyOut}, // guardLines, guardReady
	})
	closeErr := readyOut.Close() // so that the guard's end is the pipe's
	if err = errors.Join(err, closeErr); err == nil {
		err = awaitReady(ctx, ready)
		if err != nil {
			err = errors.Join(err, proc.Kill())
			<-proc.Done()
		}
	}
	if err != nil {
		return errors.Join(err, pipe.Close())
	}
	g.proc, g.pipe = proc, pipe
	return nil
}

func awaitReady(ctx context.Context, ready *os.File) error {
	if err := ready.SetReadDeadline(time.Now().Add(guardStart)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = ready.SetReadDeadline(time.Unix(1, 0)) // fails only if the wait is over
	})
	defer stop()
	var word [1]byte
	if _, err := io.ReadFull(ready, word[:]); err != nil {
		return handshakeError(ctx, fmt.Errorf("it did not come up: the launcher must call process.GuardMain for the verb %q: %w", guardVerb, err))
	}
	return nil
}
