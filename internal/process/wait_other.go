//go:build !linux

package process

import "os"

// await waits for the end of the process and ends its group. Here the group is
// ended after its leader was reaped: a group of the same number that came up in
// between would be mistaken for it, which is as unlikely as it is short.
func (p *Process) await() {
	state, err := p.proc.Wait()
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	groupErr := killRest(p.pid)
	p.onEnd()
	p.finish(state, err, groupErr)
}

// wasKilled is asked only of processes with control groups.
func wasKilled(*os.ProcessState) bool { return false }
