package outproc

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"aerie/apppool"
	"aerie/config"
	"aerie/internal/logfile"
	"aerie/internal/process"
)

// helpers are what the test binary can be as a worker process.
var helpers = map[string]func(){
	"socket":   func() { serve("unix", os.Getenv("AERIE_SOCKET")) },
	"port":     helperPort,
	"ipv6":     func() { serve("tcp", net.JoinHostPort("::1", os.Getenv("PORT"))) },
	"family":   helperFamily,
	"never":    func() { fmt.Println("not listening"); wait() },
	"crash":    func() { fmt.Println("one"); fmt.Fprint(os.Stderr, "two"); os.Exit(4) },
	"stubborn": func() { signal.Ignore(syscall.SIGTERM); helperPort() },
}

var (
	usedMu sync.Mutex
	used   = map[string]bool{}
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "launch":
			os.Exit(process.LaunchMain(os.Args[2:]))
		case "guard":
			os.Exit(process.GuardMain(os.Args[2:]))
		case "helper":
			helpers[os.Args[2]]()
			os.Exit(0)
		}
	}
	before := runtime.NumGoroutine()
	code := m.Run()
	flag.Parse()
	if run := flag.Lookup("test.run"); code == 0 && run.Value.String() == "" {
		for name := range helpers {
			if !used[name] {
				fmt.Fprintf(os.Stderr, "unused helper %q\n", name)
				code = 1
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
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

// serve is a small server. "/" shows the environment, "/hold" holds the request
// until the client is gone or the process ends, "/exit" ends the process.
func serve(network, address string) {
	l, err := net.Listen(network, address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening on", network)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		dir, _ := os.Getwd()
		fmt.Fprintf(w, "pid %d\ndir %s\n%s\n", os.Getpid(), dir, strings.Join(os.Environ(), "\n"))
	})
	mux.HandleFunc("/hold", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush()
		io.Copy(w, r.Body)
		<-r.Context().Done()
	})
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { fmt.Println("last words"); os.Exit(9) })
	err = http.Serve(l, mux)
	fmt.Println(err)
}

func helperPort() { serve("tcp", net.JoinHostPort("127.0.0.1", os.Getenv("PORT"))) }

func wait() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}

// helperFamily has a child of its own serve, as npm and the like do.
func helperFamily() {
	exe, _ := os.Executable()
	cmd := exec.Command(exe, "helper", "port")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		os.Exit(1)
	}
}

type fixture struct {
	starter *Starter
	logs    *logfile.Set
	pool    *config.Pool
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	launcher := &process.Launcher{}
	logs := &logfile.Set{Dir: filepath.Join(t.TempDir(), "logs")}
	run, err := os.MkdirTemp("", "aerie") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, err := range []error{launcher.Close(), logs.Close(), os.RemoveAll(run)} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return &fixture{
		starter: &Starter{
			Launcher: launcher,
			Contain: func(*config.Pool) (*process.Contain, error) {
				return &process.Contain{Umask: 0o022, NoNewPrivs: true}, nil
			},
			SocketDir: func(*config.Pool, *process.User) (string, error) { return run, nil },
			Log:       func(pool string) (*logfile.File, error) { return logs.Open(pool + ".log") },
			Env: func() []string {
				return append(os.Environ(), "KEPT=yes", "GREETING=lost", "AERIE_POOL=lost", "HOST=lost")
			},
			Trusted: func(netip.Addr) bool { return false },
			Logger:  slog.New(slog.NewTextHandler(t.Output(), nil)),
		},
		logs: logs,
		pool: &config.Pool{Name: "shop", Dir: t.TempDir(), StreamAfter: time.Hour},
	}
}

// spec is a generation of the test binary as the named helper.
func (f *fixture) spec(t *testing.T, helper string) apppool.Spec {
	t.Helper()
	usedMu.Lock()
	used[helper] = true
	usedMu.Unlock()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return apppool.Spec{Pool: f.pool, Generation: 7, Program: &config.Program{
		Process: exe, Args: []string{"helper", helper}, Dir: f.pool.Dir, Hosting: config.OutOfProcess,
		Env: map[string]string{"GREETING": "hello", "PORT": "1"},
	}}
}

func (f *fixture) start(t *testing.T, spec apppool.Spec) *Worker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w, err := f.starter.Start(ctx, spec)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := w.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return w.(*Worker)
}

// log is what is in the pool's log.
func (f *fixture) log(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.logs.Dir, "shop.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	return string(b)
}

func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("waited too long for %s", what)
	}
}
