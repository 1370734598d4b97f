package apppool

import (
	"context"
	"fmt"
	"time"

	"aerie/config"
)

// Spec is what one start of a worker process needs to know.
type Spec struct {
	Pool       *config.Pool    // limits and the pool's folder
	Program    *config.Program // what to run; never nil
	Generation int             // 1, 2, 3 ...; it goes on after what the pool has adopted
}

// Starter starts worker processes. inproc and outproc implement it, one for
// each hosting mode.
type Starter interface {
	// Start starts one worker process and returns when it is ready to serve.
	// ctx bounds the start; when it ends first, or when the process ends or
	// refuses, nothing of the process is left and the error is a *StartError.
	// The worker's later life does not depend on ctx.
	Start(ctx context.Context, spec Spec) (Worker, error)
}

// Worker is one running worker process. Its methods are safe for concurrent use.
type Worker interface {
	// Pid is the process id.
	Pid() int

	// Done is closed when the process has ended: a kernel fact, never a guess.
	Done() <-chan struct{}

	// Exit says how the process ended and shows the last lines that it
	// printed. It is valid once Done is closed.
	Exit() Exit

	// Drain asks the worker to finish: it is given nothing new, hands its idle
	// connections back and answers what it has begun. Drain returns nil when
	// it owns no connection and no request any more or has ended, or the
	// cause of ctx, and then Stats says what is left. Repeatable.
	Drain(ctx context.Context) error

	// Stop ends the process and its whole tree: politely until ctx ends, then
	// by kill. It returns when the process is gone. Repeatable.
	Stop(ctx context.Context) error

	// Check asks the worker whether it is healthy: for path, or for "" by its
	// own check, if it has one. It returns nil, or why it is not; no answer before
	// ctx ends is the cause of ctx.
	Check(ctx context.Context, path string) error

	// Sample asks the process and the system for its figures, for Stats to
	// return. It blocks until they are there, or until ctx ends. Some may have
	// been got in spite of an error.
	Sample(ctx context.Context) error

	// Stats is a snapshot of the worker's own figures as they are known here;
	// some only Sample brings up to date. It does not block.
	Stats() Stats
}

// Exit says how a worker process ended.
type Exit struct {
	Status   string   // "exit status 1", "signal: killed"
	Expected bool     // somebody had called Stop
	Output   []string // the last lines of its stdout and stderr
}

// Stats are the figures of one worker process.
type Stats struct {
	StartedAt   time.Time
	Requests    uint64        // answered or begun since its start
	Finished    uint64        // that ran and have ended
	Active      int           // requests running now
	Queued      int           // requests waiting for a slot in it
	Streams     int           // upgraded and long-streaming requests
	Oldest      time.Duration // for which the oldest has run that is active
	Connections int           // client connections that it owns

	RSS     int64         // bytes of its memory in RAM; 0 where the system does not tell
	Private int64         // bytes of its memory that are its own, in RAM or swapped out; 0 likewise
	CPU     time.Duration // that it has used; 0 likewise
}

// StartError is a start that did not succeed.
type StartError struct {
	SubStatus string   // IIS sub-status: "500.30" did not start in-process, "500.37" start timed out, "502.5" did not start out-of-process
	Reason    string   // one line: what failed and the rule
	Exit      string   // the exit status, if the process ended by itself
	Output    []string // the last lines that it printed
	Err       error    // the cause, or nil
}

// Error returns the reason, and the exit status if there is one.
func (e *StartError) Error() string {
	if e.Exit != "" {
		return fmt.Sprintf("%s (%s)", e.Reason, e.Exit)
	}
	return e.Reason
}

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }
