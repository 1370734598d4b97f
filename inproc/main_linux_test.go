package inproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"aerie/app"
	"aerie/apppool"
	"aerie/config"
	"aerie/internal/logfile"
	"aerie/internal/process"
	"aerie/worker"
)

// helpers are what the test binary can be as a worker process.
var helpers = map[string]func() error{
	"app": func() error { return app.Run(http.HandlerFunc(answer)) },
	"chatty": func() error {
		fmt.Println("before\n1|too few\n" + strings.Repeat("x", 100<<10))
		return app.Run(http.HandlerFunc(answer))
	},
	"quits":  func() error { os.Exit(4); return nil },
	"prints": func() error { fmt.Println("one"); fmt.Fprint(os.Stderr, "two\n"); os.Exit(5); return nil },
	"silent": func() error { fmt.Println("waiting"); select {} },
	"heir":   helperHeir,
	"hook": func() error {
		return app.Options{Start: func(context.Context) error { return errors.New("no database") }}.Run()
	},
	"ill": func() error {
		return app.Options{Health: func(context.Context) error { return errors.New("disk full") }}.Run()
	},
}

// answer shows the process's environment at "/env", ends the process at
// "/exit", and names the process elsewhere.
func answer(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/env":
		_ = json.NewEncoder(w).Encode(os.Environ())
	case "/exit":
		fmt.Println("last words")
		os.Exit(9)
	default:
		fmt.Fprint(w, os.Getpid())
	}
}

// helperHeir leaves a process behind that holds its stdout and is not in its
// process group.
func helperHeir() error {
	cmd := exec.Command("/bin/sleep", "300")
	cmd.Stdout, cmd.SysProcAttr = os.Stdout, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println("heir", cmd.Process.Pid)
	os.Exit(6)
	return nil
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "launch":
			os.Exit(process.LaunchMain(os.Args[2:]))
		case "guard":
			os.Exit(process.GuardMain(os.Args[2:]))
		case "helper":
			if err := helpers[os.Args[2]](); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	before := runtime.NumGoroutine()
	code := m.Run()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			fmt.Fprintf(os.Stderr, "leaked goroutines:\n%s\n", buf[:runtime.Stack(buf, true)])
			code = 1
			break
		}
	}
	os.Exit(code)
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// lines is a log that tests can look into.
type lines struct {
	mu   sync.Mutex // guards below
	text []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// owner notes what leaves a worker process.
type owner struct {
	mu       sync.Mutex // guards below
	returned []*Client
	ended    []uint64
	news     chan struct{} // a token: something has come
}

func newOwner() *owner { return &owner{news: make(chan struct{}, 1)} }

func (o *owner) Returned(c *Client) {
	o.mu.Lock()
	o.returned = append(o.returned, c)
	o.mu.Unlock()
	o.wake()
}

func (o *owner) Ended(c *Client) {
	o.mu.Lock()
	o.ended = append(o.ended, c.Number)
	o.mu.Unlock()
	o.wake()
}

func (o *owner) wake() {
	select {
	case o.news <- struct{}{}:
	default:
	}
}

// await waits until n clients have left, and returns those that live.
func (o *owner) await(t *testing.T, n int) (returned map[uint64]*Client, ended map[uint64]bool) {
	t.Helper()
	end := time.After(patience)
	for {
		o.mu.Lock()
		returned, ended = map[uint64]*Client{}, map[uint64]bool{}
		for _, c := range o.returned {
			returned[c.Number] = c
		}
		for _, n := range o.ended {
			ended[n] = true
		}
		total := len(o.returned) + len(o.ended)
		o.mu.Unlock()
		if total != len(returned)+len(ended) || total > n {
			t.Fatalf("%d clients left, some twice: %v, %v; want %d", total, returned, ended, n)
		}
		if total == n {
			return returned, ended
		}
		select {
		case <-o.news:
		case <-end:
			t.Fatalf("%d clients left, want %d", total, n)
		}
	}
}

// fixture is a starter with all that it needs.
type fixture struct {
	*Starter
	owner  *owner
	logs   *logfile.Set
	run    string
	log    lines
	mu     sync.Mutex // guards below
	tokens map[string]int
	alive  map[*Worker]bool
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	run, err := os.MkdirTemp("", "ae") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	access, err := os.OpenFile(filepath.Join(t.TempDir(), "access.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{owner: newOwner(), logs: &logfile.Set{Dir: t.TempDir()}, run: run, tokens: map[string]int{}, alive: map[*Worker]bool{}}
	launcher := &process.Launcher{}
	f.Starter = &Starter{
		Launcher: launcher,
		Contain: func(*config.Pool) (*process.Contain, error) {
			return &process.Contain{Umask: 0o022, NoNewPrivs: true}, nil
		},
		SocketDir: func(*config.Pool, *process.User) (string, error) { return run, nil },
		Log:       func(pool string) (*logfile.File, error) { return f.logs.Open(pool + ".log") },
		AccessLog: func() (*os.File, error) { return access, nil },
		Settings:  func(*Worker) (*worker.Settings, error) { return settings(), nil },
		Env:       os.Environ,
		HostAway:  func() time.Duration { return time.Minute },
		Ending:    func() bool { return false },
		Owner:     f.owner,
		Epoch:     1,
		Started: func(_ string, generation int, token string) func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.tokens[token] = generation
			return func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				delete(f.tokens, token)
			}
		},
		Running: func(w *Worker) { f.mu.Lock(); defer f.mu.Unlock(); f.alive[w] = true },
		Ended:   func(w *Worker) { f.mu.Lock(); defer f.mu.Unlock(); delete(f.alive, w) },
		Logger:  f.log.logger(),
	}
	t.Cleanup(func() {
		for _, err := range []error{launcher.Close(), f.logs.Close(), access.Close(), os.RemoveAll(run)} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return f
}

// settings are of a site that answers for every name on every port that tests
// use.
func settings() *worker.Settings {
	return &worker.Settings{
		Pool:   "shop",
		Limits: worker.Limits{HeaderTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeadBytes: 32 << 10},
	}
}

func (f *fixture) spec(t *testing.T, helper string) apppool.Spec {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return apppool.Spec{
		Pool:       &config.Pool{Name: "shop", Dir: dir, StartupTimeout: time.Minute},
		Generation: 7,
		Program:    &config.Program{Process: exe, Args: []string{"helper", helper}, Dir: dir, Hosting: config.InProcess, Env: map[string]string{"GREETING": "hello"}},
	}
}

// nothingLeft checks that no socket, token, worker or descriptor is left.
func (f *fixture) nothingLeft(t *testing.T, descriptors int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(f.run, "*"))
	if err != nil || len(names) > 0 {
		t.Errorf("left in the socket folder: %v, %v", names, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.tokens)+len(f.alive) > 0 {
		t.Errorf("left: tokens %v, workers %v", f.tokens, f.alive)
	}
	eventually(t, "descriptors to be closed", func() bool { return openDescriptors(t) <= descriptors })
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func (f *fixture) poolLog(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.logs.Dir, "shop.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// eventually polls until ok; for facts that nobody announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in %q", p, text)
		}
	}
}
