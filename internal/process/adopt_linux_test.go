package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// orphan starts a shell that leads a group of two and is nobody's child of ours:
// it prints its pid, and ends with 3 on SIGTERM.
func orphan(t *testing.T) (leader, second int) {
	t.Helper()
	r, w := pipe(t)
	cmd := exec.Command("/bin/sh", "-c", `setsid sh -c 'trap "exit 3" TERM; sleep 300 & echo $$ $!; wait' &`)
	cmd.Stdout = w
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	line := readLine(t, r)
	pids := strings.Fields(line)
	if len(pids) != 2 {
		t.Fatalf("the orphan says %q", line)
	}
	leader, second = number(t, pids[0]), number(t, pids[1])
	t.Cleanup(func() { _ = syscall.Kill(second, syscall.SIGKILL) }) // gone by then
	return leader, second
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func adopt(t *testing.T, pid int) *Process {
	t.Helper()
	started, err := StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Adopt(pid, started, Held{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		await(t, "the end of the orphan", p.Done())
	})
	return p
}

// ends waits for the end of a process that is not our child.
func ends(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if s, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(s), ") Z ") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d lives", pid)
		}
	}
}

func TestAdopt_StopsPolitelyAndEndsTheGroup(t *testing.T) {
	leader, second := orphan(t)
	p := adopt(t, leader)
	if p.Pid() != leader || p.Status() != "" {
		t.Errorf("pid %d, status %q", p.Pid(), p.Status())
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.Status() != statusUnknown {
		t.Errorf("status %q", p.Status())
	}
	ends(t, second)
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal after the end: %v", err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("kill after the end: %v", err)
	}
}

func TestAdopt_KillsTheGroup(t *testing.T) {
	leader, second := orphan(t)
	p := adopt(t, leader)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", p.Done())
	ends(t, leader)
	ends(t, second)
}

func TestAdopt_NoticesTheEnd(t *testing.T) {
	leader, second := orphan(t)
	p := adopt(t, leader)
	if err := syscall.Kill(leader, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", p.Done())
	ends(t, second)
}

// TestAdopt_SparesStrangers: a number that belongs to another process by now, to
// none, or to one that leads no group, is not adopted, and nothing happens to it.
func TestAdopt_SparesStrangers(t *testing.T) {
	leader, second := orphan(t)
	started, err := StartTime(leader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Adopt(leader, started+1, Held{}); !errors.Is(err, ErrGone) {
		t.Errorf("another start time: %v", err)
	}
	if s, err := StartTime(second); err != nil {
		t.Error(err)
	} else if _, err := Adopt(second, s, Held{}); err == nil || errors.Is(err, ErrGone) {
		t.Errorf("no leader: %v", err)
	}
	for _, pid := range []int{-1, 0, 1} {
		if _, err := Adopt(pid, 0, Held{}); !errors.Is(err, ErrGone) {
			t.Errorf("pid %d: %v", pid, err)
		}
	}
	p := adopt(t, leader)
	for _, pid := range []int{leader, second} {
		if err := syscall.Kill(pid, 0); err != nil {
			t.Errorf("process %d: %v", pid, err)
		}
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", p.Done())
	ends(t, leader)
	if _, err := Adopt(leader, started, Held{}); !errors.Is(err, ErrGone) {
		t.Errorf("after its end: %v", err)
	}
}
