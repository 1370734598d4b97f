package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a writer that keeps each write apart.
type memory struct {
	mu     sync.Mutex
	writes []string
	err    error         // of the next writes
	part   int           // bytes that a failing write takes
	block  chan struct{} // if set, a write waits until it is closed
}

func (m *memory) Write(p []byte) (int, error) {
	m.mu.Lock()
	block := m.block
	m.mu.Unlock()
	if block != nil {
		<-block
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		m.writes = append(m.writes, string(p[:m.part]))
		return m.part, m.err
	}
	m.writes = append(m.writes, string(p))
	return len(p), nil
}

func (m *memory) set(err error, part int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err, m.part = err, part
}

func (m *memory) got() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.writes...)
}

func (m *memory) text() string { return strings.Join(m.got(), "") }

// report is a slog output.
type report struct{ memory }

func (r *report) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestSinkWritesAfterDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		s := NewSink(m, slog.New(slog.DiscardHandler))
		defer s.Close()
		s.Add([]byte("a\n"))
		time.Sleep(writeDelay - 1)
		s.Add([]byte("b\n"))
		synctest.Wait()
		if got := m.got(); len(got) != 0 {
			t.Fatalf("written too early: %q", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := m.got(); len(got) != 1 || got[0] != "a\nb\n" {
			t.Fatalf("writes %q, want one of two lines", got)
		}
		time.Sleep(time.Hour)
		s.Add([]byte("c\n"))
		time.Sleep(writeDelay)
		synctest.Wait()
		if got := m.got(); len(got) != 2 || got[1] != "c\n" {
			t.Fatalf("writes %q", got)
		}
	})
}

func TestSinkWritesWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		s := NewSink(m, slog.New(slog.DiscardHandler))
		defer s.Close()
		line := []byte(strings.Repeat("x", 1023) + "\n")
		began := time.Now()
		for range writeSize / len(line) {
			s.Add(line)
		}
		synctest.Wait()
		got := m.got()
		if len(got) != 1 || len(got[0]) != writeSize || time.Since(began) != 0 {
			t.Fatalf("%d writes after %v", len(got), time.Since(began))
		}
	})
}

func TestSinkFlushReopenClose(t *testing.T) {
	first, second := &memory{}, &memory{}
	s := NewSink(first, slog.New(slog.DiscardHandler))
	s.Add([]byte("a\n"))
	if err := s.Flush(); err != nil || first.text() != "a\n" {
		t.Errorf("Flush: %v, %q", err, first.text())
	}
	s.Add([]byte("b\n"))
	if err := s.Reopen(second); err != nil || first.text() != "a\nb\n" {
		t.Errorf("Reopen: %v, %q", err, first.text())
	}
	s.Add([]byte("c\n"))
	if err := errors.Join(s.Close(), s.Close()); err != nil || second.text() != "c\n" || first.text() != "a\nb\n" {
		t.Errorf("Close: %v, %q %q", err, first.text(), second.text())
	}
	s.Add([]byte("d\n"))
	if s.Lost() != 1 || second.text() != "c\n" {
		t.Errorf("after Close: %d lost, %q", s.Lost(), second.text())
	}
	if err := s.Flush(); err != os.ErrClosed {
		t.Errorf("Flush after Close: %v", err)
	}
}

// A write that fails in the middle of a line costs the lines that did not get
// through and no other; they are counted and reported at most once a second.
func TestSinkReportsLostLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := &memory{}, &report{}
		s := NewSink(m, r.logger())
		full := errors.New("no space left")
		m.set(full, 3)
		s.Add([]byte("aa\n"))
		s.Add([]byte("bb\n"))
		s.Add([]byte("cc\n"))
		if err := s.Flush(); err != full {
			t.Errorf("Flush: %v", err)
		}
		m.set(full, 1)
		s.Add([]byte("dd\n"))
		if err := s.Flush(); err != full {
			t.Errorf("Flush: %v", err)
		}
		want := "level=ERROR msg=\"access log lines lost\" lines=2 reason=\"no space left\"\n"
		if got := r.text(); got != want {
			t.Errorf("first report:\n%swant\n%s", got, want)
		}
		m.set(nil, 0)
		s.Add([]byte("ee\n"))
		time.Sleep(reportDelay)
		synctest.Wait()
		if got, want := m.text(), "aa\nd\nee\n"; got != want {
			t.Errorf("written %q, want %q", got, want)
		}
		want += strings.Replace(want, "lines=2", "lines=1", 1)
		if got := r.text(); got != want {
			t.Errorf("reports:\n%swant\n%s", got, want)
		}
		if err := s.Close(); err != nil || s.Lost() != 3 {
			t.Errorf("Close: %v, %d lost", err, s.Lost())
		}
	})
}

// A disk that hangs costs lines, never a request's time or more memory.
func TestSinkIsBounded(t *testing.T) {
	m, r := &memory{block: make(chan struct{})}, &report{}
	s := NewSink(m, r.logger())
	line := []byte(strings.Repeat("x", 8191) + "\n")
	s.Add(line)
	const extra = 10
	written := 1
	for s.Lost() < extra {
		s.Add(line)
		written++
	}
	close(m.block)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(m.text(), "\n")
	if lines+extra != written || lines > 2*bufferSize/len(line) {
		t.Errorf("%d lines written, %d lost of %d", lines, extra, written)
	}
	if got := r.text(); !strings.Contains(got, "lines=10 reason=\"the log is too slow, its buffer is full\"") {
		t.Errorf("report %q", got)
	}
}

// Two sinks, as in two processes, share one file opened for appending: no
// line is lost, torn or mixed with another.
func TestSinkConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	const writers, lines = 8, 2000
	var all sync.WaitGroup
	for process := range 2 {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		s := NewSink(f, slog.New(slog.NewTextHandler(t.Output(), nil)))
		all.Go(func() {
			var requests sync.WaitGroup
			for w := range writers {
				requests.Go(func() {
					for i := range lines {
						s.Add(fmt.Appendf(nil, "%d %d %d %s\n", process, w, i, strings.Repeat("x", i%100)))
						if i%500 == 0 {
							if err := s.Flush(); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			requests.Wait()
			if err := errors.Join(s.Close(), f.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next := map[[2]int]int{}
	for line := range bytes.Lines(content) {
		var process, w, i int
		var xs string
		n, err := fmt.Sscanf(string(line), "%d %d %d %s\n", &process, &w, &i, &xs)
		if i%100 != 0 && (n != 4 || err != nil || len(xs) != i%100) || next[[2]int{process, w}] != i {
			t.Fatalf("line %q, want number %d: %v", line, next[[2]int{process, w}], err)
		}
		next[[2]int{process, w}]++
	}
	if len(next) != 2*writers || next[[2]int{1, 7}] != lines {
		t.Errorf("lines %v", next)
	}
}
