package process

import (
	"debug/buildinfo"
	"fmt"
	"syscall"
	"time"
)

// dumpLimit is how long a process may print its stacks.
const dumpLimit = 2 * time.Second

// dumpStacks has the process print the stacks of its goroutines, if what it runs
// by now was made by Go, whose runtime does so and then exits when it gets
// SIGQUIT. Others might leave a core file.
func (p *Process) dumpStacks() {
	if _, err := buildinfo.ReadFile(fmt.Sprintf("/proc/%d/exe", p.pid)); err != nil {
		return
	}
	if p.Signal(syscall.SIGQUIT) != nil {
		return // it has just ended
	}
	limit := time.NewTimer(dumpLimit)
	defer limit.Stop()
	select {
	case <-p.done:
	case <-limit.C:
	}
}
