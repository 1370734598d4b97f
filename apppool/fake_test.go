package apppool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
)

const (
	restartDelay    = time.Second
	restartDelayMax = 8 * time.Second
	idleTimeout     = 10 * time.Minute
	idleFound       = idleTimeout + 11*time.Second // when it has been seen for sure, and no drain is cut yet
)

func testConfig() *config.Pool {
	return &config.Pool{
		Name:            "shop",
		StartupTimeout:  time.Minute,
		ShutdownTimeout: 10 * time.Second,
		DrainTimeout:    30 * time.Second,
		MaxDraining:     3,
		RestartDelay:    restartDelay,
		RestartDelayMax: restartDelayMax,
		QueueLength:     5,
		QueueTimeout:    20 * time.Second,
		Recycle:         config.Recycle{Overlap: true, CPUWindow: time.Minute, Spacing: time.Minute},
		Program:         &config.Program{Process: "/pools/shop/shop", Hosting: config.InProcess},
	}
}

// with returns a copy of the test settings, changed.
func with(change func(*config.Pool)) *config.Pool {
	c := testConfig()
	p := *c.Program
	c.Program = &p
	change(c)
	return c
}

// fakeWorker is a worker process that the test drives.
type fakeWorker struct {
	pid      int
	stubborn bool // ends by kill only

	draining chan struct{} // closed by the first Drain
	finish   chan struct{} // closed by the test: nothing is left in it
	stopping chan struct{} // closed by the first Stop
	done     chan struct{}
	once     [3]sync.Once

	drained atomic.Bool // Drain has returned
	killed  atomic.Bool
	exit    Exit
	left    Stats

	mu     sync.Mutex // guards below
	now    Stats      // that Sample brings
	sample error
	sick   error // what Check returns
	asked  []string
	hangs  bool // Check does not answer
}

var _ Worker = (*fakeWorker)(nil)

func newFakeWorker(pid int) *fakeWorker {
	return &fakeWorker{
		pid:      pid,
		draining: make(chan struct{}),
		finish:   make(chan struct{}),
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
	}
}

func (w *fakeWorker) Pid() int              { return w.pid }
func (w *fakeWorker) Done() <-chan struct{} { return w.done }
func (w *fakeWorker) Exit() Exit            { return w.exit }

func (w *fakeWorker) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left
}

func (w *fakeWorker) Sample(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = w.now
	return w.sample
}

func (w *fakeWorker) Check(ctx context.Context, path string) error {
	w.mu.Lock()
	w.asked = append(w.asked, path)
	sick, hangs := w.sick, w.hangs
	w.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return sick
}

// uses changes the figures that the next Sample brings.
func (w *fakeWorker) uses(change func(*Stats)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.now)
}

func (w *fakeWorker) Drain(ctx context.Context) error {
	w.once[0].Do(func() { close(w.draining) })
	defer w.drained.Store(true)
	select {
	case <-w.finish:
		return nil
	case <-w.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *fakeWorker) Stop(ctx context.Context) error {
	w.once[1].Do(func() { close(w.stopping) })
	if w.stubborn {
		select {
		case <-w.done:
		case <-ctx.Done():
			w.killed.Store(true)
		}
	}
	w.end(Exit{Status: "exit status 0", Expected: true})
	return nil
}

// crash ends the process by itself.
func (w *fakeWorker) crash() {
	w.end(Exit{Status: "exit status 2", Output: []string{"panic: oh"}})
}

func (w *fakeWorker) end(e Exit) {
	w.once[2].Do(func() {
		w.exit = e
		close(w.done)
	})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// attempt is a call of Starter.Start that waits for the test to decide.
type attempt struct {
	spec   Spec
	ctx    context.Context
	result chan startResult
	born   func(*fakeWorker)
	late   bool // a cancelled start waits for the test all the same
}

type startResult struct {
	worker Worker
	err    error
}

func (a *attempt) ready() *fakeWorker {
	w := newFakeWorker(1000 + a.spec.Generation)
	if a.born != nil {
		a.born(w)
	}
	a.result <- startResult{worker: w}
	synctest.Wait()
	return w
}

var errNoWay = errors.New("no way")

func (a *attempt) fail() {
	a.result <- startResult{err: &StartError{SubStatus: "500.30", Reason: "did not start", Output: []string{"listen: no"}, Err: errNoWay}}
	synctest.Wait()
}

// rig is an open pool in a synctest bubble, whose starts wait for the test.
type rig struct {
	*Pool
	t       *testing.T
	attempt chan *attempt
	kinds   []config.Hosting
	born    func(*fakeWorker) // changes each worker before it is ready
	log     *eventLog
}

func newRig(t *testing.T, cfg *config.Pool) *rig { return newRigOf(t, cfg, false) }

func newRigOf(t *testing.T, cfg *config.Pool, expected bool, adopted ...Adopted) *rig {
	r := &rig{t: t, attempt: make(chan *attempt, 100), log: &eventLog{}}
	r.Pool = New(Options{
		Config: cfg,
		Starter: func(h config.Hosting) Starter {
			r.kinds = append(r.kinds, h)
			return r
		},
		Logger:   slog.New(r.log),
		Expected: expected,
		Adopted:  adopted,
	})
	r.impossible = func(s state, e event) { t.Errorf("%v cannot happen in state %v", e, s) }
	r.Open()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.Close(ctx) // the error is that it had to kill, as it was told to
	})
	return r
}

// bubble is synctest.Test with an open pool.
func bubble(t *testing.T, cfg *config.Pool, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t, cfg)) })
}

// Start implements Starter beside Pool.Start, which the rig calls start.
func (r *rig) Start(ctx context.Context, spec Spec) (Worker, error) {
	a := &attempt{spec: spec, ctx: ctx, result: make(chan startResult), born: r.born}
	r.attempt <- a
	select {
	case s := <-a.result:
		return s.worker, s.err
	case <-ctx.Done():
		if a.late {
			s := <-a.result
			return s.worker, s.err
		}
		return nil, &StartError{SubStatus: "500.37", Reason: "start was ended", Err: context.Cause(ctx)}
	}
}

// next is the start that is waiting; there must be exactly one.
func (r *rig) next() *attempt {
	r.t.Helper()
	synctest.Wait()
	if n := len(r.attempt); n != 1 {
		r.t.Fatalf("%d starts are waiting, want 1", n)
	}
	return <-r.attempt
}

// none checks that no start is waiting that was not looked at.
func (r *rig) none() {
	r.t.Helper()
	synctest.Wait()
	if n := len(r.attempt); n != 0 {
		r.t.Fatalf("%d starts are waiting, want none", n)
	}
}

// up starts the pool and returns its first worker.
func (r *rig) up() *fakeWorker {
	r.t.Helper()
	c := r.start()
	w := r.next().ready()
	c.want(nil)
	return w
}

// call is a method of the pool under way.
type call struct {
	t      *testing.T
	err    error
	done   chan struct{}
	cancel context.CancelCauseFunc
}

func (r *rig) call(f func(context.Context) error) *call {
	ctx, cancel := context.WithCancelCause(context.Background())
	c := &call{t: r.t, done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(c.done)
		c.err = f(ctx)
	}()
	synctest.Wait()
	return c
}

func (r *rig) start() *call { return r.call(r.Pool.Start) }
func (r *rig) stop() *call  { return r.call(r.Stop) }
func (r *rig) recycle(reason string) *call {
	return r.call(func(ctx context.Context) error { return r.Recycle(ctx, reason) })
}
func (r *rig) reconfigure(cfg *config.Pool) *call {
	return r.call(func(ctx context.Context) error { return r.Reconfigure(ctx, cfg) })
}

// acquire acquires and, if it gets a lease, releases it.
func (r *rig) acquire() *call {
	return r.call(func(ctx context.Context) error {
		l, err := r.Acquire(ctx)
		if err == nil {
			l.Release()
		}
		return err
	})
}

// want checks that the call has returned an error that is target.
func (c *call) want(target error) {
	c.t.Helper()
	synctest.Wait()
	if !closed(c.done) {
		c.t.Fatalf("call has not returned, want %v", target)
	}
	if !errors.Is(c.err, target) {
		c.t.Fatalf("call returned %v, want %v", c.err, target)
	}
}

// waits checks that the call has not returned.
func (c *call) waits() {
	c.t.Helper()
	synctest.Wait()
	if closed(c.done) {
		c.t.Fatalf("call returned %v, want it to wait", c.err)
	}
}

// is checks state, generation and the workers, "2 draining 3 running".
func (r *rig) is(state string, generation int, workers string) {
	r.t.Helper()
	synctest.Wait()
	s := r.Status()
	got := ""
	for i, w := range s.Workers {
		if i > 0 {
			got += " "
		}
		got += fmt.Sprint(w.Generation, " ", w.State)
	}
	if s.State != state || s.Generation != generation || got != workers {
		r.t.Fatalf("pool is %s, generation %d, workers %q; want %s, %d, %q", s.State, s.Generation, got, state, generation, workers)
	}
}

// eventLog keeps what is logged, as "message from>to" and "message".
type eventLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *eventLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *eventLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *eventLog) WithGroup(string) slog.Handler            { return l }
func (l *eventLog) Handle(_ context.Context, r slog.Record) error {
	var from, to string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "from":
			from = a.Value.String()
		case "to":
			to = a.Value.String()
		}
		return true
	})
	line := r.Message
	if from != "" {
		line = from + " > " + to
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}
