package suite

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime"
	"testing"

	"aerie/internal/rawhttp"
	"aerie/test/behave"
	"aerie/test/procfs"
)

const maxGrowth = 64 << 20 // of a process's memory, whatever the size of a body

// streams are the tests of bodies that are too large to hold.
func (s *suite) streams() []test {
	sendfile := when(runtime.GOOS == "linux" && (s.Mode == Handover || s.Mode == Bare), "the client's connection is not the app's own")
	return []test{
		{"large upload with a length", func(t *testing.T) { s.steady(t, s.upload) }, ""},
		{"large upload in chunks", func(t *testing.T) { s.steady(t, s.uploadChunks) }, ""},
		{"large answer with a length", func(t *testing.T) { s.steady(t, s.download("/big?length=1&n=")) }, ""},
		{"large answer in chunks", func(t *testing.T) { s.steady(t, s.download("/big?n=")) }, ""},
		{"large file", func(t *testing.T) { s.steady(t, s.download("/file?n=")) }, ""},
		{"large body both ways", func(t *testing.T) { s.steady(t, s.bothWays) }, ""},
		{"full duplex", s.fullDuplex, ""},
		{"sendfile kept", s.sendfile, sendfile},
	}
}

// steady runs a test and fails if the memory of a process on the way has grown
// by more than maxGrowth at any time.
func (s *suite) steady(t *testing.T, run func(*testing.T)) {
	s.get(t, s.dial(t), "/big?n=1000000") // warm
	var before, after behave.Memory
	s.askJSON(t, "/mem?reset=1", &before)
	var host int64
	if s.HostPID != 0 {
		var err error
		if err = procfs.ResetPeak(s.HostPID); err == nil {
			host, _, err = procfs.Memory(s.HostPID)
		}
		if err != nil {
			t.Fatalf("memory of process %d: %v", s.HostPID, err)
		}
	}
	run(t)
	s.askJSON(t, "/mem", &after)
	if grown := after.Peak - before.RSS; grown > maxGrowth {
		t.Errorf("the app's process grew by %d MiB", grown>>20)
	}
	if s.HostPID != 0 {
		_, peak, err := procfs.Memory(s.HostPID)
		if err != nil || peak-host > maxGrowth {
			t.Errorf("process %d grew by %d MiB (%v)", s.HostPID, (peak-host)>>20, err)
		}
	}
}

// checkSum compares the answer of /sink with what was sent.
func (s *suite) checkSum(t *testing.T, c *rawhttp.Conn, sent hash.Hash) {
	t.Helper()
	var got behave.Sum
	decode(t, read(t, c, "POST", 200).Body, &got)
	if want := (behave.Sum{N: s.size, SHA256: hex.EncodeToString(sent.Sum(nil))}); got != want {
		t.Errorf("the handler read %+v, want %+v", got, want)
	}
	s.usable(t, c)
}

func (s *suite) upload(t *testing.T) {
	c, sum := s.dial(t), sha256.New()
	send(t, c, s.head("POST", "/sink", fmt.Sprintf("Content-Length: %d", s.size)))
	if _, err := io.Copy(c, io.TeeReader(rawhttp.PatternReader(s.size), sum)); err != nil {
		t.Fatal(err)
	}
	s.checkSum(t, c, sum)
}

func (s *suite) uploadChunks(t *testing.T) {
	c, sum := s.dial(t), sha256.New()
	send(t, c, s.head("POST", "/sink", "Transfer-Encoding: chunked"))
	if err := sendChunks(c, io.TeeReader(rawhttp.PatternReader(s.size), sum)); err != nil {
		t.Fatal(err)
	}
	s.checkSum(t, c, sum)
}

// sendChunks sends all of r as a chunked body.
func sendChunks(c *rawhttp.Conn, r io.Reader) error {
	buf := make([]byte, 60_000)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if err := c.Send(chunk(buf[:n])); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return c.Send([]byte("0\r\n\r\n"))
		}
		if err != nil {
			return err
		}
	}
}

func chunk(b []byte) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(b), b) }

func (s *suite) download(path string) func(*testing.T) {
	return func(t *testing.T) {
		c := s.dial(t)
		send(t, c, s.head("GET", fmt.Sprintf("%s%d", path, s.size)))
		s.checkPattern(t, readHead(t, c, 200))
		s.usable(t, c)
	}
}

func (s *suite) checkPattern(t *testing.T, r *rawhttp.Response) {
	t.Helper()
	var check rawhttp.PatternChecker
	if _, err := io.Copy(&check, r); err != nil || check.N != s.size {
		t.Fatalf("%d of %d bytes: %v", check.N, s.size, err)
	}
}

// bothWays sends a body and reads it back at the same time, more of it than
// all buffers on the way can hold.
func (s *suite) bothWays(t *testing.T) {
	c := s.dial(t)
	send(t, c, s.head("POST", "/echo", "Transfer-Encoding: chunked"))
	sent := make(chan error, 1)
	go func() { sent <- sendChunks(c, rawhttp.PatternReader(s.size)) }()
	defer func() {
		_ = c.Close() // ends the sender if reading has failed
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}()
	s.checkPattern(t, readHead(t, c, 200))
	s.usable(t, c)
}

// fullDuplex talks with the handler by the parts of one body each way.
func (s *suite) fullDuplex(t *testing.T) {
	c := s.dial(t)
	send(t, c, s.head("POST", "/echo?flush=1", "Transfer-Encoding: chunked"))
	r := readHead(t, c, 200) // before any of the body is sent
	buf := make([]byte, 5)
	for i := range 5 {
		send(t, c, chunk(fmt.Appendf(nil, "part%d", i)))
		if _, err := io.ReadFull(r, buf); err != nil || string(buf) != fmt.Sprintf("part%d", i) {
			t.Fatalf("part %d: %q %v", i, buf, err)
		}
	}
	send(t, c, []byte("0\r\n\r\n"))
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("at the end: %q %v", rest, err)
	}
	s.usable(t, c)
}

// sendfile compares the read calls that the app's process needs for a file, by
// itself and with a handler that keeps sendfile out of it.
func (s *suite) sendfile(t *testing.T) {
	const size = 64 << 20
	reads := func(path string) int64 {
		var before, after behave.IO
		c := s.dial(t)
		s.askJSON(t, "/io", &before)
		send(t, c, s.head("GET", fmt.Sprintf("%s&n=%d", path, size)))
		if n, err := io.Copy(&rawhttp.PatternChecker{}, readHead(t, c, 200)); err != nil || n != size {
			t.Fatalf("%d bytes: %v", n, err)
		}
		s.askJSON(t, "/io", &after)
		return after.Reads - before.Reads
	}
	with, without := reads("/file?x"), reads("/file?copy=1")
	t.Logf("read calls: %d, and %d without sendfile", with, without)
	if with*2 > without {
		t.Errorf("%d read calls for a file, %d without sendfile: it is not used", with, without)
	}
}
