//go:build !linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// system has nothing where the program is executed directly.
type system struct{}

func (*system) close() error { return nil }

func (l *Launcher) start(ctx context.Context, spec Spec) (*Process, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("start process: %w", context.Cause(ctx))
	}
	if group, err := spec.Contain.newGroup(); err != nil || group != nil {
		return nil, errors.Join(errors.ErrUnsupported, err)
	}
	if spec.Contain != nil && (spec.Contain.User != nil || spec.Contain.DropCapabilities || len(spec.Contain.Rlimits)+len(spec.Contain.CPUs) > 0) {
		return nil, fmt.Errorf("start process: %w: only Linux can start it as another user, without capabilities or with limits", errors.ErrUnsupported)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("start process: %w", err)
	}
	defer null.Close()
	files := []*os.File{null, null, null}
	if spec.Stdout != nil {
		files[1] = spec.Stdout
	}
	if spec.Stderr != nil {
		files[2] = spec.Stderr
	}
	if info, err := os.Stat(spec.Dir); err != nil || !info.IsDir() {
		return nil, &ExecError{Op: "enter folder", Path: spec.Dir, Reason: "is not a folder", Err: syscall.ENOTDIR}
	}
	proc, err := os.StartProcess(spec.Path, append([]string{spec.Path}, spec.Args...), &os.ProcAttr{
		Dir: spec.Dir, Env: spec.Env, Files: append(files, spec.ExtraFiles...), Sys: ownSession(),
	})
	if err != nil {
		errno, _ := errors.AsType[syscall.Errno](err)
		return nil, &ExecError{Op: "execute", Path: spec.Path, Reason: err.Error(), Err: errno}
	}
	p := newProcess(proc, func() {})
	if spec.EndWithHost {
		p.onEnd = func() { l.unbind(p) }
		l.bind(p)
	}
	go p.await() // ends with the process
	return p, nil
}

// LaunchMain is the launch shim, which only Linux has.
func LaunchMain([]string) int { return 2 }

// GuardMain is the guard, which only Linux has.
func GuardMain([]string) int { return 2 }

// RSS is the memory of the process that lies in RAM, in bytes. It is 0 where
// the system does not say.
func RSS(int) (int64, error) { return 0, nil }

// MaySwitch fails: only Linux can start processes as somebody else.
func MaySwitch(*User) error { return errors.ErrUnsupported }

// HasCPU says that there is none to be chosen: only Linux has a choice.
func HasCPU(int) bool { return false }

// HideMemory does nothing: only Linux has it.
func HideMemory() error { return nil }

// Refuses says nothing: there is no such user here.
func (u *User) Refuses(string, bool) error { return nil }

// dumpStacks does nothing: only Linux says what program a process runs.
func (p *Process) dumpStacks() {}
