package inproc

import (
	"os"
	"time"

	"aerie/internal/process"
)

// Record is what a later start of the host needs to find a worker process again
// and to prove it: all of it is a hint that the process itself has to confirm.
// It holds the token: never log it.
type Record struct {
	Pool       string    `json:"pool"`
	Generation int       `json:"generation"`
	Pid        int       `json:"pid"`
	Ticks      uint64    `json:"ticks"` // process.StartTime: tells it from a later process of that number
	StartedAt  time.Time `json:"started_at"`

	User        *process.User     `json:"user,omitempty"`          // as whom it was started; nil is the host's own
	Group       map[string]string `json:"group,omitempty"`         // folders of its control group, as in cgroup.Group; none if it has none
	OutOfMemory string            `json:"out_of_memory,omitempty"` // what its end is called if that was at its limit of memory

	Dir      string `json:"dir"`      // of its sockets
	Control  string `json:"control"`  // path of its control socket
	Relay    string `json:"relay"`    // of its relay socket
	Handover string `json:"handover"` // of its hand-over socket
	Token    string `json:"token"`
	Digest   string `json:"digest"` // apppool.Digest of what it was started with
}

// Record is the worker's record. The error is that of process.StartTime: only
// Linux has what it takes.
func (w *Worker) Record() (Record, error) {
	ticks, err := process.StartTime(w.Pid())
	if err != nil {
		return Record{}, err
	}
	group, oom := w.run.proc.Held()
	return Record{
		Pool: w.Pool(), Generation: w.Generation(), Pid: w.Pid(), Ticks: ticks, StartedAt: w.startedAt,
		User: w.user, Group: group, OutOfMemory: oom, Dir: w.socketDir,
		Control: w.controlSocket, Relay: w.relaySocket, Handover: w.handoverSocket, Token: w.token, Digest: w.digest,
	}, nil
}

// UID is the number of the user as whom the process was started.
func (w *Worker) UID() int {
	if w.user == nil {
		return os.Geteuid()
	}
	return w.user.UID
}

// Digest is apppool.Digest of what the process was started with.
func (w *Worker) Digest() string { return w.digest }

// Draining reports whether the process was told to drain before it was adopted.
// It serves what it has, and is not to be given anything.
func (w *Worker) Draining() bool { return w.draining }

// SocketDir is the folder in which the process has its sockets; "" if it never got
// so far as to have any.
func (w *Worker) SocketDir() string { return w.socketDir }
