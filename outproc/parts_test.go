package outproc

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"aerie/apppool"
)

func TestLoad(t *testing.T) {
	l := newLoad(time.Minute)
	t0 := time.Unix(1000, 0)
	var old, upgraded, young visit
	upgraded.upgrade = true
	l.enter(&old, t0)
	l.enter(&upgraded, t0)
	l.enter(&young, t0.Add(time.Minute))
	check := func(now time.Time, finished uint64, active, streams int, oldest time.Duration) {
		t.Helper()
		want := apppool.Stats{Requests: 3, Finished: finished, Active: active, Streams: streams, Oldest: oldest}
		if got := l.snapshot(now); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	check(t0.Add(time.Minute), 0, 2, 1, time.Minute)
	check(t0.Add(61*time.Second), 0, 1, 2, time.Second)
	idle := l.none()
	l.leave(&upgraded)
	check(t0.Add(61*time.Second), 1, 1, 1, time.Second)
	l.leave(&old)
	select {
	case <-idle:
		t.Fatal("idle while a request runs")
	default:
	}
	l.leave(&young)
	<-idle
	<-l.none()
	check(t0.Add(time.Hour), 3, 0, 0, 0)
}

func TestRandomPort_AvoidsTheSystemsRange(t *testing.T) {
	for name, r := range map[string][2]int{
		"Linux": {32768, 60999}, "IANA": {49152, 65535}, "low": {1024, 20000}, "below": {1024, 5000},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10000 {
				port := randomPort(r[0], r[1])
				if port < firstPort || port > lastPort || port >= r[0] && port <= r[1] {
					t.Fatalf("port %d", port)
				}
			}
		})
	}
	for range 1000 {
		if port := randomPort(1024, 65535); port < firstPort || port > lastPort {
			t.Fatalf("port %d where the range leaves none", port)
		}
	}
}

func TestSaysPortTaken(t *testing.T) {
	for line, want := range map[string]bool{
		"Error: listen EADDRINUSE: address already in use 127.0.0.1:1": true,
		"listen tcp 127.0.0.1:1: bind: address already in use":         true,
		"OSError: [Errno 98] Address already in use":                   true,
		"java.net.BindException: Address already in use (Bind failed)": true,
		"no such address": false,
	} {
		if got := saysPortTaken([]string{"start", line, "end"}); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

// writes remembers each write, and fails some.
type writes struct {
	list []string
	fail bool
}

func (w *writes) Write(p []byte) (int, error) {
	if w.fail {
		return 0, errors.New("disk full")
	}
	w.list = append(w.list, string(p))
	return len(p), nil
}

// captured is what a capture logs of the given pieces of output.
func captured(t *testing.T, log *writes, pieces ...string) (lines []string, events string) {
	t.Helper()
	var b bytes.Buffer
	c, w, err := newCapture(log, slog.New(slog.NewTextHandler(&b, nil)))
	if err != nil {
		t.Fatal(err)
	}
	go c.run()
	for _, p := range pieces {
		if _, err := io.WriteString(w, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	<-c.done
	c.finish()
	return c.lines(), b.String()
}

func TestCapture_WritesWholeLines(t *testing.T) {
	var log writes
	lines, _ := captured(t, &log, "a", "b\nc", "d\nend")
	if got := strings.Join(log.list, ""); got != "ab\ncd\nend\n" {
		t.Errorf("log %q", got)
	}
	for _, w := range log.list {
		if !strings.HasSuffix(w, "\n") {
			t.Errorf("wrote a piece of a line: %q", w)
		}
	}
	if !slices.Equal(lines, []string{"ab", "cd", "end"}) {
		t.Errorf("lines %q", lines)
	}
}

func TestCapture_LineLongerThanItsBuffer(t *testing.T) {
	var log writes
	long := strings.Repeat("x", 3*captureBuffer)
	captured(t, &log, long+"\nshort\n")
	if got := strings.Join(log.list, ""); got != long+"\nshort\n" {
		t.Errorf("log of %d bytes, want %d", len(got), len(long)+7)
	}
}

func TestCapture_ReadsOnWithoutALog(t *testing.T) {
	log := writes{fail: true}
	lines, events := captured(t, &log, strings.Repeat("much output\n", 20000), "last\n")
	if len(lines) == 0 || lines[len(lines)-1] != "last" {
		t.Errorf("lines %q", lines)
	}
	if n := strings.Count(events, "disk full"); n != 1 {
		t.Errorf("reported %d times:\n%s", n, events)
	}
}

func TestCapture_EndsThoughSomebodyHoldsThePipe(t *testing.T) {
	var log writes
	c, w, err := newCapture(&log, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	go c.run()
	if _, err := io.WriteString(w, "printed\n"); err != nil {
		t.Fatal(err)
	}
	c.finish()
	if got := strings.Join(log.list, ""); got != "printed\n" {
		t.Errorf("log %q", got)
	}
}
