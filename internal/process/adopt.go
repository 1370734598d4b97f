package process

import (
	"errors"

	"aerie/internal/cgroup"
)

// ErrGone is the error of looking for a process that is no more: its number is
// nobody's, or belongs to another process by now.
var ErrGone = errors.New("process: no such process")

// statusUnknown is the Status of an adopted process after its end: the kernel tells
// the exit status to the parent alone.
const statusUnknown = "exit status unknown: it was started by a host before this one"

// Held is what a process was started with that matters at its end.
type Held struct {
	Dumps       bool          // Spec.DumpStacks
	Group       *cgroup.Group // its control group; nil if it has none
	OutOfMemory string        // Contain.OutOfMemory
}

// finishAdopted is finish of a process whose exit status is not known.
func (p *Process) finishAdopted(err error) {
	p.mu.Lock()
	p.ended, p.status, p.err = true, statusUnknown, err
	if p.oom != "" && !p.killed {
		p.status += ", " + p.oom
	}
	p.mu.Unlock()
	close(p.done)
}
