package apppool

import (
	"time"

	"aerie/config"
)

// Status is a snapshot of a pool.
type Status struct {
	Name       string
	Hosting    config.Hosting // of the generation that serves; of the settings if none does; "" without a program
	State      string         // "stopped", "starting", "running", "overlapping", "failed", "idle"
	Generation int            // that serves; the last one that was started if none does
	Queued     int            // requests that wait for a generation
	Crashes    int            // generations whose process ended by itself while they served
	Recycles   int            // swaps of one generation for the next
	Cut        int            // old generations that were stopped before they had finished
	LastReason string         // the last order that was carried out, or what went wrong since
	LastOutput []string       // if something went wrong: the last lines that it printed
	RetryAt    time.Time      // in a back-off, or before a second chance: when the next start is due; otherwise zero
	Workers    []WorkerStatus // by generation
}

// WorkerStatus is one worker process.
type WorkerStatus struct {
	Pid        int // 0 while it starts
	Generation int
	State      string // "starting", "running", "draining"
	Stats      Stats
}

// snapshot is a Status as far as the pool's goroutine knows it, and the workers
// to ask for the rest. It is immutable.
type snapshot struct {
	status  Status
	state   state
	members []member
	leaving []*generation // all that are on their way out; only their gone is read
}

// member is a generation in a snapshot.
type member struct {
	number int
	state  string
	worker Worker // nil while it starts
}

// Status is a snapshot of the pool; the caller may keep and change it. It does
// not block and takes no lock.
func (p *Pool) Status() Status {
	snap := p.snapshot.Load()
	s := snap.status
	s.State = snap.state.String()
	s.Queued = p.queue.length()
	s.LastOutput = append([]string(nil), s.LastOutput...)
	s.Workers = make([]WorkerStatus, len(snap.members))
	for i, m := range snap.members {
		s.Workers[i] = WorkerStatus{Generation: m.number, State: m.state}
		if m.worker != nil {
			s.Workers[i].Pid, s.Workers[i].Stats = m.worker.Pid(), m.worker.Stats()
		}
	}
	return s
}
