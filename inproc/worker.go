package inproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"aerie/apppool"
	"aerie/internal/h1"
	"aerie/internal/logfile"
	"aerie/internal/process"
	"aerie/internal/usage"
	"aerie/proto"
	"aerie/worker"
)

// Worker is a running worker process. It is safe for concurrent use.
type Worker struct {
	starter   *Starter
	spec      apppool.Spec
	logger    *slog.Logger
	startedAt time.Time
	token     string
	digest    string // of what it was started with
	draining  bool   // a host before has told it to drain
	forget    func() // takes the token out of the host service

	user      *process.User // nil: the host's own
	socketDir string

	controlDir string // of the control service's socket, below socketDir
	log        *logfile.File
	logFrom    int64 // the log's size before this process wrote to it

	controlSocket, relaySocket, handoverSocket string // the last is "" where connections cannot be handed over

	run     *pluginRunner
	rpc     io.Closer // the connection to control
	control proto.ControlClient
	relay   *h1.Upstream
	link    *link // nil where connections cannot be handed over
	tasks   sync.WaitGroup
	detach  context.CancelFunc // ends Attach

	cleaned  chan struct{} // closed when the process has ended and nothing of it is left
	stopping atomic.Bool
	stats    atomic.Pointer[apppool.Stats]
	usage    atomic.Pointer[usage.Usage]
	settings atomic.Pointer[worker.Settings] // that were sent last
}

var _ apppool.Worker = (*Worker)(nil)

// configure sends settings; those that the worker refuses are an error that
// names them.
func (w *Worker) configure(ctx context.Context, s *worker.Settings) (*proto.ConfigureReply, error) {
	b, err := s.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode settings: %w", err)
	}
	w.settings.Store(s)
	return w.configureBytes(ctx, b)
}

func (w *Worker) configureBytes(ctx context.Context, b []byte) (*proto.ConfigureReply, error) {
	reply, err := w.control.Configure(ctx, &proto.ConfigureRequest{Settings: b})
	if err != nil {
		return nil, fmt.Errorf("configure worker: %w", err)
	}
	if reply.Refused != "" {
		return nil, fmt.Errorf("the application was built with an older Aerie and refuses its settings: %s", reply.Refused)
	}
	return reply, nil
}

// Configure puts new settings in force in the running worker process.
func (w *Worker) Configure(ctx context.Context, s *worker.Settings) error {
	_, err := w.configure(ctx, s)
	return err
}

// attach opens the call whose end tells the worker that its host is gone.
func (w *Worker) attach() error {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := w.control.Attach(ctx, &proto.AttachRequest{})
	if err == nil {
		_, err = stream.Recv() // the worker knows its host from here on
	}
	if err != nil {
		cancel()
		return fmt.Errorf("attach to worker: %w", err)
	}
	w.detach = cancel
	return nil
}

func (w *Worker) health(ctx context.Context) error {
	reply, err := w.control.Health(ctx, &proto.HealthRequest{})
	if err != nil {
		return fmt.Errorf("health check: %w", err)
	}
	if reply.Problem != "" {
		return fmt.Errorf("health check: %s", reply.Problem)
	}
	return nil
}

// reap cleans up after the process has ended.
func (w *Worker) reap() {
	defer close(w.cleaned)
	<-w.run.proc.Done()
	w.run.tasks.Wait()
	if w.link != nil {
		w.link.orphans()
	}
	w.tasks.Wait()
	if w.relay != nil {
		w.relay.Close()
	}
	w.starter.Ended(w)
	w.cleanUp()
}

// hangUp ends Attach and the connection to the control service.
func (w *Worker) hangUp() {
	if w.detach != nil {
		w.detach()
	}
	if w.rpc != nil {
		_ = w.rpc.Close() // the other end is going or gone, and its error says only that
	}
}

// cleanUp forgets the token and removes the sockets.
func (w *Worker) cleanUp() {
	w.hangUp()
	if w.forget != nil {
		w.forget()
	}
	if err := w.removeSockets(); err != nil {
		w.logger.Warn("clean up after worker", "error", err)
	}
}

// failed ends what a start has left and says why it did not succeed. 500.37 is
// ANCM's start-up time-out, 500.30 its start failure.
func (w *Worker) failed(ctx context.Context, cause error) *apppool.StartError {
	e := &apppool.StartError{SubStatus: "500.30", Reason: "the worker process did not start: " + cause.Error(), Err: cause}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.SubStatus = "500.37"
		e.Reason = fmt.Sprintf("the worker process was not ready within startup_timeout (%s)", w.spec.Pool.StartupTimeout)
	}
	if w.run == nil || w.run.started() == nil {
		w.cleanUp()
		return e
	}
	byItself := w.run.ended() && ctx.Err() == nil // the end of ctx kills it
	if err := w.run.proc.Kill(); err != nil {
		w.logger.Error("kill worker that did not start", "error", err)
	}
	w.reap()
	if byItself {
		e.Exit = w.run.proc.Status()
		e.Reason = "the program ended before it was ready; does it call app.Run?"
	}
	e.Output = w.output()
	return e
}

// Pid is the process id.
func (w *Worker) Pid() int { return w.run.proc.Pid() }

// Pool is the name of the pool.
func (w *Worker) Pool() string { return w.spec.Pool.Name }

// Generation is the number of the generation.
func (w *Worker) Generation() int { return w.spec.Generation }

// Ended reports whether the process has ended.
func (w *Worker) Ended() bool { return w.run.ended() }

// Done is closed when the process has ended.
func (w *Worker) Done() <-chan struct{} { return w.run.proc.Done() }

// Exit says how it ended.
func (w *Worker) Exit() apppool.Exit {
	return apppool.Exit{Status: w.run.proc.Status(), Expected: w.stopping.Load(), Output: w.output()}
}

// Drain sends the marker on the hand-over socket and waits until the worker
// owns nothing any more. Idle connections come back to the Owner meanwhile.
func (w *Worker) Drain(ctx context.Context) error {
	err := w.drain(ctx)
	switch {
	case err == nil || w.run.ended():
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return err
	}
}

func (w *Worker) drain(ctx context.Context) error {
	marker := w.link != nil && !w.link.gone()
	if marker {
		if err := w.link.drain(ctx); err != nil {
			return fmt.Errorf("send drain marker: %w", err)
		}
	}
	if _, err := w.control.Drain(ctx, &proto.DrainRequest{Marker: marker, Finish: w.starter.Ending()}); err != nil {
		return fmt.Errorf("drain worker: %w", err)
	}
	return nil
}

// Stop asks the process to end, and kills it with its group when ctx ends.
func (w *Worker) Stop(ctx context.Context) error {
	w.stopping.Store(true)
	w.relay.CloseIdle()
	limit := time.Minute
	if t, ok := ctx.Deadline(); ok {
		limit = time.Until(t)
	}
	_, err := w.control.Stop(ctx, &proto.StopRequest{TimeoutNanoseconds: int64(limit)})
	if err == nil {
		w.hangUp()
		select {
		case <-w.run.proc.Done():
		case <-ctx.Done():
		}
	}
	// Where the call did not end it, SIGTERM and then the kill do.
	if ctx.Err() != nil && !w.run.ended() {
		w.logger.Warn("worker process does not stop in time and is killed; a Go program's stacks are in the pool's log", "pid", w.Pid())
	}
	err = w.run.proc.Stop(ctx)
	<-w.cleaned
	return err
}

// Stats is the last that is known; Refresh asks the process.
func (w *Worker) Stats() apppool.Stats {
	st := apppool.Stats{StartedAt: w.startedAt}
	if s := w.stats.Load(); s != nil {
		st = *s
	}
	if w.link != nil {
		st.Connections = w.link.connections()
	}
	if u := w.usage.Load(); u != nil {
		st.RSS, st.Private, st.CPU = u.RSS, u.Private, u.CPU
	}
	return st
}

// Sample asks the system and the process for its figures.
func (w *Worker) Sample(ctx context.Context) error {
	u, err := usage.Of(w.Pid())
	if err == nil {
		w.usage.Store(&u)
	}
	return errors.Join(err, w.Refresh(ctx))
}

// Refresh asks the process for its figures, for Stats to return.
func (w *Worker) Refresh(ctx context.Context) error {
	r, err := w.control.Stats(ctx, &proto.StatsRequest{})
	if err != nil {
		return fmt.Errorf("ask worker for figures: %w", err)
	}
	w.stats.Store(&apppool.Stats{
		StartedAt: w.startedAt, Requests: r.Requests, Finished: r.Finished, Active: int(r.Active), Queued: int(r.Queued),
		Streams: int(r.Streams), Oldest: time.Duration(r.OldestNanoseconds), Connections: int(r.Connections),
	})
	return nil
}

// Check asks for a path, as a client of the pool's first site that has it, over
// the relay; or for "" the application's own check.
func (w *Worker) Check(ctx context.Context, path string) error {
	if path == "" {
		if err := w.health(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		return nil
	}
	binding, _ := w.starter.Site(w.Pool(), path)
	return worker.Probe{
		Dial: w.relay.Dial, Binding: binding, Path: path,
		Header: func(_ string, rec *proto.Record) http.Header {
			rec.Token = w.token
			return http.Header{proto.RecordHeader: {rec.String()}}
		},
	}.Ask(ctx)
}

// Waiters asks the process for the first of the requests that wait in it, most at
// most.
func (w *Worker) Waiters(ctx context.Context, most int) ([]worker.Waiter, error) {
	r, err := w.control.Queue(ctx, &proto.QueueRequest{Most: int64(most)})
	if err != nil {
		return nil, fmt.Errorf("ask worker who waits: %w", err)
	}
	var list []worker.Waiter
	for _, q := range r.Waiters {
		list = append(list, worker.Waiter{Since: time.Unix(0, q.SinceUnixNanoseconds), Client: q.Client, Request: q.Request})
	}
	return list, nil
}

// HandOver gives the connection to the worker process. It does not block. On
// ErrNotTaken the connection is still the caller's.
func (w *Worker) HandOver(c *Client) error {
	if w.link == nil {
		return ErrNotTaken
	}
	return w.link.handOver(c)
}

// Serve relays one request to the worker process. It returns why that did not
// succeed, for worker.FailExchange to answer.
func (w *Worker) Serve(rw http.ResponseWriter, r *http.Request) error {
	return worker.Relay(w.relay, rw, r, worker.NewRecord(r, w.token))
}

// UseLogs makes the worker go on with new log files after a rotation. It does
// nothing where descriptors cannot be passed.
func (w *Worker) UseLogs(log, access *os.File) error {
	if w.link == nil {
		return nil
	}
	return w.link.logs(log, access)
}

// output is the last lines of the pool's log that were written since the start.
func (w *Worker) output() []string {
	if w.log == nil {
		return nil
	}
	lines, err := tailFrom(w.log.Path(), w.logFrom)
	if err != nil {
		w.logger.Warn("read the pool's log", "error", err)
	}
	return lines
}

func tailFrom(path string, from int64) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < from { // rotated meanwhile
		from = 0
	}
	const most = 16 << 10
	var tail logfile.Tail
	_, err = io.Copy(&tail, io.NewSectionReader(f, max(from, st.Size()-most), most))
	return tail.Lines(), err
}
