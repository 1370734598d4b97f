package process

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// TestStop_DumpsStacks stops processes that ignore SIGTERM.
func TestStop_DumpsStacks(t *testing.T) {
	now, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	called, callOff := context.WithCancel(t.Context())
	callOff()
	for name, c := range map[string]struct {
		ctx    context.Context
		dumps  bool
		status string
	}{
		"in time":    {now, true, "exit status 2"},
		"not asked":  {now, false, "signal: killed"},
		"called off": {called, true, "signal: killed"},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := pipe(t)
			spec := helperSpec(t, "block", "stubborn", "leader")
			spec.Stdout, spec.Stderr, spec.DumpStacks = w, w, c.dumps
			p := start(t, spec)
			w.Close()
			readLine(t, r)
			if err := p.Stop(c.ctx); err != nil {
				t.Fatal(err)
			}
			out, err := io.ReadAll(r)
			dumped := strings.Contains(string(out), "SIGQUIT") && strings.Contains(string(out), "helperBlock")
			if err != nil || dumped != (c.status == "exit status 2") || p.Status() != c.status {
				t.Errorf("%s, %v; it printed %q", p.Status(), err, out)
			}
		})
	}
}

// TestStop_OtherPrograms: only Go prints stacks at SIGQUIT; others are just killed.
func TestStop_OtherPrograms(t *testing.T) {
	r, w := pipe(t)
	spec := helperSpec(t, "exit", "0")
	spec.Path, spec.Args = "/bin/sh", []string{"-c", `trap "" TERM; trap "echo quit; exit" QUIT; echo up; while :; do read x </dev/zero; done`}
	spec.Stdout, spec.DumpStacks = w, true
	p := start(t, spec)
	w.Close()
	readLine(t, r)
	now, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if err := p.Stop(now); err != nil {
		t.Fatal(err)
	}
	if out, err := io.ReadAll(r); err != nil || len(out) > 0 || p.Status() != "signal: killed" {
		t.Errorf("%s, %v; it printed %q", p.Status(), err, out)
	}
}
