package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Exit codes. That a goal was missed is a result, not a failure.
const (
	exitFailure = 1 // nothing was measured, or a ratio does not count
	exitUsage   = 2 // the command line is wrong, or a tool is missing
)

// run is the whole of the command. It ends what it has started, and removes
// its files, also when it is interrupted.
func run(args []string, stdout, stderr io.Writer) int {
	began := time.Now()
	o, err := parseOptions(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	}
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		fmt.Fprintln(stderr, "bench: wrk is missing (on Debian: apt-get install wrk)")
		return exitUsage
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	b := &bench{options: o, began: began, wrk: wrk, progress: stderr}
	result, err := b.run(ctx)
	if result != nil {
		_, _ = io.WriteString(stdout, result.String()) // where to would its failure be written
	}
	if err == nil {
		err = b.save(result)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitFailure
	}
	if !result.counts() {
		return exitFailure
	}
	return 0
}

// bench is one run.
type bench struct {
	options
	began    time.Time
	wrk      string
	progress io.Writer
	root     string // of the module
}

func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, "%5.0f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...)) // as above
}

// run builds, starts, measures and ends everything.
func (b *bench) run(ctx context.Context) (result *result, err error) {
	if b.root, err = moduleRoot(ctx); err != nil {
		return nil, err
	}
	s := &stage{root: b.root, say: b.say}
	defer func() { err = errors.Join(err, s.close()) }()
	load := loadAverage()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	gen := &generator{path: b.wrk, script: s.script, seconds: b.seconds}
	rows := s.rows()
	result = newResult(rows)
	result.Versions, err = versions(ctx, b.wrk, s.aerie())
	if err != nil {
		return nil, err
	}
	result.Date, result.Load, result.Seconds = b.began.UTC().Format(time.DateOnly), load, b.seconds
	if result.Figures, err = b.figures(ctx, s); err != nil {
		return nil, err
	}
	m := &measuring{bench: b, gen: gen, rows: rows, result: result}
	return result, m.run(ctx)
}

// figures measures what is not a ratio to a peer.
func (b *bench) figures(ctx context.Context, s *stage) ([]figure, error) {
	sleeping, err := b.sleeping(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("sleeping pools: %w", err)
	}
	loop, err := b.crashLoop(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("beside a crash loop: %w", err)
	}
	return append(sleeping, loop...), nil
}

func (b *bench) save(r *result) error {
	if b.out == "" {
		return nil
	}
	file := b.out
	if !filepath.IsAbs(file) {
		file = filepath.Join(b.root, file)
	}
	return r.save(file)
}

// moduleRoot is the folder of the go.mod around the working directory.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if filepath.Base(file) != "go.mod" {
		return "", errors.New("run it inside Aerie's source")
	}
	return filepath.Dir(file), nil
}
