package behave

import (
	"os"
	"os/exec"
	"runtime/debug"
	"syscall"

	"aerie/test/procfs"
)

var signals = map[string]os.Signal{
	"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL,
	"STOP": syscall.SIGSTOP, "SEGV": syscall.SIGSEGV, "HUP": syscall.SIGHUP,
}

func memory(reset bool) (Memory, error) {
	if reset {
		debug.FreeOSMemory() // what garbage there is must not hide a growth
		if err := procfs.ResetPeak(os.Getpid()); err != nil {
			return Memory{}, err
		}
	}
	rss, peak, err := procfs.Memory(os.Getpid())
	return Memory{rss, peak}, err
}

func calls() (IO, error) {
	reads, writes, err := procfs.Calls(os.Getpid())
	return IO{reads, writes}, err
}

// sleeper starts a process that belongs to no session and group of this one.
func sleeper() (pid int, err error) {
	cmd := exec.Command("sleep", "3600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid = cmd.Process.Pid // Release makes it -1
	return pid, cmd.Process.Release()
}
