package process

import (
	"errors"
	"fmt"
	"os"

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
	p.onEnd()

	state, err := p.proc.Wait()
	p.finish(state, errors.Join(zombieErr, err), groupErr)
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
