package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"aerie/admin"
	"aerie/config"
	"aerie/internal/systemd"
)

// fakeService is a host that does what a test tells it, and notes what it was told.
type fakeService struct {
	open     func(context.Context) error
	shutdown func(context.Context) error
	reload   func() (admin.Reload, error)
	ended    error
	done     chan struct{}

	mu    sync.Mutex // guards below
	calls []string
}

func (f *fakeService) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

func (f *fakeService) Open(ctx context.Context) error {
	f.note("open")
	return f.open(ctx)
}

func (f *fakeService) Done() <-chan struct{} { return f.done }
func (f *fakeService) Wait() error           { return f.ended }

func (f *fakeService) Shutdown(ctx context.Context) error {
	f.note("shutdown")
	return f.shutdown(ctx)
}

func (f *fakeService) Close() error {
	f.note("close")
	return nil
}

func (f *fakeService) Reload(context.Context) (admin.Reload, error) {
	f.note("reload")
	return f.reload()
}

// buffer is a bytes.Buffer for many goroutines.
type buffer struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	written chan struct{} // if set, closed by the first write
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.written != nil && b.buf.Len() == 0 {
		close(b.written)
	}
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// runTest is a run of the verb run with a fake host and fake signals.
type runTest struct {
	host        *fakeService
	send        chan os.Signal
	out, stderr buffer
	stopped     int           // how often the signals were given back
	ended       chan struct{} // closed when the run has
}

// ready waits until the summary is printed: the host is open.
func (r *runTest) ready() { <-r.out.written }

// signal sends a signal, unless the run has ended.
func (r *runTest) signal(sig os.Signal) {
	select {
	case r.send <- sig:
	case <-r.ended:
	}
}

func newRunTest(t *testing.T) *runTest {
	t.Helper()
	project(t, sites)
	return &runTest{
		send:  make(chan os.Signal),
		ended: make(chan struct{}),
		out:   buffer{written: make(chan struct{})},
		host: &fakeService{
			open:     func(context.Context) error { return nil },
			shutdown: func(context.Context) error { return nil },
			reload:   func() (admin.Reload, error) { return admin.Reload{}, nil },
			done:     make(chan struct{}),
		},
	}
}

// run runs `aerie run` while script sends signals.
func (r *runTest) run(t *testing.T, script func(), args ...string) (code int) {
	t.Helper()
	c := &cli{stdout: &r.out, stderr: &r.stderr,
		newHost: func(*config.Config, *slog.Logger, *systemd.Service) service { return r.host },
		signals: func() (<-chan os.Signal, func()) { return r.send, func() { r.stopped++ } },
	}
	var scripted sync.WaitGroup
	scripted.Go(script)
	defer scripted.Wait()
	defer close(r.ended)
	return c.run(t.Context(), append([]string{"run"}, args...), strings.NewReader(""))
}

func (r *runTest) want(t *testing.T, code, wantCode int, calls ...string) {
	t.Helper()
	if code != wantCode || strings.Join(r.host.calls, " ") != strings.Join(calls, " ") {
		t.Errorf("code %d, want %d; calls %q, want %q; stderr:\n%s", code, wantCode, r.host.calls, calls, r.stderr.String())
	}
}

func TestRunDrains(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		r := newRunTest(t)
		code := r.run(t, func() { r.ready(); r.signal(sig) })
		r.want(t, code, 0, "open", "shutdown")
		if !strings.Contains(r.stderr.String(), "msg=\"draining; a second signal ends at once\" signal=") {
			t.Errorf("log:\n%s", r.stderr.String())
		}
	}
}

func TestRunSummary(t *testing.T) {
	project(t, sites)
	cfg, err := config.Load("sites.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(summary(cfg), "\n\n") // version and pid
	golden(t, "summary.txt", text)

	r := newRunTest(t)
	r.run(t, func() { r.ready(); r.signal(syscall.SIGTERM) })
	if !strings.HasSuffix(r.out.String(), text) || !strings.HasPrefix(r.out.String(), "aerie ") {
		t.Errorf("stdout:\n%s", r.out.String())
	}
}

func TestRunSecondSignal(t *testing.T) {
	for sig, want := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGINT: 130} {
		r := newRunTest(t)
		draining := make(chan struct{})
		r.host.shutdown = func(ctx context.Context) error {
			close(draining)
			<-ctx.Done() // a client that goes on
			return context.Cause(ctx)
		}
		code := r.run(t, func() {
			r.ready()
			r.signal(syscall.SIGTERM)
			<-draining
			r.signal(syscall.SIGHUP) // means nothing any more
			r.signal(sig)
		})
		r.want(t, code, want, "open", "shutdown", "close")
		if r.stopped == 0 {
			t.Error("a third signal is not the system's")
		}
	}
}

func TestRunSignalWhileOpening(t *testing.T) {
	r := newRunTest(t)
	r.host.open = func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	code := r.run(t, func() {
		r.signal(syscall.SIGHUP)
		r.signal(syscall.SIGTERM)
	})
	r.want(t, code, 0, "open", "close")
	if r.out.String() != "" {
		t.Errorf("summary of a host that did not start:\n%s", r.out.String())
	}
}

func TestRunOpenFails(t *testing.T) {
	r := newRunTest(t)
	r.host.open = func(context.Context) error { return errors.New("listen tcp :8080: address in use") }
	code := r.run(t, func() {})
	r.want(t, code, 1, "open", "close")
	if !strings.Contains(r.stderr.String(), "aerie: listen tcp :8080: address in use\n") {
		t.Errorf("stderr:\n%s", r.stderr.String())
	}
}

func TestRunHostEnds(t *testing.T) {
	r := newRunTest(t)
	r.host.ended = errors.New("listener is gone")
	code := r.run(t, func() { r.ready(); close(r.host.done) })
	r.want(t, code, 1, "open", "close")
}

func TestRunReloads(t *testing.T) {
	r := newRunTest(t)
	reloaded := make(chan struct{})
	refuse := false
	r.host.reload = func() (admin.Reload, error) {
		defer func() { reloaded <- struct{}{} }()
		if refuse {
			return admin.Reload{}, errors.New("sites.toml:3: no")
		}
		return admin.Reload{ConfigVersion: 9, Changes: []string{"pool shop"}}, nil
	}
	code := r.run(t, func() {
		r.ready()
		r.signal(syscall.SIGHUP)
		<-reloaded
		refuse = true
		r.signal(syscall.SIGHUP)
		<-reloaded
		r.signal(syscall.SIGTERM)
	}, "--log-format", "json")
	r.want(t, code, 0, "open", "reload", "reload", "shutdown")
	if want := `"level":"ERROR","msg":"reload refused, going on unchanged","reason":"sites.toml:3: no"`; !strings.Contains(r.stderr.String(), want) {
		t.Errorf("no %s in the log:\n%s", want, r.stderr.String())
	}
}

func TestRunLogLevel(t *testing.T) {
	r := newRunTest(t)
	code := r.run(t, func() { r.ready(); r.signal(syscall.SIGTERM) }, "--log-level", "error")
	r.want(t, code, 0, "open", "shutdown")
	if r.stderr.String() != "" {
		t.Errorf("log:\n%s", r.stderr.String())
	}
}
