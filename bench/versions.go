package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// versionSet says what was measured, with what and on what.
type versionSet struct {
	Aerie  string `json:"aerie"`
	Go     string `json:"go"` // of Aerie, of its peers and of the application
	Wrk    string `json:"wrk"`
	System string `json:"system"`
	Kernel string `json:"kernel"`
	CPUs   int    `json:"cpus"`
}

// String is the set in one line.
func (v versionSet) String() string {
	return fmt.Sprintf("aerie %s, peers net/http and httputil of %s, %s, %s, kernel %s, %d CPUs",
		v.Aerie, v.Go, v.Wrk, v.System, v.Kernel, v.CPUs)
}

// versions asks the programs.
func versions(ctx context.Context, wrk, aerie string) (versionSet, error) {
	v := versionSet{System: runtime.GOOS + "/" + runtime.GOARCH, Kernel: kernel(), CPUs: runtime.NumCPU()}
	// wrk prints its version and its usage, and exits with 1.
	out, _ := exec.CommandContext(ctx, wrk, "-v").CombinedOutput() // what it prints is looked at
	v.Wrk, _, _ = strings.Cut(string(out), " [")
	if !strings.HasPrefix(v.Wrk, "wrk ") {
		return v, fmt.Errorf("%s is not wrk: %.200q", wrk, out)
	}
	out, err := exec.CommandContext(ctx, aerie, "version", "--json").Output()
	if err != nil {
		return v, fmt.Errorf("aerie version: %w", err)
	}
	var build struct{ Version, Go string }
	if err := json.Unmarshal(out, &build); err != nil {
		return v, fmt.Errorf("aerie version: %w", err)
	}
	v.Aerie, v.Go = build.Version, build.Go
	return v, nil
}

// kernel is the kernel's release, "unknown" where it is not to be read in /proc.
func kernel() string { return firstWords("/proc/sys/kernel/osrelease", 1) }

// loadAverage is the machine's, over 1, 5 and 15 minutes.
func loadAverage() string { return firstWords("/proc/loadavg", 3) }

func firstWords(file string, n int) string {
	text, err := os.ReadFile(file)
	words := strings.Fields(string(text))
	if err != nil || len(words) < n {
		return "unknown"
	}
	return strings.Join(words[:n], " ")
}
