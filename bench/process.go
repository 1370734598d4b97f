package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	startLimit = 30 * time.Second // until a server says where it listens
	stopLimit  = 15 * time.Second // from the polite stop to the kill
	tailLength = 2048             // of a server's output, when it fails
)

// process is a server under measurement. It leads a session of its own, so
// Ctrl-C reaches only this program, which then ends it.
type process struct {
	name string
	cmd  *exec.Cmd
	out  output
	done chan struct{} // closed when it has ended
	err  error         // why; once done is closed
}

// start starts a program in dir and returns when it has printed its first
// line. The caller stops it.
func start(ctx context.Context, dir, path string, args ...string) (*process, error) {
	p := newProcess(dir, path, args...)
	if err := p.launch(); err != nil {
		return nil, err
	}
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	var err error
	select {
	case <-p.out.first:
		return p, nil
	case <-p.done:
		err = fmt.Errorf("it ended: %v", p.err)
	case <-limit.C:
		err = fmt.Errorf("it said nothing for %v", startLimit)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.stop()
	return nil, fmt.Errorf("start %s: %w\n%s", p.name, err, p.out.tail())
}

// newProcess returns a process that is yet to be launched.
func newProcess(dir, path string, args ...string) *process {
	p := &process{name: strings.Join(append([]string{path}, args...), " "), done: make(chan struct{})}
	p.out.first = make(chan struct{})
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, &p.out, errorOutput{&p.out}
	p.cmd.SysProcAttr = ownSession()
	p.cmd.WaitDelay = time.Second // for output that a descendant still holds open
	return p
}

// launch starts the process and waits for nothing. The caller stops it.
func (p *process) launch() error {
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return nil
}

// stop ends the process, politely at first. It returns when it has ended.
// Repeatable.
func (p *process) stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = terminate(p.cmd.Process) // fails if it has just ended, and else the kill follows
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	select {
	case <-p.done:
	case <-limit.C:
		_ = kill(p.cmd.Process) // as above
		<-p.done
	}
}

// alive returns an error with the process's last words if it has ended.
func (p *process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %v\n%s", p.name, p.err, p.out.tail())
	default:
		return nil
	}
}

// output keeps the first line and the last bytes that a process prints.
type output struct {
	first chan struct{} // closed when line is there

	mu   sync.Mutex // guards below
	line []byte
	full bool
	last []byte
}

// Write takes stdout.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.full {
		line, _, found := bytes.Cut(p, []byte("\n"))
		o.line = append(o.line, line...)
		if found {
			o.full = true
			close(o.first)
		}
	}
	o.keepLocked(p)
	return len(p), nil
}

func (o *output) keepLocked(p []byte) {
	o.last = append(o.last, p...)
	if over := len(o.last) - tailLength; over > 0 {
		o.last = append(o.last[:0], o.last[over:]...)
	}
}

func (o *output) firstLine() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.line)
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(string(o.last))
}

// errorOutput takes stderr: it is kept, but is not what the first line is
// waited for in.
type errorOutput struct{ *output }

// Write takes stderr.
func (o errorOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keepLocked(p)
	return len(p), nil
}
