package host

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"aerie/internal/tcpconn"
)

// The bounds of a peek. What they do not decide is served by the host's own
// HTTP server, which is always right.
const (
	peekBytes   = 8 << 10
	peekWakeups = 8
)

// verdict is what the first bytes of a connection say.
type verdict uint8

const (
	undecided verdict = iota // not enough bytes
	decided                  // the Host field is known
	unusual                  // not for a peek to understand
)

// hostOf finds the Host field in the beginning of a request head. It only
// chooses who gets the connection: the HTTP server that then serves it parses
// the request for itself, and refuses what is malformed.
func hostOf(b []byte) (string, verdict) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		if len(b) >= peekBytes || bytes.HasPrefix(b, []byte("PRI ")) {
			return "", unusual
		}
		return "", undecided
	}
	if !usualRequestLine(bytes.TrimSuffix(line, []byte("\r"))) {
		return "", unusual
	}
	for {
		line, rest, ok = bytes.Cut(rest, []byte("\n"))
		if !ok {
			if len(b) >= peekBytes {
				return "", unusual
			}
			return "", undecided
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 || line[0] == ' ' || line[0] == '\t' {
			return "", unusual // no Host at all, or a folded line
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return "", unusual
		}
		if bytes.EqualFold(name, []byte("host")) {
			return hostValue(value, rest)
		}
	}
}

// hostValue is the value of a Host field, before rest. The line that follows may
// belong to it.
func hostValue(value, rest []byte) (string, verdict) {
	switch {
	case len(rest) == 0:
		return "", undecided
	case rest[0] == ' ' || rest[0] == '\t':
		return "", unusual
	default:
		return string(bytes.Trim(value, " \t")), decided
	}
}

// usualRequestLine accepts "METHOD /path HTTP/1.x".
func usualRequestLine(line []byte) bool {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(method) == 0 || len(rest) == 0 || rest[0] != '/' {
		return false
	}
	_, version, ok := bytes.Cut(rest, []byte(" "))
	return ok && (bytes.Equal(version, []byte("HTTP/1.1")) || bytes.Equal(version, []byte("HTTP/1.0")))
}

// Errors of a peek.
var (
	errPeekUnusual = errors.New("host: undecided by a peek")
	errPeekEmpty   = errors.New("host: closed before its first byte")
	errPeekPending = errors.New("host: not enough has come for a peek")
)

// peeker looks at a connection's first bytes. peek is called again whenever the
// kernel says that there may be more; it must not consume any.
type peeker struct {
	buf     []byte
	seen    int // bytes at the last wake-up
	wakeups int
	host    string
	err     error // the verdict when the peek is over
}

// look judges what is there. It reports whether the peek is over.
func (p *peeker) look(n int, err error) bool {
	switch {
	case err != nil:
		p.err = err
		return true
	case n == 0:
		p.err = errPeekEmpty
		return true
	case n == p.seen: // woken without growth, as at the first wait for what has come before
		return false
	}
	p.seen = n
	p.wakeups++
	var v verdict
	p.host, v = hostOf(p.buf[:n])
	switch {
	case v == decided:
		return true
	case v == unusual || p.wakeups >= peekWakeups:
		p.err = errPeekUnusual
		return true
	}
	return false
}

var peekBuffers = sync.Pool{New: func() any { b := make([]byte, peekBytes); return &b }}

// peekable is a connection that can be looked at without waiting.
type peekable interface{ Peek(p []byte) (int, error) }

// peekNow is peek for what has come already: errPeekPending if that is not enough,
// or if this system must wait to look.
func peekNow(c net.Conn) (host string, err error) {
	pc, ok := c.(peekable)
	if !ok {
		return "", errPeekPending
	}
	buf := peekBuffers.Get().(*[]byte)
	defer peekBuffers.Put(buf)
	n, err := pc.Peek(*buf)
	if errors.Is(err, tcpconn.ErrWait) {
		return "", errPeekPending
	}
	p := peeker{buf: *buf}
	if !p.look(n, err) {
		return "", errPeekPending
	}
	return p.host, p.err
}

// timedOut reports whether err is the end of the time for a request head.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// answerGrace bounds the writing of such an answer.
const answerGrace = time.Second
