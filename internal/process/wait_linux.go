package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// await waits for the end of the process, ends its group, and reaps it. It is
// the only one that waits for the pid.
func (p *Process) await() {
	zombieErr := waitZombie(p.pid)

	// The leader is dead but not reaped: as long as it is not, its number is
	// the number of its own group and of no other.
	var groupErr error
	p.mu.Lock()
	if zombieErr == nil {
		groupErr = killGroup(p.pid)
	}
	p.ended = true
	p.mu.Unlock()
	oom, clearErr := p.clearGroup()
	p.oom = oom
	p.onEnd()

	state, err := p.proc.Wait()
	if p.group != nil {
		clearErr = errors.Join(clearErr, p.group.Remove()) // a process that is not reaped keeps it busy
	}
	p.finish(state, errors.Join(zombieErr, err), errors.Join(groupErr, clearErr))
}

// clearGroup ends what is left in the process's control group. oom is not empty
// if the kernel has killed one of its processes for want of memory.
func (p *Process) clearGroup() (oom string, err error) {
	if p.group == nil {
		return "", nil
	}
	err = p.group.Clear()
	n, countErr := p.group.OutOfMemory()
	before := 0
	if p.adopted != nil {
		before = p.adopted.oom
	}
	if n > before {
		oom = p.outOfMemory
	}
	return oom, errors.Join(err, countErr)
}

// wasKilled says whether SIGKILL was what ended a process.
func wasKilled(state *os.ProcessState) bool {
	s, ok := state.Sys().(syscall.WaitStatus)
	return ok && s.Signaled() && s.Signal() == syscall.SIGKILL
}

// waitZombie blocks until the child pid has ended, and leaves it unreaped.
func waitZombie(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("waitid", err)
		}
	}
}

// killTree kills the group that proc leads.
func killTree(proc *os.Process) error { return killGroup(proc.Pid) }

func killGroup(pid int) error {
	if err := unix.Kill(-pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process group %d: %w", pid, err)
	}
	return nil
}
