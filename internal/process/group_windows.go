package process

import (
	"os"
	"syscall"
)

// ownSession keeps the console's Ctrl-C from the process.
func ownSession() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// killTree kills proc: there are no groups to kill.
func killTree(proc *os.Process) error { return proc.Kill() }

func killRest(int) error { return nil }
