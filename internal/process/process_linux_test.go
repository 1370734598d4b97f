package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStart_ExitStatus(t *testing.T) {
	for arg, want := range map[string]string{"0": "exit status 0", "3": "exit status 3", "127": "exit status 127"} {
		p := start(t, helperSpec(t, "exit", arg))
		await(t, "the exit", p.Done())
		if got := p.Status(); got != want {
			t.Errorf("exit %s: status %q, want %q", arg, got, want)
		}
		if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("signal after the end: %v, want ErrProcessDone", err)
		}
		if err := errors.Join(p.Stop(t.Context()), p.Kill()); err != nil {
			t.Errorf("stop after the end: %v", err)
		}
	}
}

func TestStart_GivesTheProgramWhatTheSpecSaysAndNothingElse(t *testing.T) {
	// A descriptor as a host may have inherited it: open across exec.
	leaky, err := syscall.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(leaky)
	out, w := pipe(t)
	extra, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	spec := helperSpec(t, "describe", "a b", "--", "-report", "$HOME")
	spec.Env = []string{"ONLY=this", "AND=that = too"}
	spec.Stdout, spec.ExtraFiles = w, []*os.File{extra, extra}
	p := start(t, spec)
	w.Close()
	var d description
	if err := json.NewDecoder(out).Decode(&d); err != nil {
		t.Fatal(err)
	}
	await(t, "the exit", p.Done())
	if want := spec.Args; !slices.Equal(d.Args, want) {
		t.Errorf("arguments %q, want %q", d.Args, want)
	}
	if !slices.Equal(d.Env, spec.Env) {
		t.Errorf("environment %q, want %q", d.Env, spec.Env)
	}
	if d.Dir != spec.Dir {
		t.Errorf("folder %q, want %q", d.Dir, spec.Dir)
	}
	if d.Pid != p.Pid() || d.Session != p.Pid() {
		t.Errorf("pid %d, session %d, want both %d", d.Pid, d.Session, p.Pid())
	}
	want := map[int]string{0: "/dev/null", 2: "/dev/null", 3: "/dev/zero", 4: "/dev/zero"}
	for fd, target := range want {
		if d.Descriptors[fd] != target {
			t.Errorf("descriptor %d is %q, want %q", fd, d.Descriptors[fd], target)
		}
	}
	if len(d.Descriptors) != 5 {
		t.Errorf("descriptors %v, want 0 to 4 only", d.Descriptors)
	}
}

func TestStart_RelativePathsAreRefused(t *testing.T) {
	l := newLauncher(t)
	for _, spec := range []Spec{{Path: "sh", Dir: "/"}, {Path: "/bin/sh", Dir: "."}} {
		if _, err := l.Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "absolute") {
			t.Errorf("%+v: %v, want an error that asks for absolute paths", spec, err)
		}
	}
}

func TestStart_CallerGivesUp(t *testing.T) {
	l := newLauncher(t)
	cause := errors.New("no patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := l.Start(ctx, helperSpec(t, "exit", "0")); !errors.Is(err, cause) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestStart_CommandThatIsNoLauncher(t *testing.T) {
	l := newLauncher(t)
	l.Command = []string{"/bin/sh", "-c", "exit 5", "--"}
	_, err := l.Start(t.Context(), helperSpec(t, "exit", "0"))
	if err == nil || !strings.Contains(err.Error(), "LaunchMain") || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("got %v, want it to say what the launcher must call and how it ended", err)
	}
	l.Command = []string{"/nonexistent/aerie"}
	if _, err := l.Start(t.Context(), helperSpec(t, "exit", "0")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}

func TestStart_AfterClose(t *testing.T) {
	l := newLauncher(t)
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Start(t.Context(), helperSpec(t, "exit", "0")); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

// blocked starts a helper "block" and returns with it ready, and its output.
func blocked(t *testing.T, mode string) (*Process, *os.File) {
	t.Helper()
	out, w := pipe(t)
	spec := helperSpec(t, "block", mode, "leader")
	spec.Stdout = w
	p := start(t, spec)
	w.Close()
	readLine(t, out)
	return p, out
}

func TestSignal_ReachesTheProcess(t *testing.T) {
	p, out := blocked(t, "polite")
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got, want := readLine(t, out), "leader terminated"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	await(t, "the exit", p.Done())
	if got := p.Status(); got != "exit status 7" {
		t.Errorf("status %q", got)
	}
}

func TestStop_Politely(t *testing.T) {
	p, _ := blocked(t, "polite")
	for range 2 {
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := p.Status(); got != "exit status 7" {
			t.Errorf("status %q, want the program's own", got)
		}
	}
}

func TestStop_KillsWhenTheContextEnds(t *testing.T) {
	p, out := blocked(t, "stubborn")
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- p.Stop(ctx) }()
	readLine(t, out) // it was asked, and stays
	select {
	case err := <-stopped:
		t.Fatalf("Stop returned early: %v", err)
	default:
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if got := p.Status(); got != "signal: killed" {
		t.Errorf("status %q", got)
	}
	if rest, err := io.ReadAll(out); err != nil || len(rest) != 0 {
		t.Errorf("it was asked more than once: %q, %v", rest, err)
	}
}

func TestStop_StoppedProcessIsKilled(t *testing.T) {
	p, _ := blocked(t, "polite")
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	if got := p.Status(); got != "signal: killed" {
		t.Errorf("status %q", got)
	}
}

// TestTree_EndsWithItsLeader reads the end of a pipe that the whole tree holds:
// it comes only when the last of them is gone.
func TestTree_EndsWithItsLeader(t *testing.T) {
	tests := map[string]struct {
		args   []string
		end    func(p *Process) error
		status string
	}{
		"when the leader exits by itself": {[]string{"stubborn", "exit"}, func(*Process) error { return nil }, "exit status 3"},
		"when the leader is killed": {[]string{"stubborn", "stay"}, func(p *Process) error {
			return p.Signal(syscall.SIGKILL)
		}, "signal: killed"},
		"by Kill": {[]string{"stubborn", "stay"}, (*Process).Kill, "signal: killed"},
		"by Stop": {[]string{"stubborn", "stay"}, func(p *Process) error {
			return p.Stop(context.Background())
		}, "signal: terminated"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			out, w := pipe(t)
			spec := helperSpec(t, "family", tc.args...)
			used["block"] = true
			spec.Stdout = w
			p := start(t, spec)
			w.Close()
			if got := readLine(t, out); got != "child ready" {
				t.Fatalf("got %q", got)
			}
			if tc.args[1] == "stay" {
				readLine(t, out) // the leader is ready too
				tree, err := Tree(p.Pid())
				if err != nil || len(tree) != 2 || !slices.Contains(tree, p.Pid()) {
					t.Errorf("tree %v, %v; want the leader and its child", tree, err)
				}
			}
			if err := tc.end(p); err != nil {
				t.Fatal(err)
			}
			await(t, "the leader's end", p.Done())
			if got := p.Status(); got != tc.status {
				t.Errorf("status %q, want %q", got, tc.status)
			}
			if _, err := io.ReadAll(out); err != nil {
				t.Errorf("the tree lives on: %v", err)
			}
		})
	}
}

func TestRSS(t *testing.T) {
	rss, err := RSS(os.Getpid())
	if err != nil || rss < 1<<20 || rss > 1<<40 {
		t.Errorf("RSS = %d, %v", rss, err)
	}
	if _, err := RSS(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of no process: %v, want ErrNotExist", err)
	}
}

func TestLeavesNothingBehind(t *testing.T) {
	l := newLauncher(t)
	round := func(endWithHost bool) {
		spec := helperSpec(t, "exit", "0")
		spec.Dir, spec.EndWithHost = "/", endWithHost
		p, err := l.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	round(true)
	before := openDescriptors(t)
	for i := range 100 {
		round(i%2 == 0)
	}
	if after := openDescriptors(t); len(after) != len(before) {
		t.Errorf("descriptors before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	children, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(children) == 0 {
		t.Fatalf("no list of children: %v", err)
	}
	for _, c := range children {
		list, err := os.ReadFile(c)
		if err != nil {
			continue // a thread that has ended
		}
		for _, pid := range strings.Fields(string(list)) {
			if pid != fmt.Sprint(l.system.guard.proc.Pid()) {
				t.Errorf("child %s is left", pid)
			}
		}
	}
}

// TestStat_OfAProcessThatEnds: it may end before its file is opened, or between that
// and the reading.
func TestStat_OfAProcessThatEnds(t *testing.T) {
	p := start(t, helperSpec(t, "block", "plain", "leader"))
	f, err := os.Open(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", p.Done())
	b, err := io.ReadAll(f)
	if _, err := parseStat(p.Pid(), b, err); !errors.Is(err, errProcessGone) {
		t.Errorf("read too late: %v", err)
	}
	if _, err := readStat(p.Pid()); !errors.Is(err, errProcessGone) {
		t.Errorf("opened too late: %v", err)
	}
}
