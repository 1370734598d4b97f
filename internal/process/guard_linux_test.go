package process

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHostDies_WithoutAGuard shows that the kernel alone ends a process with its
// host.
func TestHostDies_WithoutAGuard(t *testing.T) {
	output, outputW := pipe(t)
	up, upW := pipe(t)
	spec := helperSpec(t, "host", "unguarded")
	host := exec.Command(spec.Path, spec.Args...)
	host.Stdout, host.Stderr = upW, os.Stderr
	host.ExtraFiles = []*os.File{outputW, outputW, outputW}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	outputW.Close()
	upW.Close()
	readLine(t, up)
	readLine(t, output)
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := host.Wait(); err == nil {
		t.Error("the host ended well")
	}
	if rest, err := io.ReadAll(output); err != nil || len(rest) > 0 {
		t.Errorf("it said %q, %v; want only its end", rest, err)
	}
}

// TestHostDies kills a host with a signal that it cannot see coming, and reads
// what its processes print until the last of them is gone.
func TestHostDies(t *testing.T) {
	for _, mode := range []string{"whole", "guard"} {
		t.Run(mode, func(t *testing.T) {
			output, outputW := pipe(t)
			up, upW := pipe(t)
			wordsR, words := pipe(t)
			answers, answersW := pipe(t)
			spec := helperSpec(t, "host", mode)
			used["answer"] = true
			host := exec.Command(spec.Path, spec.Args...)
			host.Stdout, host.Stderr = upW, os.Stderr
			host.ExtraFiles = []*os.File{outputW, wordsR, answersW}
			if err := host.Start(); err != nil {
				t.Fatal(err)
			}
			for _, f := range []*os.File{outputW, upW, wordsR, answersW} {
				f.Close()
			}
			readLine(t, up)
			for range 4 { // two leaders and their children are ready
				readLine(t, output)
			}
			if err := host.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := host.Wait(); err == nil {
				t.Error("the host ended well")
			}
			rest, err := io.ReadAll(output)
			if err != nil {
				t.Fatalf("the host's processes live on: %v; they said %q", err, rest)
			}
			if n := strings.Count(string(rest), "child terminated"); n != 2 {
				t.Errorf("%d of 2 grandchildren were asked politely; they said %q", n, rest)
			}
			if _, err := words.Write([]byte{'?'}); err != nil {
				t.Fatal(err)
			}
			if readLine(t, answers) == "" {
				t.Error("the process that does not end with the host gave no answer")
			}
			if _, err := io.ReadAll(up); err != nil {
				t.Errorf("somebody holds the host's standard output: %v", err)
			}
			words.Close()
			if _, err := io.ReadAll(answers); err != nil {
				t.Errorf("it lives on without end: %v", err)
			}
		})
	}
}

func TestGuard_IgnoresSignalsAndEndsWithTheLauncher(t *testing.T) {
	l := newLauncher(t)
	out, w := pipe(t)
	spec := helperSpec(t, "block", "plain", "leader")
	spec.Stdout, spec.EndWithHost = w, true
	p, err := l.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	readLine(t, out)
	guard := l.system.guard.proc
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if err := guard.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "the process that ends with the host", p.Done())
	if got := p.Status(); got != "signal: killed" {
		t.Errorf("status %q", got)
	}
	await(t, "the guard's end", guard.Done())
	if got := guard.Status(); got != "exit status 0" {
		t.Errorf("the guard's status is %q", got)
	}
}

func TestGuard_CommandThatIsNoGuard(t *testing.T) {
	l := newLauncher(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l.Command = []string{"/bin/sh", "-c", fmt.Sprintf(`case "$0" in launch) exec %q launch "$@";; *) exit 6;; esac`, exe)}
	spec := helperSpec(t, "block", "plain", "leader")
	spec.EndWithHost = true
	if _, err := l.Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "GuardMain") {
		t.Errorf("got %v, want it to say what the launcher must call", err)
	}
}

func TestReadGroups(t *testing.T) {
	groups, err := readGroups(strings.NewReader(`+{"Pid":10,"Started":100}
+{"Pid":11,"Started":110}
-10
nonsense
+{"Pid":1,"Started":5}
+{"Pid":-1,"Started":5}
+12 120
+{"Pid":12,"Started":120,"Group":{"Dirs":{"freezer":"/x"}}}
`))
	if err != nil || len(groups) != 2 || groups[11].Started != 110 || groups[12].Started != 120 || groups[12].Group.Dirs["freezer"] != "/x" {
		t.Errorf("got %v, %v; want 11 and 12 only", groups, err)
	}
}

func TestEndGroups_SparesAStranger(t *testing.T) {
	p, out := blocked(t, "polite")
	started, err := startTime(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	if err := endGroups(map[int]guarded{p.Pid(): {Pid: p.Pid(), Started: started - 1}}, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := endGroups(map[int]guarded{p.Pid(): {Pid: p.Pid(), Started: started}}, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", p.Done())
	if rest, err := io.ReadAll(out); err != nil || strings.Count(string(rest), "terminated") != 1 {
		t.Errorf("it said %q, %v; want one polite signal", rest, err)
	}
}
