package inproc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"aerie/config"
)

// TestCheck asks a worker process in all ways in which it can answer or not.
func TestCheck(t *testing.T) {
	f := newFixture(t)
	binding := config.Binding{Host: "shop.example", Port: 8080}
	f.Site = func(pool, path string) (config.Binding, string) { return binding, "" }
	w := f.start(t, "app")
	siteOn(t, w, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080})
	for _, path := range []string{"", "/healthz?a=b"} {
		if err := w.Check(t.Context(), path); err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
	if err := w.Sample(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.RSS < 1<<20 || s.Private < 1<<20 || s.Private > 1<<30 || s.Requests != 1 || s.Finished != 1 || s.Active != 0 {
		t.Errorf("%+v", s)
	}

	binding.Port = 8081 // of no site of the pool
	if err := w.Check(t.Context(), "/"); err == nil || !strings.Contains(err.Error(), "GET /: 421") {
		t.Errorf("a site that the worker does not have: %v", err)
	}
	binding.Port = 8080

	if err := syscall.Kill(w.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all threads to stop", func() bool { return stopped(t, w.Pid()) })
	errLate := errors.New("late")
	for _, path := range []string{"", "/"} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errLate)
		if err := w.Check(ctx, path); !errors.Is(err, errLate) {
			t.Errorf("%q, of a process that is stopped: %v", path, err)
		}
		cancel()
	}
	if err := syscall.Kill(w.Pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := w.Check(t.Context(), "/exit"); err == nil {
		t.Error("a process that has ended is healthy")
	}
	<-w.Done()
	for _, path := range []string{"", "/"} {
		if err := w.Check(t.Context(), path); err == nil {
			t.Errorf("%q: a process that has ended is healthy", path)
		}
	}
	if err := w.Sample(t.Context()); err == nil {
		t.Error("a process that has ended has figures")
	}
}

// stopped reports whether each thread of the process has stopped.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of process %d: %v", pid, err)
	}
	for _, name := range threads {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended meanwhile
		}
		_, rest, _ := bytes.Cut(b, []byte(") "))
		if !bytes.HasPrefix(rest, []byte("T")) {
			return false
		}
	}
	return true
}
