package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// system is what a Launcher has on Linux.
type system struct {
	forker forker
	guard  guard
}

func (s *system) close() error {
	err := s.guard.close()
	s.forker.close()
	return err
}

// start forks the launch shim, registers it with the guard, lets it go on and
// waits for its report.
func (l *Launcher) start(ctx context.Context, spec Spec) (*Process, error) {
	ours, theirs, err := reportPair()
	if err != nil {
		return nil, fmt.Errorf("start process: %w", err)
	}
	defer ours.Close() // both directions are done with by then
	group, err := spec.Contain.newGroup()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start process: %w", err), theirs.Close())
	}
	proc, err := l.fork(spec, theirs)
	if err != nil {
		err = fmt.Errorf("start process: %w", err)
		if group != nil {
			err = errors.Join(err, group.Remove())
		}
		return nil, err
	}
	p := newProcess(proc, nil)
	p.onEnd = func() { l.ended(p, spec.EndWithHost) }
	p.dumps = spec.DumpStacks
	if group != nil {
		p.group, p.outOfMemory = group, spec.Contain.OutOfMemory
	}
	err = l.hold(ctx, p, spec.EndWithHost)
	go p.await() // ends with the process
	if err == nil {
		err = handshake(ctx, ours, order{spec.Dir, spec.EndWithHost, spec.Contain})
	}
	if err == nil {
		return p, nil
	}
	if killErr := p.Kill(); killErr != nil {
		return nil, errors.Join(err, killErr)
	}
	<-p.done
	if errors.Is(err, errNoLauncher) {
		err = fmt.Errorf("%w (%q: %s)", err, l.command(), p.Status())
	}
	return nil, err
}

// hold puts p, whose shim waits for its order, where it can be found and ended
// with all that it will start.
func (l *Launcher) hold(ctx context.Context, p *Process, endWithHost bool) error {
	if p.group != nil {
		if err := p.group.Add(p.pid); err != nil {
			return fmt.Errorf("start process: %w", err)
		}
	}
	if !endWithHost {
		return nil
	}
	l.bind(p)
	if err := l.system.guard.add(ctx, l, p.pid, p.group); err != nil {
		return fmt.Errorf("start process: %w", err)
	}
	return nil
}

// ended runs when p has ended, before its pid can be anybody else's.
func (l *Launcher) ended(p *Process, endWithHost bool) {
	if endWithHost {
		l.system.guard.remove(p.pid)
		l.unbind(p)
	}
}

// fork starts the shim with the descriptors of spec, and report behind them.
// It closes report.
func (l *Launcher) fork(spec Spec, report *os.File) (*os.Process, error) {
	defer report.Close() // the shim has its copy
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := []*os.File{null, null, null}
	if spec.Stdout != nil {
		files[1] = spec.Stdout
	}
	if spec.Stderr != nil {
		files[2] = spec.Stderr
	}
	files = append(files, spec.ExtraFiles...)
	argv := append(l.command(), launchVerb, "-report", strconv.Itoa(len(files)), "--", spec.Path)
	argv = append(argv, spec.Args...)
	sys := &syscall.SysProcAttr{Setsid: true}
	if spec.EndWithHost {
		sys.Pdeathsig = syscall.SIGKILL
	}
	return l.system.forker.fork(argv, &os.ProcAttr{Env: spec.Env, Files: append(files, report), Sys: sys})
}

// command is a fresh copy of how the host's own binary is run.
func (l *Launcher) command() []string {
	if len(l.Command) > 0 {
		return append([]string(nil), l.Command...)
	}
	return []string{"/proc/self/exe"} // the very binary that runs, even if its file was replaced
}

// reportPair returns the two ends of the connection between host and shim.
func reportPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // so that our end has deadlines
		return nil, nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "launch report"), os.NewFile(uintptr(fds[1]), "launch report"), nil
}

// What host and shim say to each other. The shim says hello and waits; the host
// sends its order; then the shim says either why it failed, or nothing: its end of the
// connection is closed by the very act of executing the program.
const hello = 'L'

// failure is the shim's report.
type failure struct {
	Op     string
	Path   string
	Reason string
	Errno  syscall.Errno
}

var errNoLauncher = errors.New("start process: the launcher did not answer: it must call process.LaunchMain for the verb \"launch\"")

func handshake(ctx context.Context, conn *os.File, o order) error {
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Unix(1, 0)) // fails only if the handshake is over
	})
	defer stop()
	var first [1]byte
	if _, err := io.ReadFull(conn, first[:]); err != nil || first[0] != hello {
		return handshakeError(ctx, errNoLauncher)
	}
	if err := json.NewEncoder(conn).Encode(o); err != nil {
		return handshakeError(ctx, fmt.Errorf("start process: give the launcher its order: %w", err))
	}
	report, err := io.ReadAll(conn)
	if err != nil {
		return handshakeError(ctx, fmt.Errorf("start process: read the launcher's report: %w", err))
	}
	if len(report) == 0 {
		return nil
	}
	var f failure
	if err := json.Unmarshal(report, &f); err != nil {
		return fmt.Errorf("start process: read the launcher's report: %w", err)
	}
	return &ExecError{Op: f.Op, Path: f.Path, Reason: f.Reason, Err: f.Errno}
}

// handshakeError prefers the reason for which the start was called off.
func handshakeError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("start process: %w", context.Cause(ctx))
	}
	return err
}
