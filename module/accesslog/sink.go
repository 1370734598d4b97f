package accesslog

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	writeSize   = 64 << 10               // buffered bytes that are written at once
	writeDelay  = 100 * time.Millisecond // how long a line waits for others
	bufferSize  = 4 << 20                // buffered bytes past which lines are lost
	reportDelay = time.Second            // between two reports of lost lines
)

// Sink collects the lines of one process and writes them in large pieces of
// whole lines. All its methods are safe for concurrent use.
//
// Adding a line never waits for the writer behind the sink. If that is so slow
// that 4 MiB wait, or fails, lines are lost; how many is logged and counted.
type Sink struct {
	log    *slog.Logger
	orders chan order    // Flush and Reopen
	begun  chan struct{} // a token: the buffer is no longer empty
	full   chan struct{} // a token: the buffer has reached writeSize
	quit   chan struct{} // closed by Close
	done   chan struct{} // closed when run has returned
	err    error         // of the last write, for Close; run's until done

	mu     sync.Mutex // guards below
	buf    []byte
	lost   uint64 // lines, since the start
	closed bool
}

// order is something that run does for a caller.
type order struct {
	next io.Writer // to go on with; nil keeps the present one
	done chan error
}

// NewSink returns a sink that writes to w: an *os.File opened with O_APPEND if
// other processes write to the same file. The caller owns w, and closes it
// after Close or after Reopen has put another in its place. Close ends the
// sink's goroutine.
func NewSink(w io.Writer, log *slog.Logger) *Sink {
	s := &Sink{
		log:    log,
		orders: make(chan order),
		begun:  make(chan struct{}, 1),
		full:   make(chan struct{}, 1),
		quit:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	go s.run(&writer{to: w, sink: s})
	return s
}

// Add takes one line, with its line feed. It copies the line and does not block.
func (s *Sink) Add(line []byte) {
	s.mu.Lock()
	if s.closed || len(s.buf)+len(line) > bufferSize {
		s.lost++
		closed := s.closed
		s.mu.Unlock()
		if closed {
			s.log.Error("access log line lost", "reason", "the log is closed")
		}
		return
	}
	before := len(s.buf)
	s.buf = append(s.buf, line...)
	after := len(s.buf)
	s.mu.Unlock()
	if before == 0 {
		token(s.begun)
	}
	if before < writeSize && after >= writeSize {
		token(s.full)
	}
}

// token puts a token into c, which holds one at most.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Lost is the number of lines lost since the start.
func (s *Sink) Lost() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// Flush returns when every line added before is written; the error is the
// writer's.
func (s *Sink) Flush() error { return s.order(nil) }

// Reopen writes what is buffered to the present writer and goes on with w,
// which the caller owns. When it returns, the present one is no longer used.
// The error is the present writer's; w is in place all the same.
func (s *Sink) Reopen(w io.Writer) error { return s.order(w) }

// order has run do something; os.ErrClosed after Close.
func (s *Sink) order(next io.Writer) error {
	o := order{next: next, done: make(chan error, 1)}
	select {
	case s.orders <- o:
		return <-o.done
	case <-s.done:
		return os.ErrClosed
	}
}

// Close writes what is buffered, ends the sink's goroutine and returns when
// both is done; the error is the writer's. Lines that are added later are
// lost. Repeatable.
func (s *Sink) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		close(s.quit)
	}
	<-s.done
	return s.err
}

// run owns the writer until Close. Its timer runs only while something is
// buffered, or lost and not yet reported.
func (s *Sink) run(w *writer) {
	defer close(s.done)
	timer := time.NewTimer(writeDelay)
	timer.Stop()
	defer timer.Stop()
	for {
		var err error
		var o order
		select {
		case <-s.begun:
			timer.Reset(writeDelay)
			continue
		case <-s.full:
			err = w.flush()
		case <-timer.C:
			err = w.flush()
		case o = <-s.orders:
			err = w.flush()
			if o.next != nil {
				w.to, w.torn = o.next, false
			}
		case <-s.quit:
			s.err = w.flush()
			w.report(s.err, true)
			return
		}
		timer.Stop()
		if wait := w.report(err, false); wait > 0 {
			timer.Reset(wait)
		}
		if o.done != nil {
			o.done <- err
		}
	}
}

// writer is what run alone touches.
type writer struct {
	to       io.Writer
	sink     *Sink
	spare    []byte // the sink's other buffer
	torn     bool   // the last write ended in the middle of a line
	reported uint64 // lost lines that were logged
	at       time.Time
	lastErr  error
}

// flush writes what is buffered, in one write.
func (w *writer) flush() error {
	s := w.sink
	s.mu.Lock()
	if len(s.buf) == 0 {
		s.mu.Unlock()
		return nil
	}
	lines := s.buf
	s.buf = w.spare[:0]
	s.mu.Unlock()
	w.spare = lines

	if w.torn {
		if _, err := w.to.Write([]byte{'\n'}); err != nil {
			return w.lose(lines, err)
		}
		w.torn = false
	}
	n, err := w.to.Write(lines)
	if err == nil && n < len(lines) {
		err = io.ErrShortWrite
	}
	if err == nil {
		return nil
	}
	w.torn = n > 0 && lines[n-1] != '\n'
	return w.lose(lines[n:], err)
}

// lose counts lines that were not written, and returns err.
func (w *writer) lose(lines []byte, err error) error {
	w.sink.mu.Lock()
	w.sink.lost += uint64(bytes.Count(lines, []byte{'\n'}))
	w.sink.mu.Unlock()
	return err
}

// report logs how many lines were lost since the last report, at most once in
// reportDelay unless now is set. It returns how long to wait for the next one,
// 0 if there is nothing to report.
func (w *writer) report(err error, now bool) time.Duration {
	if err != nil {
		w.lastErr = err
	}
	lost := w.sink.Lost()
	if lost == w.reported {
		return 0
	}
	if wait := reportDelay - time.Since(w.at); wait > 0 && !now {
		return wait
	}
	if w.lastErr == nil {
		w.lastErr = errors.New("the log is too slow, its buffer is full")
	}
	w.sink.log.Error("access log lines lost", "lines", lost-w.reported, "reason", w.lastErr)
	w.reported, w.at, w.lastErr = lost, time.Now(), nil
	return 0
}
