package inproc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"aerie/internal/process"
)

// pluginRunner starts the worker process for go-plugin. It gives go-plugin the
// handshake line and nothing else of what the program prints: all of that goes
// to the pool's log, so that a program may print before it calls app.Run.
type pluginRunner struct {
	launcher *process.Launcher
	spec     process.Spec
	log      io.Writer

	stdout    *os.File // the reading end
	handshake *io.PipeReader
	copied    chan struct{} // closed when stdout has ended
	tasks     sync.WaitGroup
	greeted   atomic.Bool  // the handshake line has come
	control   atomic.Value // string: the socket that the handshake line names

	mu     sync.Mutex       // guards below
	proc   *process.Process // nil until it runs; not changed after that
	killed bool             // Kill was called
}

var _ runner.Runner = (*pluginRunner)(nil)

// prepare adds what go-plugin wants the environment to say, except that its
// socket goes into socketDir.
func (r *pluginRunner) prepare(cmd *exec.Cmd, socketDir string) {
	r.spec.Env = process.Environment(r.spec.Env, cmd.Env, []string{plugin.EnvUnixSocketDir + "=" + socketDir})
}

// Start starts the process.
func (r *pluginRunner) Start(ctx context.Context) error {
	out, w, err := os.Pipe()
	if err != nil {
		return err
	}
	r.spec.Stdout = w
	proc, err := r.launcher.Start(ctx, r.spec)
	_ = w.Close() // nothing was written here
	if err != nil {
		_ = out.Close() // as above
		return err
	}
	pr, pw := io.Pipe()
	r.stdout, r.handshake, r.copied = out, pr, make(chan struct{})
	r.mu.Lock()
	r.proc = proc
	killed := r.killed
	r.mu.Unlock()
	r.tasks.Go(func() { r.sort(pw) })
	r.tasks.Go(r.endOutput)
	if killed {
		return proc.Kill()
	}
	return nil
}

var handshakeLine = regexp.MustCompile(`^\d+\|\d+\|(unix|tcp)\|[^|]+\|grpc\|`)

const (
	longestPiece = 32 << 10               // a longer line goes to the log in pieces
	outputRest   = 200 * time.Millisecond // for what is left in the pipe when the process has ended
)

// sort passes the handshake line on and writes every other line to the log,
// until the program has closed its stdout, by ending or by making the log its
// stdout.
func (r *pluginRunner) sort(handshake *io.PipeWriter) {
	defer close(r.copied)
	defer func() { _ = r.stdout.Close() }() // only read from
	// Once go-plugin has its line it may stop reading; a later one is then
	// nobody's.
	defer func() { _ = handshake.Close() }() // has no error
	in := bufio.NewReaderSize(r.stdout, longestPiece)
	found, begins := false, true
	for {
		line, err := in.ReadSlice('\n')
		if !found && begins && handshakeLine.Match(bytes.TrimSpace(line)) {
			found = true
			r.greeted.Store(true)
			_, _ = handshake.Write(line) // fails when go-plugin has given up, and it says why
		} else if len(line) > 0 {
			_, _ = r.log.Write(line) // the log reports by itself what it cannot write
		}
		begins = !errors.Is(err, bufio.ErrBufferFull)
		if err != nil && begins {
			return
		}
	}
}

// endOutput ends sort soon after the process has ended: one that it has left
// behind may hold its stdout for ever.
func (r *pluginRunner) endOutput() {
	<-r.proc.Done()
	rest := time.NewTimer(outputRest)
	defer rest.Stop()
	select {
	case <-r.copied:
	case <-rest.C:
		_ = r.stdout.Close() // only read from
	}
}

// Wait returns when the process has ended.
func (r *pluginRunner) Wait(context.Context) error {
	<-r.proc.Done()
	return nil
}

// Kill kills the process and its group, or has Start do so.
func (r *pluginRunner) Kill(context.Context) error {
	r.mu.Lock()
	r.killed = true
	p := r.proc
	r.mu.Unlock()
	if p != nil {
		return p.Kill()
	}
	return nil
}

// awaitSilent waits for the end of a process that has closed its stdout without
// a handshake: how it ends is the reason that the start did not succeed. ctx
// bounds it.
func (r *pluginRunner) awaitSilent(ctx context.Context) {
	if r.started() == nil || r.greeted.Load() {
		return
	}
	select {
	case <-r.proc.Done():
	case <-ctx.Done():
	}
}

// started is the process, or nil.
func (r *pluginRunner) started() *process.Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.proc
}

// ended reports whether the process has ended.
func (r *pluginRunner) ended() bool {
	select {
	case <-r.proc.Done():
		return true
	default:
		return false
	}
}

// Stdout is the handshake line.
func (r *pluginRunner) Stdout() io.ReadCloser { return r.handshake }

// Stderr is empty: the process writes to the pool's log.
func (r *pluginRunner) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name is the program.
func (r *pluginRunner) Name() string { return r.spec.Path }

// ID is the process id.
func (r *pluginRunner) ID() string { return strconv.Itoa(r.proc.Pid()) }

// Diagnose has nothing to add: the start error shows what the program printed.
func (r *pluginRunner) Diagnose(context.Context) string { return "" }

// PluginToHost notes the address, and leaves it as it is: both run on one system.
func (r *pluginRunner) PluginToHost(network, addr string) (string, string, error) {
	r.control.Store(addr)
	return network, addr, nil
}

// address is the socket of the control service. It is "" until the handshake.
func (r *pluginRunner) address() string {
	addr, _ := r.control.Load().(string)
	return addr
}

// HostToPlugin leaves the address as it is.
func (r *pluginRunner) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
