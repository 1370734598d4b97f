package outproc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"aerie/apppool"
	"aerie/config"
	"aerie/internal/h1"
	"aerie/internal/logfile"
	"aerie/internal/peer"
	"aerie/internal/process"
	"aerie/internal/usage"
	"aerie/proto"
	"aerie/worker"
)

// Worker is one worker process: the application's own server. Its methods are
// safe for concurrent use.
type Worker struct {
	spec      apppool.Spec
	contain   *process.Contain
	own       map[string]string // the program's environment, read at its start
	logger    *slog.Logger
	log       *logfile.File
	socket    string // where it may listen
	port      int    // where it may listen instead
	giveBack  func() // the port
	token     string
	proc      *process.Process
	output    *capture
	upstream  *h1.Upstream
	forwarder *Forwarder
	site      func(pool, path string) (b config.Binding, pathBase string)
	load      *load
	startedAt time.Time
	usage     atomic.Pointer[usage.Usage]
	stopped   atomic.Bool   // Stop was called
	done      chan struct{} // closed when the process has ended and its output was read
}

var _ apppool.Worker = (*Worker)(nil)

// Pid is the process id.
func (w *Worker) Pid() int { return w.proc.Pid() }

// Done is closed when the process has ended and all that it had printed is in
// the log.
func (w *Worker) Done() <-chan struct{} { return w.done }

// Exit says how the process ended. It is valid once Done is closed.
func (w *Worker) Exit() apppool.Exit {
	return apppool.Exit{Status: w.proc.Status(), Expected: w.stopped.Load(), Output: w.output.lines()}
}

// Serve has the worker answer r. pathBase is the path of the application, ""
// for the root. It returns when the answer was given, or why it was not, for
// worker.FailExchange to answer, and counts as a request until then.
func (w *Worker) Serve(rw http.ResponseWriter, r *http.Request, pathBase string) error {
	v := &visit{upgrade: len(r.Header["Upgrade"]) > 0}
	w.load.enter(v, time.Now())
	defer w.load.leave(v)
	return w.forwarder.Forward(rw, r, pathBase)
}

// Drain waits until no request runs in the worker: the caller gives it nothing
// new, and the clients' connections are the host's. It returns nil when none
// runs or the process has ended, or the cause of ctx.
func (w *Worker) Drain(ctx context.Context) error {
	select {
	case <-w.load.none():
		return nil
	case <-w.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Stop ends the process and its whole tree: politely until ctx ends, then by
// kill. Idle connections to it are closed first, so that it need not wait for
// them. It returns when the process is gone. Repeatable.
func (w *Worker) Stop(ctx context.Context) error {
	w.stopped.Store(true)
	w.upstream.Close()
	defer context.AfterFunc(ctx, func() {
		w.logger.Warn("worker process does not stop in time and is killed; a Go program's stacks are in the pool's log", "pid", w.Pid())
	})()
	if err := w.proc.Stop(ctx); err != nil {
		return err
	}
	<-w.done
	return nil
}

// Stats is a snapshot. It does not block. Client connections are the host's:
// the worker owns none.
func (w *Worker) Stats() apppool.Stats {
	st := w.load.snapshot(time.Now())
	st.StartedAt = w.startedAt
	if u := w.usage.Load(); u != nil {
		st.RSS, st.Private, st.CPU = u.RSS, u.Private, u.CPU
	}
	return st
}

// Sample asks the system for the process's figures. It does not block: the rest
// of them is known here.
func (w *Worker) Sample(context.Context) error {
	u, err := usage.Of(w.Pid())
	if err == nil {
		w.usage.Store(&u)
	}
	return err
}

// Check asks for a path, as a client of the pool's first site that has it, on a
// connection of its own. An application server has no other check.
func (w *Worker) Check(ctx context.Context, path string) error {
	if path == "" {
		return nil
	}
	binding, pathBase := w.site(w.spec.Pool.Name, path)
	return worker.Probe{
		Dial: w.upstream.Dial, Binding: binding, Path: path,
		Header: func(host string, rec *proto.Record) http.Header {
			rec.Token, rec.PathBase = w.token, pathBase
			h := http.Header{}
			for _, f := range forwarded(&http.Request{Host: host}, rec) {
				h.Set(f.Name, f.Value)
			}
			return h
		},
	}.Ask(ctx)
}

// watch waits for the end of the process and clears up after it.
func (w *Worker) watch() {
	<-w.proc.Done()
	w.output.finish()
	w.upstream.Close()
	w.release()
	close(w.done)
}

// release gives back what prepare took.
func (w *Worker) release() {
	w.giveBack()
	if err := removeSocket(w.socket); err != nil {
		w.logger.Error("clear up after worker", "error", err)
	}
}

var errNotAlive = errors.New("the worker process has ended")

// dialer opens connections to the worker's address. Once the process has
// ended, anybody may listen on its port, so its end is looked for after the
// connection was made.
func (w *Worker) dialer(a address) func(context.Context) (net.Conn, error) {
	var d net.Dialer
	return func(ctx context.Context) (net.Conn, error) {
		c, err := d.DialContext(ctx, a.network, a.address)
		if err != nil {
			return nil, err
		}
		if u := w.contain.User; u != nil && a.network == "unix" { // who put the socket there may be anybody's
			if err := peer.Check(c, u.UID); err != nil {
				return nil, errors.Join(err, c.Close())
			}
		}
		select {
		case <-w.proc.Done():
			return nil, errors.Join(fmt.Errorf("%w: %s", errNotAlive, w.proc.Status()), c.Close())
		default:
			return c, nil
		}
	}
}
