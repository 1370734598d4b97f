package outproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"aerie/apppool"
	"aerie/config"
	"aerie/internal/process"
	"aerie/worker"
)

// front is a host in front of w.
func front(t *testing.T, w *Worker) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := w.Serve(rw, r, ""); err != nil {
			worker.FailExchange(rw, r, err)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestStart_ServesOnWhateverTheProgramChose(t *testing.T) {
	for _, helper := range []string{"socket", "port", "ipv6", "family"} {
		t.Run(helper, func(t *testing.T) {
			if helper == "ipv6" && !vacantIPv6() {
				t.Log("this machine has no IPv6 loopback: the child cannot listen there")
				helper = "port"
				used["ipv6"] = true
			}
			f := newFixture(t)
			w := f.start(t, f.spec(t, helper))
			status, body := get(t, front(t, w).URL)
			if status != http.StatusOK || !strings.HasPrefix(body, "pid ") {
				t.Errorf("got %d %q", status, body)
			}
			if helper != "family" && !strings.HasPrefix(body, fmt.Sprintf("pid %d\n", w.Pid())) {
				t.Errorf("not answered by %d: %q", w.Pid(), body)
			}
			if err := w.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if entries, err := os.ReadDir(filepath.Dir(w.socket)); err != nil || len(entries) > 0 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

func vacantIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func TestStart_Environment(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, f.spec(t, "port"))
	_, body := get(t, front(t, w).URL)
	env := strings.Split(strings.TrimSpace(body), "\n")
	for _, want := range []string{
		"dir " + f.pool.Dir, "KEPT=yes", "GREETING=hello", "HOST=127.0.0.1",
		"PORT=" + strconv.Itoa(w.port), "AERIE_SOCKET=" + w.socket, "AERIE_POOL=shop",
		"AERIE_GENERATION=7", "AERIE_MODE=outofprocess", "AERIE_TOKEN=" + w.token,
	} {
		if !slices.Contains(env, want) {
			t.Errorf("%q is not in the environment", want)
		}
	}
	if len(w.token) != 43 {
		t.Errorf("token %q has not 256 bits", w.token)
	}
	if strings.Contains(body, "=lost\n") {
		t.Errorf("a weaker value won:\n%s", body)
	}
	other := f.start(t, f.spec(t, "port"))
	if other.token == w.token || other.socket == w.socket || other.port == w.port {
		t.Error("two starts share a token, a socket or a port")
	}
}

func startFails(t *testing.T, f *fixture, ctx context.Context, spec apppool.Spec) *apppool.StartError {
	t.Helper()
	w, err := f.starter.Start(ctx, spec)
	if err == nil {
		t.Fatalf("started as %d", w.Pid())
	}
	e, ok := errors.AsType[*apppool.StartError](err)
	if !ok {
		t.Fatalf("got %T %v, want a *StartError", err, err)
	}
	if e.SubStatus != "502.5" {
		t.Errorf("sub-status %q", e.SubStatus)
	}
	if entries, err := os.ReadDir(f.logs.Dir); err != nil || len(entries) != 1 {
		t.Errorf("logs: %v, %v", entries, err)
	}
	if len(f.starter.ports.taken) != 0 {
		t.Errorf("ports %v are not given back", f.starter.ports.taken)
	}
	return e
}

func TestStart_ProgramEndsAtOnce(t *testing.T) {
	f := newFixture(t)
	e := startFails(t, f, t.Context(), f.spec(t, "crash"))
	if e.Exit != "exit status 4" || !slices.Equal(e.Output, []string{"one", "two"}) {
		t.Errorf("exit %q, output %q", e.Exit, e.Output)
	}
	if !strings.Contains(e.Error(), "ended before it listened") || !strings.Contains(e.Error(), "exit status 4") {
		t.Errorf("error %q", e)
	}
	if got, want := f.log(t), "one\ntwo\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
}

func TestStart_ProgramIsMissing(t *testing.T) {
	f := newFixture(t)
	spec := f.spec(t, "crash")
	spec.Program.Process = filepath.Join(f.pool.Dir, "missing")
	e := startFails(t, f, t.Context(), spec)
	if e.Exit != "" || !errors.Is(e, os.ErrNotExist) || !strings.Contains(e.Reason, "missing") {
		t.Errorf("got %+v", e)
	}
}

func TestStart_ProgramNeverListens(t *testing.T) {
	f := newFixture(t)
	ctx := &deadline{Context: t.Context(), passed: make(chan struct{})}
	go func() {
		defer close(ctx.passed)
		for range time.Tick(time.Millisecond) {
			if t.Context().Err() != nil || strings.Contains(f.log(t), "not listening") {
				return
			}
		}
	}()
	e := startFails(t, f, ctx, f.spec(t, "never"))
	if !strings.Contains(e.Reason, "start-up time-out") || !errors.Is(e, context.DeadlineExceeded) {
		t.Errorf("got %+v", e)
	}
	if !slices.Equal(e.Output, []string{"not listening"}) {
		t.Errorf("output %q", e.Output)
	}
}

// deadline is a context whose deadline passes when the test wants it to.
type deadline struct {
	context.Context
	passed chan struct{}
}

func (d *deadline) Done() <-chan struct{} { return d.passed }

func (d *deadline) Err() error {
	select {
	case <-d.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestStart_CalledOff(t *testing.T) {
	f := newFixture(t)
	cause := errors.New("changed my mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	f.starter.Env = func() []string { cancel(cause); return nil }
	if e := startFails(t, f, ctx, f.spec(t, "never")); !errors.Is(e, cause) {
		t.Errorf("got %+v", e)
	}
}

func TestStart_SocketPathTooLong(t *testing.T) {
	f := newFixture(t)
	f.starter.SocketDir = func(*config.Pool, *process.User) (string, error) { return "/" + strings.Repeat("x", 100), nil }
	w, err := f.starter.Start(t.Context(), f.spec(t, "never"))
	if w != nil || err == nil || !strings.Contains(err.Error(), "run_dir") {
		t.Errorf("got %v, %v", w, err)
	}
}

// stranger listens on a port.
func stranger(t *testing.T, port int) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// portsInOrder has the starter take ports in order, the first n of them being
// a stranger's.
func portsInOrder(t *testing.T, f *fixture, n int) {
	t.Helper()
	var source ports
	var list []int
	for range n + 1 {
		port, err := source.take()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, port)
	}
	for _, port := range list[:n] {
		stranger(t, port)
	}
	f.starter.ports.pick = func() int {
		port := list[0]
		list = list[1:]
		return port
	}
}

func TestStart_AnotherPortWhenTheProgramFindsItTaken(t *testing.T) {
	f := newFixture(t)
	portsInOrder(t, f, 2)
	w := f.start(t, f.spec(t, "port"))
	if status, _ := get(t, front(t, w).URL); status != http.StatusOK {
		t.Errorf("got %d", status)
	}
	if log := f.log(t); strings.Count(log, "address already in use") != 2 {
		t.Errorf("log:\n%s", log)
	}
}

func TestStart_NeverBelievesAStranger(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only Linux tells whose a port is")
		return
	}
	f := newFixture(t)
	portsInOrder(t, f, portAttempts)
	// The program does not listen, and somebody else answers on its port.
	e := startFails(t, f, t.Context(), f.spec(t, "never"))
	// It may be killed before it has printed anything.
	if !errors.Is(e, errPortTaken) || len(e.Output) > 0 && !slices.Equal(e.Output, []string{"not listening"}) {
		t.Errorf("got %+v", e)
	}
}

func TestStop_StubbornProgramIsKilled(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, f.spec(t, "stubborn"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for range 2 {
		if err := w.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if exit := w.Exit(); exit.Status != "signal: killed" || !exit.Expected {
		t.Errorf("exit %+v", exit)
	}
}

func TestWorker_Crash(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, f.spec(t, "port"))
	if status, _ := get(t, front(t, w).URL+"/exit"); status != http.StatusBadGateway {
		t.Errorf("the request that was running got %d, want 502", status)
	}
	await(t, "the end", w.Done())
	exit := w.Exit()
	if exit.Status != "exit status 9" || exit.Expected || !slices.Contains(exit.Output, "last words") {
		t.Errorf("exit %+v", exit)
	}
	// Somebody takes the port that is now free.
	stranger(t, w.port)
	if status, _ := get(t, front(t, w).URL); status != http.StatusBadGateway {
		t.Errorf("after the end got %d, want 502", status)
	}
	if _, err := w.dialer(address{"tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.port))})(t.Context()); !errors.Is(err, errNotAlive) {
		t.Errorf("connecting to a dead worker's port: %v, want errNotAlive", err)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWorker_DrainWaitsForRequests(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, f.spec(t, "socket"))
	url := front(t, w).URL
	if err := w.Drain(t.Context()); err != nil {
		t.Fatalf("drain with no request: %v", err)
	}
	ctx, cancelRequest := context.WithCancel(t.Context())
	defer cancelRequest()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/hold", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if s := w.Stats(); s.Requests != 1 || s.Active != 1 || s.Streams != 0 || s.StartedAt.IsZero() {
		t.Errorf("stats %+v", s)
	}
	cause := errors.New("no time")
	short, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := w.Drain(short); !errors.Is(err, cause) {
		t.Errorf("drain: %v, want its cause", err)
	}
	drained := make(chan error, 2)
	for range cap(drained) {
		go func() { drained <- w.Drain(t.Context()) }()
	}
	cancelRequest()
	for range cap(drained) {
		if err := <-drained; err != nil {
			t.Errorf("drain: %v", err)
		}
	}
	if s := w.Stats(); s.Requests != 1 || s.Active != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestWorker_DrainEndsWithTheProcess(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, f.spec(t, "port"))
	var v visit
	w.load.enter(&v, time.Now())
	defer w.load.leave(&v)
	drained := make(chan error, 1)
	go func() { drained <- w.Drain(t.Context()) }()
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
	if exit := w.Exit(); exit.Status != "signal: terminated" || !exit.Expected {
		t.Errorf("exit %+v", exit)
	}
}

func TestNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("node is not installed, and CI must test with it")
		}
		t.Skip("node is not installed")
	}
	script, err := filepath.Abs("testdata/server.js")
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	spec := apppool.Spec{Pool: f.pool, Generation: 1, Program: &config.Program{
		Process: node, Args: []string{script}, Dir: f.pool.Dir, Hosting: config.OutOfProcess,
	}}
	w := f.start(t, spec)
	url := front(t, w).URL
	for range 3 {
		if status, body := get(t, url+"/a?b"); status != http.StatusOK || body != fmt.Sprintf("node %d GET /a?b", w.Pid()) {
			t.Errorf("got %d %q", status, body)
		}
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	exit := w.Exit()
	if exit.Status != "exit status 0" || !slices.Equal(exit.Output, []string{"listening"}) {
		t.Errorf("exit %+v, want the program's own end", exit)
	}
}

// TestCheck asks a worker process in all ways in which it can answer or not.
func TestCheck(t *testing.T) {
	f := newFixture(t)
	f.starter.Site = func(pool, path string) (config.Binding, string) {
		return config.Binding{Host: "shop.example", Port: 8080}, ""
	}
	w := f.start(t, f.spec(t, "port"))
	for _, path := range []string{"", "/healthz?a=b"} {
		if err := w.Check(t.Context(), path); err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
	if err := w.Sample(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Requests != 0 || runtime.GOOS == "linux" && (s.RSS < 1<<20 || s.Private < 1<<20) {
		t.Errorf("%+v", s)
	}
	errLate := errors.New("late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errLate)
	defer cancel()
	if err := w.Check(ctx, "/hold"); !errors.Is(err, errLate) {
		t.Errorf("an answer without an end: %v", err)
	}
	if err := w.Check(t.Context(), "/exit"); err == nil {
		t.Error("a process that ends is healthy")
	}
	<-w.Done()
	if err := w.Check(t.Context(), "/"); err == nil {
		t.Error("a process that has ended is healthy")
	}
}
