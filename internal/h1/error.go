package h1

import (
	"errors"
	"fmt"
)

// ErrClosed is the cause of a Dial error after Close.
var ErrClosed = errors.New("h1: upstream is closed")

// Stage says how far an exchange came before it failed.
type Stage int

// The stages of an exchange.
const (
	Refused        Stage = iota // the request cannot be written as HTTP/1.1: nothing was sent
	Dial                        // no connection to the upstream
	Send                        // the upstream stopped taking the request and gave no response
	Await                       // the connection ended before a whole response head came
	Malformed                   // the response breaks the rules of HTTP/1.1
	HeaderTooLarge              // the response head or its trailers are over the limits
	Body                        // the upstream broke off in the middle of the response body
	Upgrade                     // the client's connection could not be taken over for the upgrade
	ClientBody                  // the request body could not be read: malformed, too large (*http.MaxBytesError), too slow (os.ErrDeadlineExceeded)
	ClientGone                  // the client's connection, or the request's context, has ended
)

// String returns what was being done at that stage.
func (s Stage) String() string {
	switch s {
	case Refused:
		return "write request"
	case Dial:
		return "connect to upstream"
	case Send:
		return "send request"
	case Await:
		return "await response"
	case Malformed:
		return "parse response"
	case HeaderTooLarge:
		return "read response head"
	case Body:
		return "read response body"
	case Upgrade:
		return "upgrade connection"
	case ClientBody:
		return "read request body"
	case ClientGone:
		return "serve client"
	}
	return fmt.Sprintf("stage %d", int(s))
}

// Error is why an exchange did not deliver a whole response.
type Error struct {
	Stage    Stage
	Answered bool  // a part of the response was delivered: no error page can follow, only the end of the client's connection
	Err      error // the cause
}

// Error names the stage and the cause.
func (e *Error) Error() string { return "h1: " + e.Stage.String() + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
