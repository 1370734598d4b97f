package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"aerie/module/accesslog"
	"aerie/proto"
	"aerie/worker"
)

// helpers are what the test binary can be as a child process.
var helpers = map[string]func() error{
	"hooks": helperHooks,
	"bad start": func() error {
		return Options{Start: func(context.Context) error { return errors.New("no database") }}.Run()
	},
	"hosted":     func() error { return Run(http.NotFoundHandler()) },
	"early stop": helperEarlyStop,
	"link":       helperLink,
}

// helperHooks prints what happens in its order. "/slow" answers when its body
// has ended, "/env" shows the environment.
func helperHooks() error {
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("request")
		b, err := io.ReadAll(r.Body)
		fmt.Println("end of request")
		fmt.Fprintf(w, "%s %v", b, err)
	})
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(os.Environ()) // the client notices
	})
	mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RemoteAddr, r.URL.Path, PathBase(r))
	})
	err := Options{
		Handler: mux,
		Start:   func(context.Context) error { fmt.Println("start"); return nil },
		Stop:    func(context.Context) error { fmt.Println("stop"); return nil },
	}.Run()
	fmt.Println("end", err)
	return err
}

// helperEarlyStop is told to stop before its host has said anything.
func helperEarlyStop() error {
	p, err := newTestInProcess()
	if err != nil {
		return err
	}
	p.opts.Stop = func(context.Context) error { fmt.Println("stop"); return nil }
	p.requestStop(time.Minute)
	return p.run()
}

func newTestInProcess() (*inProcess, error) {
	access, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	p := &inProcess{
		accessFile: access, access: accesslog.NewSink(access, logger()),
		token: "secret", hostAway: time.Hour, logger: logger(), stdio: ownStdio(), env: takePluginEnvironment(),
		configured: make(chan struct{}), attached: make(chan int), stop: make(chan time.Duration, 1), gone: make(chan struct{}),
	}
	p.link = newLink(p, nil)
	return p, p.host.claim(0)
}

// helperLink is the worker's end of a hand-over socket, at LINK. It prints when
// it listens, and ends with its stdin. With STARVED it has few descriptors.
func helperLink() error {
	p, err := newTestInProcess()
	if err != nil {
		return err
	}
	p.server = worker.NewServer(worker.Options{
		Logger: p.logger, Closing: p.link.connClosing, Closed: p.link.connClosed, HandBack: p.link.handBack,
		Limits: worker.Limits{HeaderTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeadBytes: 32 << 10},
	})
	p.server.SetTable(worker.OneApplication(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("to stdout", r.URL.Path)
		fmt.Fprintln(os.Stderr, "to stderr", r.URL.Path)
		fmt.Fprint(w, "served")
	}), p.logger))
	if err := p.link.open(os.Getenv("LINK")); err != nil {
		return err
	}
	if os.Getenv("STARVED") != "" {
		if err := starve(); err != nil {
			return err
		}
	}
	fmt.Println("listening")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, p.link.close(), p.server.Close(), p.access.Close())
}

// starve leaves this process a dozen descriptors.
func starve() error {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	limit := uint64(len(names) + 12)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: limit})
}

func TestMain(m *testing.M) {
	if name := os.Getenv("HELPER"); name != "" {
		if err := helpers[name](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
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

// child is the test binary as a helper.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // of its stdout and stderr
}

func run(t *testing.T, helper string, env ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(exe), lines: make(chan string, 1000)}
	c.cmd.Env = append(os.Environ(), "HELPER="+helper)
	c.cmd.Env = append(c.cmd.Env, env...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stdout, c.cmd.Stderr = w, w
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(c.lines)
		defer func() { _ = r.Close() }() // only read from
		for s := bufio.NewScanner(r); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it has ended, most often
		_ = c.cmd.Wait()         // the same
		<-read
	})
	return c
}

// await waits until the child has printed a line that begins like that.
func (c *child) await(prefix string) string {
	c.t.Helper()
	end := time.After(patience)
	var seen []string
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				c.t.Fatalf("no line %q in %q", prefix, seen)
			}
			if len(line) >= len(prefix) && line[:len(prefix)] == prefix {
				return line
			}
			seen = append(seen, line)
		case <-end:
			c.t.Fatalf("no line %q in %q", prefix, seen)
		}
	}
}

// exits waits for the child's end and returns the lines that it has printed
// since await.
func (c *child) exits(want int) (lines []string) {
	c.t.Helper()
	end := time.AfterFunc(patience, func() { _ = c.cmd.Process.Signal(syscall.SIGQUIT) }) // for its stacks
	defer end.Stop()
	_ = c.cmd.Wait() // the code says the same
	for line := range c.lines {
		lines = append(lines, line)
	}
	if got := c.cmd.ProcessState.ExitCode(); got != want {
		c.t.Errorf("exit code %d, want %d: %q", got, want, lines)
	}
	return lines
}

func (c *child) signal(sig os.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		c.t.Fatal(err)
	}
}

// shortDir is a folder for sockets: t.TempDir's names are too long.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ae")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err = errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return port
}

// dial connects and bounds all that is done on the connection.
func dial(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	var err error
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		if c, err = net.Dial(network, addr); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = c.Close() }) // some tests have done so
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func answerOf(t *testing.T, in *bufio.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}

// record is what a host sends with a request of the application /base.
func record(token string) string {
	rec := proto.Record{Token: token, Scheme: "http", Remote: netip.MustParseAddrPort("192.0.2.1:7"), PathBase: "/base"}
	return rec.String()
}
