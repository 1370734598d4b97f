package rawhttp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// Kind says in which way an exchange failed.
type Kind string

// The kinds of failure.
const (
	Refused   Kind = "refused"   // no connection came about
	Closed    Kind = "closed"    // closed where an answer was due, or where a close was not allowed
	Reset     Kind = "reset"     // reset by the server
	Short     Kind = "short"     // closed in the middle of an answer
	Late      Kind = "late"      // nothing came for as long as the limit
	Extra     Kind = "extra"     // bytes that no request asked for
	Malformed Kind = "malformed" // not what RFC 9112 allows a server to send
	Mismatch  Kind = "mismatch"  // an answer to another request, or with other content than asked for
	Status    Kind = "status"    // another status than the request must have
	Network   Kind = "network"   // any other error of the socket
)

// Failure is the error of everything that this package notices.
type Failure struct {
	Kind    Kind
	Op      string // what the client was doing
	Local   string // its own address, by which the server's log knows it
	Request string // in a Load: id and shape of the request
	Sent    string // the last bytes that were sent
	Seen    string // the last bytes that were received
	Err     error  // the cause
}

// Error tells all of the failure in a few lines.
func (f *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %v (client %s", f.Kind, f.Op, f.Err, f.Local)
	if f.Request != "" {
		fmt.Fprintf(&b, ", request %s", f.Request)
	}
	fmt.Fprintf(&b, ")\n\tsent ...%q\n\tseen ...%q", f.Sent, f.Seen)
	return b.String()
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// KindOf returns the kind of the Failure in err's chain, "" if there is none.
func KindOf(err error) Kind {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Kind
	}
	return ""
}

// malformed is the cause of a Malformed failure.
type malformed string

func (m malformed) Error() string { return string(m) }

// classify finds the kind of an error of the socket or the parser. begun says
// that a part of the answer was there already.
func classify(err error, begun bool) Kind {
	if _, ok := errors.AsType[malformed](err); ok {
		return Malformed
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if begun {
			return Short
		}
		return Closed
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Late
	}
	return Network
}
