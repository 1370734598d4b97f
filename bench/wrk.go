package main

import (
	"context"
	_ "embed" // for check.lua
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// connections is how many the load generator keeps busy.
const connections = 64

// wrkTimeout is how long one answer may take on a busy machine.
const wrkTimeout = 10 * time.Second

//go:embed check.lua
var checkLua []byte

// generator runs wrk.
type generator struct {
	path, script string
	seconds      int
}

// threads of the load generator: it and the servers share the machine.
func threads() int { return max(1, runtime.NumCPU()/2) }

// count is what wrk has seen in one measurement.
type count struct {
	Requests int64         `json:"requests"`
	Bytes    int64         `json:"bytes"`
	Took     time.Duration `json:"nanoseconds"`
}

func (c count) perSecond() float64 { return float64(c.Requests) / c.Took.Seconds() }

// load sends requests to t for that many seconds, each as the verifier sends
// it. Any error that wrk has counted is an error.
func (g *generator) load(ctx context.Context, t *target, m mode, seconds int) (count, error) {
	args := []string{"-t", strconv.Itoa(threads()), "-c", strconv.Itoa(connections), "-d", strconv.Itoa(seconds) + "s",
		"--timeout", wrkTimeout.String(), "-s", g.script}
	if m == onePerConnection {
		args = append(args, "-H", "Connection: close")
	}
	cmd := exec.CommandContext(ctx, g.path, append(args, t.url())...)
	cmd.SysProcAttr = ownSession()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return count{}, context.Cause(ctx)
	}
	if err != nil {
		return count{}, fmt.Errorf("wrk: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return parseCount(string(out))
}

// errorCounts are the fields of check.lua's line that must be 0.
func errorCounts() []string { return []string{"connect", "read", "write", "timeout", "status"} }

// parseCount reads check.lua's line out of what wrk printed.
func parseCount(out string) (count, error) {
	_, line, found := strings.Cut(out, "counted ")
	line, _, ended := strings.Cut(line, "\n")
	if !found || !ended {
		return count{}, fmt.Errorf("wrk printed no counts: %q", out)
	}
	fields := map[string]int64{}
	for _, word := range strings.Fields(line) {
		name, text, _ := strings.Cut(word, "=")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return count{}, fmt.Errorf("wrk's count %q: %w", word, err)
		}
		fields[name] = n
	}
	need := append([]string{"requests", "bytes", "microseconds"}, errorCounts()...)
	for _, name := range need {
		if _, ok := fields[name]; !ok {
			return count{}, fmt.Errorf("wrk's counts %q lack %s", line, name)
		}
	}
	c := count{Requests: fields["requests"], Bytes: fields["bytes"], Took: time.Duration(fields["microseconds"]) * time.Microsecond}
	for _, name := range errorCounts() {
		if n := fields[name]; n != 0 {
			return c, fmt.Errorf("wrk counted %d %s errors in %d requests", n, name, c.Requests)
		}
	}
	if c.Requests == 0 || c.Took <= 0 {
		return c, errors.New("wrk got no answer")
	}
	return c, nil
}
