package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// StartTime tells a process from every other one that has had its number since
// the machine was booted: the clock tick at which it began. ErrGone if there is no
// such process.
func StartTime(pid int) (uint64, error) {
	t, err := startTime(pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errProcessGone) || errors.Is(err, unix.ESRCH) {
		return 0, fmt.Errorf("%w: %d", ErrGone, pid)
	}
	return t, err
}

// BootID names the time since the machine was booted, in which process ids and
// start times mean something.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// adoption is what a Process that is not our child has.
type adoption struct {
	pid     int
	started uint64
	proc    *os.Process // holds a pidfd
	oom     int         // processes of its group that were killed for want of memory before
}

// Adopt takes over the process pid that began at the tick started, which another
// process has started as the leader of its own group, and which lives. After that
// it is like one that was started here with held, but for two things: its exit status is
// nobody's to know but its parent's, and Launcher.Close leaves it alone. ErrGone if
// the number is no process's now, or another one's. No signal is ever sent to
// another one: all go through a descriptor of this one.
func Adopt(pid int, started uint64, held Held) (*Process, error) {
	if err := sameProcess(pid, started); err != nil {
		return nil, err
	}
	proc, err := os.FindProcess(pid)
	if err != nil {
		return nil, fmt.Errorf("adopt process %d: %w", pid, err)
	}
	if err := proc.WithHandle(func(uintptr) {}); err != nil { // without a pidfd the number is all there is
		return nil, fmt.Errorf("adopt process %d: open pidfd: %w", pid, err)
	}
	if err := sameProcess(pid, started); err != nil { // the descriptor is of this one, then
		return nil, errors.Join(err, proc.Release())
	}
	s, err := readStat(pid)
	if err == nil && s.dead {
		err = fmt.Errorf("%w: %d has ended", ErrGone, pid)
	}
	if err == nil && (s.group != pid || s.session != pid) {
		err = fmt.Errorf("adopt process %d: it is not the leader of its group and session", pid)
	}
	if err != nil {
		return nil, errors.Join(err, proc.Release())
	}
	p := newProcess(proc, func() {})
	p.adopted = &adoption{pid: pid, started: started, proc: proc}
	p.group, p.dumps, p.outOfMemory = held.Group, held.Dumps, held.OutOfMemory
	if p.group != nil {
		if p.adopted.oom, err = p.group.OutOfMemory(); err != nil {
			return nil, errors.Join(fmt.Errorf("adopt process %d: %w", pid, err), proc.Release())
		}
	}
	go p.awaitAdopted() // ends with the process
	return p, nil
}

func sameProcess(pid int, started uint64) error {
	if pid <= 1 {
		return fmt.Errorf("%w: %d", ErrGone, pid)
	}
	now, err := StartTime(pid)
	if err == nil && now != started {
		err = fmt.Errorf("%w: %d is another process by now", ErrGone, pid)
	}
	return err
}

// kill kills the whole group. The descriptor names it even when its leader has been
// reaped, and never another group. Before Linux 6.9 that cannot be said, and the
// group is killed by its number while the leader is known to hold it.
func (a *adoption) kill() error {
	var err error
	if herr := a.proc.WithHandle(func(fd uintptr) {
		err = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	}); herr != nil {
		return herr
	}
	if errors.Is(err, unix.EINVAL) {
		if sameProcess(a.pid, a.started) != nil {
			return nil
		}
		return killGroup(a.pid)
	}
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EPERM) { // EPERM: only zombies are left
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

// awaitAdopted waits for the end of the process, and ends the rest of its groups.
func (p *Process) awaitAdopted() {
	var waitErr error
	if err := p.proc.WithHandle(func(fd uintptr) { waitErr = waitReadable(int(fd)) }); err != nil {
		waitErr = err
	}
	p.mu.Lock()
	var groupErr error
	if waitErr == nil {
		groupErr = p.adopted.kill()
	}
	p.ended = true
	p.mu.Unlock()
	oom, clearErr := p.clearGroup()
	p.oom = oom
	p.onEnd()
	if p.group != nil {
		clearErr = errors.Join(clearErr, p.group.Remove())
	}
	p.finishAdopted(errors.Join(waitErr, groupErr, clearErr))
	_ = p.proc.Release() // closes a descriptor that nobody uses any more
}

// waitReadable waits until a pidfd says that its process has ended.
func waitReadable(fd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
	}
}
