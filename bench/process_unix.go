//go:build unix

package main

import (
	"os"
	"syscall"
)

// ownSession gives every program a session of its own, as Aerie gives its worker
// processes: Linux shares the processors out by session (sched_autogroup), so
// that a peer in the session of the load generator, or of whatever else runs
// in the same terminal, would be measured under other conditions than a worker.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// kill ends p and its group. p has not been waited for yet, so the number is
// still its own.
func kill(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }
