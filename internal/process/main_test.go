//go:build linux

package process

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helpers are what the test binary can be as a child process.
var helpers = map[string]func(args []string){
	"exit":     helperExit,
	"describe": helperDescribe,
	"block":    helperBlock,
	"family":   helperFamily,
	"host":     helperHost,
	"answer":   helperAnswer,
	"switch":   helperSwitch,
	"dumpable": helperDumpable,
}

var (
	usedMu sync.Mutex
	used   = map[string]bool{}
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case launchVerb:
			os.Exit(LaunchMain(os.Args[2:]))
		case guardVerb:
			os.Exit(GuardMain(os.Args[2:]))
		case "helper":
			helpers[os.Args[2]](os.Args[3:])
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

// helperSpec is the spec of the test binary as helper name.
func helperSpec(t *testing.T, name string, args ...string) Spec {
	t.Helper()
	usedMu.Lock()
	used[name] = true
	usedMu.Unlock()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Spec{Path: exe, Args: append([]string{"helper", name}, args...), Env: os.Environ(), Dir: t.TempDir()}
}

// start starts spec with a launcher of its own and sees to its end.
func start(t *testing.T, spec Spec) *Process {
	t.Helper()
	l := newLauncher(t)
	p, err := l.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		<-p.Done()
	})
	return p
}

func newLauncher(t *testing.T) *Launcher {
	t.Helper()
	l := &Launcher{Grace: 200 * time.Millisecond}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close launcher: %v", err)
		}
	})
	return l
}

// pipe returns a pipe whose reading end fails a test that waits too long.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// readLine reads one line without reading ahead.
func readLine(t *testing.T, r io.Reader) string {
	t.Helper()
	var line strings.Builder
	var b [1]byte
	for {
		if _, err := r.Read(b[:]); err != nil {
			t.Fatalf("read line: %v (so far %q)", err, line.String())
		}
		if b[0] == '\n' {
			return line.String()
		}
		line.WriteByte(b[0])
	}
}

func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("waited too long for %s", what)
	}
}

// helperExit exits with the given status.
func helperExit(args []string) {
	code, err := strconv.Atoi(args[0])
	if err != nil {
		code = 99
	}
	os.Exit(code)
}

type description struct {
	Args        []string
	Env         []string
	Dir         string
	Descriptors map[int]string
	Session     int
	Pid         int
}

// helperDescribe prints what the process was given.
func helperDescribe(args []string) {
	d := description{Args: os.Args[1:], Env: os.Environ(), Descriptors: map[int]string{}, Pid: os.Getpid()}
	d.Dir, _ = os.Getwd()
	d.Session, _ = unix.Getsid(0)
	entries, _ := filepath.Glob("/proc/self/fd/*")
	for _, e := range entries {
		fd, _ := strconv.Atoi(filepath.Base(e))
		target, err := os.Readlink(e)
		if err != nil || strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/sys/fs/cgroup/") {
			continue // the descriptor of the listing itself, or the runtime's
		}
		d.Descriptors[fd] = target
	}
	if err := json.NewEncoder(os.Stdout).Encode(d); err != nil {
		os.Exit(1)
	}
}

// helperBlock says that it is ready, as the name of its second argument and, if
// there is a third, on descriptor 3, and blocks. With "polite" it says when it
// gets SIGTERM and exits with status 7, with "stubborn" it says so and stays,
// otherwise SIGTERM ends it.
func helperBlock(args []string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR2)
	if args[0] != "plain" {
		signal.Notify(signals, syscall.SIGTERM)
	}
	fmt.Println(args[1], "ready")
	if len(args) > 2 {
		os.NewFile(3, "ready").Close()
	}
	for range signals {
		fmt.Println(args[1], "terminated")
		if args[0] == "polite" {
			os.Exit(7)
		}
	}
}

// helperFamily starts a helper "block" in its own group, with its own standard
// output, waits until it is ready, and then exits or blocks.
func helperFamily(args []string) {
	exe, _ := os.Executable()
	r, w, _ := os.Pipe()
	cmd := exec.Command(exe, "helper", "block", args[0], "child", "3")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, []*os.File{w}
	if err := cmd.Start(); err != nil {
		os.Exit(1)
	}
	w.Close()
	r.Read(make([]byte, 1))
	if args[1] == "exit" {
		os.Exit(3)
	}
	helperBlock([]string{"plain", "leader"})
}

// helperHost is a host with two processes that end with it, and one that does
// not, and blocks. With "guard" its guard is killed between the two, with
// "unguarded" it has only one process, and at the end no guard.
func helperHost(args []string) {
	exe, _ := os.Executable()
	l := &Launcher{Grace: 300 * time.Millisecond}
	output, words := os.NewFile(3, "output"), os.NewFile(4, "words")
	spec := Spec{Path: exe, Env: os.Environ(), Dir: "/", Stdout: output, EndWithHost: true}
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	start := func(spec Spec) {
		_, err := l.Start(context.Background(), spec)
		fail(err)
	}
	killGuard := func() {
		guard := l.system.guard.proc
		fail(guard.Kill())
		<-guard.Done()
	}
	if args[0] == "unguarded" {
		spec.Args = []string{"helper", "block", "stubborn", "leader"}
		start(spec)
		killGuard()
		fmt.Println("up")
		select {}
	}
	spec.Args = []string{"helper", "family", "polite", "stay"}
	start(spec)
	if args[0] == "guard" {
		killGuard()
	}
	spec.Args = []string{"helper", "family", "stubborn", "stay"}
	start(spec)
	start(Spec{Path: exe, Args: []string{"helper", "answer"}, Env: os.Environ(), Dir: "/", ExtraFiles: []*os.File{words, os.NewFile(5, "answers")}})
	fmt.Println("up")
	select {}
}

// helperAnswer answers each byte on descriptor 3 with its pid on 4, until the
// end.
func helperAnswer([]string) {
	words, answers := os.NewFile(3, "words"), os.NewFile(4, "answers")
	for {
		if _, err := words.Read(make([]byte, 1)); err != nil {
			return
		}
		fmt.Fprintln(answers, os.Getpid())
	}
}

// openDescriptors lists the descriptors of this process.
func openDescriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(target, "/proc/") {
			list = append(list, e.Name()+" "+target)
		}
	}
	sort.Strings(list)
	return list
}
