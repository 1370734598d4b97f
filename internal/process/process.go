package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"aerie/internal/cgroup"
)

// ErrClosed is the error of a Start on a closed Launcher.
var ErrClosed = errors.New("process: launcher is closed")

// Spec is what a process is started with. Nothing else of the host reaches it.
type Spec struct {
	Path        string     // the program: an absolute path, never looked up
	Args        []string   // its arguments, without the program's name
	Env         []string   // its whole environment
	Dir         string     // its working directory, absolute
	Stdout      *os.File   // nil is the null device; the caller closes its own copy
	Stderr      *os.File   // like Stdout
	ExtraFiles  []*os.File // its descriptors from 3 on; not on Windows
	EndWithHost bool       // it is ended when the host is, even by kill -9
	DumpStacks  bool       // a Go program that does not stop in time prints its stacks before it is killed
	Contain     *Contain   // as whom it runs, and within what; nil leaves everything as the host has it
}

func (s *Spec) validate() error {
	if !filepath.IsAbs(s.Path) {
		return fmt.Errorf("start process: program %q must be an absolute path", s.Path)
	}
	if !filepath.IsAbs(s.Dir) {
		return fmt.Errorf("start process: working directory %q must be an absolute path", s.Dir)
	}
	return nil
}

// ExecError says why a program was not executed. Nothing of it has run.
type ExecError struct {
	Op     string // what failed: "execute" or "enter folder"
	Path   string // of the program or folder
	Reason string // in words: "no such file", "is not executable"
	Err    error  // the system's error, for errors.Is
}

// Error names the path and the reason.
func (e *ExecError) Error() string { return fmt.Sprintf("%s %q: %s", e.Op, e.Path, e.Reason) }

// Unwrap returns the system's error.
func (e *ExecError) Unwrap() error { return e.Err }

// Process is a started process. Its methods are safe for concurrent use. A
// goroutine waits for its end; there is nothing to close.
type Process struct {
	pid   int
	proc  *os.Process
	onEnd func()        // called when it has ended, while its pid is still its own
	group *cgroup.Group // nil if it has none

	dumps       bool          // Spec.DumpStacks
	outOfMemory string        // Contain.OutOfMemory
	oom         string        // that, once the group has run out of memory
	done        chan struct{} // closed when it has ended and was reaped

	adopted *adoption // of a process that is not our child; otherwise nil

	mu         sync.Mutex // guards below
	ended      bool       // the pid may belong to somebody else
	terminated bool       // the polite signal was sent
	killed     bool       // Kill was called while it lived
	status     string
	err        error // what could not be done at its end
}

func newProcess(proc *os.Process, onEnd func()) *Process {
	return &Process{pid: proc.Pid, proc: proc, onEnd: onEnd, done: make(chan struct{})}
}

// Pid is the process id, which is also the id of its group and session.
func (p *Process) Pid() int { return p.pid }

// Done is closed when the process has ended and the rest of its process group, and
// of its control group if it has one, has been killed.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status says how the process ended: "exit status 3", "signal: killed", or what
// Contain.OutOfMemory says. It is empty before Done is closed.
func (p *Process) Status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Held are the folders of the process's control group, nil if it has none, and
// Contain.OutOfMemory: what Adopt needs.
func (p *Process) Held() (group map[string]string, outOfMemory string) {
	if p.group == nil {
		return nil, ""
	}
	return p.group.Folders(), p.outOfMemory
}

// Signal sends sig to the process, not to its group. After its end the error is
// os.ErrProcessDone.
func (p *Process) Signal(sig os.Signal) error {
	select {
	case <-p.done:
		return os.ErrProcessDone
	default:
		return p.proc.Signal(sig)
	}
}

// Kill kills the whole group and does not wait for its end. It is repeatable; a
// process that has ended is no error.
func (p *Process) Kill() error {
	ended, err := p.killOwn()
	if !ended && p.group != nil {
		err = errors.Join(err, p.group.Kill())
	}
	if err != nil {
		return fmt.Errorf("kill process %d: %w", p.pid, err)
	}
	return nil
}

// killOwn kills the process group, unless the process has ended.
func (p *Process) killOwn() (ended bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return true, nil
	}
	p.killed = true
	if err = p.killTree(); errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return false, err
}

func (p *Process) killTree() error {
	if p.adopted != nil {
		return p.adopted.kill()
	}
	return killTree(p.proc)
}

// Stop ends the process: it asks politely (SIGTERM; not on Windows), and when
// ctx ends first it kills the group. If it is a deadline that ends ctx, and
// Spec.DumpStacks says so, a program in Go is first made to print the stacks of all
// its goroutines, for a short time. Stop returns when the process is gone. A
// process that had to be killed is no error: Status says so. Stop is
// repeatable; the polite signal is sent only once, because to many programs a
// second one means "at once".
//
// The polite signal goes to the process alone and not to its group: a server
// that has workers of its own knows in which order to end them (systemd's
// KillMode=mixed does the same). What it leaves behind is killed.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.terminate(); err != nil {
		if killErr := p.Kill(); killErr != nil {
			return errors.Join(err, killErr)
		}
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		if p.dumps && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			p.dumpStacks()
		}
		if err := p.Kill(); err != nil {
			return err
		}
		<-p.done
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *Process) terminate() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.terminated {
		return nil
	}
	p.terminated = true
	if err := p.proc.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop process %d: %w", p.pid, err)
	}
	return nil
}

// finish records how the process ended and announces it.
func (p *Process) finish(state *os.ProcessState, waitErr, groupErr error) {
	p.mu.Lock()
	p.ended = true
	switch {
	case waitErr != nil:
		p.status = "unknown exit status"
		waitErr = fmt.Errorf("wait for process %d: %w", p.pid, waitErr)
	case p.oom != "" && !p.killed && wasKilled(state):
		p.status = p.oom
	default:
		p.status = state.String()
	}
	p.err = errors.Join(waitErr, groupErr)
	p.mu.Unlock()
	close(p.done)
}
