package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"aerie/internal/logfile"
	"aerie/internal/process"
)

const (
	hookLimit = 30 * time.Second       // for an on_failed command
	hookRest  = 200 * time.Millisecond // for what is left of its output when it has ended
)

// onFailed runs a pool's on_failed command and logs what it prints. It returns
// when the command has ended, which is when ctx ends at the latest, or hookLimit.
func (h *Host) onFailed(ctx context.Context, pool string, command []string, reason string) {
	ctx, cancel := context.WithTimeoutCause(ctx, hookLimit, fmt.Errorf("it ran for longer than %s", hookLimit))
	defer cancel()
	log := h.log.With("pool", pool, "command", command[0])
	status, output, err := h.runHook(ctx, command, append(workerEnvironment(), "AERIE_POOL="+pool, "AERIE_REASON="+reason))
	if err != nil {
		log.Error("on_failed", "error", err, "output", output)
		return
	}
	log.Info("on_failed", "status", status, "output", output)
}

// runHook runs a command in the folder of sites.toml, and returns how it ended
// and the last lines that it printed.
func (h *Host) runHook(ctx context.Context, command, env []string) (status string, output []string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", nil, fmt.Errorf("pipe for its output: %w", err)
	}
	defer func() { _ = r.Close() }() // only read from
	proc, err := h.launcher.Start(ctx, process.Spec{
		Path: command[0], Args: command[1:], Env: env, Dir: filepath.Dir(h.next.Load().Path),
		Stdout: w, Stderr: w, EndWithHost: true,
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return "", nil, err
	}
	var tail logfile.Tail
	read := make(chan error, 1)
	go func() {
		_, err := r.WriteTo(&tail)
		read <- err
	}()
	select {
	case <-proc.Done():
	case <-ctx.Done():
		err = errors.Join(context.Cause(ctx), proc.Kill())
		<-proc.Done()
	}
	// What has left its group may hold the pipe; Windows knows no deadline for it.
	if lateErr := r.SetReadDeadline(time.Now().Add(hookRest)); lateErr != nil && !errors.Is(lateErr, os.ErrNoDeadline) {
		err = errors.Join(err, lateErr)
	}
	if readErr := <-read; readErr != nil && !errors.Is(readErr, os.ErrDeadlineExceeded) {
		err = errors.Join(err, readErr)
	}
	return proc.Status(), tail.Lines(), err
}
