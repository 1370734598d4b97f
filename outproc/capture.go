package outproc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"aerie/internal/logfile"
)

const (
	captureBuffer = 32 << 10               // of one process; a longer line is written in pieces
	captureRest   = 200 * time.Millisecond // for what is left in the pipe when the process has ended
)

// capture reads what a process prints into the pool's log, and remembers the
// last lines. It reads on whatever becomes of the log: a full pipe would stop
// the process.
type capture struct {
	pipe   *os.File
	log    io.Writer
	logger *slog.Logger
	tail   logfile.Tail
	done   chan struct{} // closed when run has returned
}

// newCapture also returns the end to be given to the process.
func newCapture(log io.Writer, logger *slog.Logger) (*capture, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("capture output: %w", err)
	}
	return &capture{pipe: r, log: log, logger: logger, done: make(chan struct{})}, w, nil
}

// run reads until the last writer has closed the pipe, or finish ends it.
func (c *capture) run() {
	defer close(c.done)
	buf := make([]byte, captureBuffer)
	n := 0 // buf[:n] is the beginning of a line
	failing := false
	write := func(p []byte) {
		if len(p) == 0 {
			return
		}
		_, err := c.log.Write(p)
		if err != nil && !failing {
			c.logger.Error("worker's output is not logged", "error", err)
		}
		failing = err != nil
	}
	for {
		m, err := c.pipe.Read(buf[n:])
		_, _ = c.tail.Write(buf[n : n+m]) // never fails
		n += m
		whole := bytes.LastIndexByte(buf[:n], '\n') + 1
		if whole == 0 && n == len(buf) {
			whole = n
		}
		write(buf[:whole])
		n = copy(buf, buf[whole:n])
		if err == nil {
			continue
		}
		if n > 0 {
			write(append(buf[:n:n], '\n'))
		}
		if err != io.EOF && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.logger.Error("worker's output cannot be read", "error", err)
		}
		return
	}
}

// finish is called when the process has ended. The pipe's end follows at once,
// unless a process that has left its group holds it.
func (c *capture) finish() {
	if err := c.pipe.SetReadDeadline(time.Now().Add(captureRest)); err != nil {
		c.logger.Error("worker's output cannot be ended", "error", err)
	}
	<-c.done
	_ = c.pipe.Close() // only read from
}

// discard ends a capture whose process did not start.
func (c *capture) discard() error { return c.pipe.Close() }

func (c *capture) lines() []string { return c.tail.Lines() }
