//go:build unix && !linux

package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// killTree kills the group that proc leads.
func killTree(proc *os.Process) error { return killRest(proc.Pid) }

// killRest kills the group of the leader pid, if there is one.
func killRest(pid int) error {
	err := syscall.Kill(-pid, syscall.SIGKILL)
	if err != nil && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.EPERM) { // EPERM: only zombies are left
		return fmt.Errorf("kill process group %d: %w", pid, err)
	}
	return nil
}
