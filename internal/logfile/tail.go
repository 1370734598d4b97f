package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// The bounds of a Tail.
const (
	TailLines = 40      // lines that it remembers
	TailBytes = 8 << 10 // bytes of all of them together
	TailLine  = 1 << 10 // bytes of one line; what is longer is cut
)

const cutMark = " ..."

// Tail is an io.Writer that remembers the last lines written to it, in bounded
// memory. The zero value is ready to use.
type Tail struct {
	mu    sync.Mutex // guards below
	lines []string
	size  int    // bytes in lines
	part  []byte // the line that has no end yet
	cut   bool   // part was longer than TailLine
}

// Write takes p as the next piece of the output; lines may be split anywhere.
// It never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		t.appendLocked(line)
		if ended {
			t.endLocked()
		}
		rest = after
	}
	return len(p), nil
}

// Lines returns the last lines, the oldest first, the one that has no end yet
// included. The caller owns the result.
func (t *Tail) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := slices.Clone(t.lines)
	if len(t.part) > 0 {
		lines = append(lines, t.partLocked())
	}
	return lines[max(0, len(lines)-TailLines):]
}

func (t *Tail) appendLocked(b []byte) {
	if room := TailLine - len(t.part); len(b) > room {
		b, t.cut = b[:room], true
	}
	t.part = append(t.part, b...)
}

func (t *Tail) endLocked() {
	line := t.partLocked()
	t.part, t.cut = t.part[:0], false
	t.lines = append(t.lines, line)
	t.size += len(line)
	for len(t.lines) > TailLines || t.size > TailBytes {
		t.size -= len(t.lines[0])
		t.lines = slices.Delete(t.lines, 0, 1)
	}
}

func (t *Tail) partLocked() string {
	return cleanLine(t.part, t.cut)
}

func cleanLine(b []byte, cut bool) string {
	line := strings.ToValidUTF8(strings.TrimSuffix(string(b), "\r"), "\uFFFD")
	if cut {
		line += cutMark
	}
	return line
}

// TailOf returns at most n of the last lines of the file at path, in the bounds
// of a Tail, reading no more than its end. A file that does not exist has no
// lines.
func TailOf(path string, n int) (lines []string, err error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read end of log: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read end of log: %w", err)
	}
	// One byte more than a Tail can hold with all line ends, so that the first
	// line is known to be whole, or cut off, by what stands before it.
	start := max(0, info.Size()-TailBytes-TailLines-1)
	data, err := io.ReadAll(io.NewSectionReader(file, start, info.Size()-start))
	if err != nil {
		return nil, fmt.Errorf("read end of log: %w", err)
	}
	if start > 0 {
		if _, after, found := bytes.Cut(data, []byte{'\n'}); found {
			data = after
		}
	}
	var t Tail
	if _, err := t.Write(data); err != nil {
		return nil, err
	}
	lines = t.Lines()
	return lines[max(0, len(lines)-n):], nil
}
