package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"aerie/config"
)

// Errors that a Host returns so that the API answers with the right status.
var (
	// ErrUnknownPool says that no pool has the given name: 404.
	ErrUnknownPool = errors.New("unknown pool")
	// ErrUnavailable says that the host is starting or ending and takes no
	// orders: 503.
	ErrUnavailable = errors.New("the host is not taking orders now")
)

// ErrNoHost is the error of a Client whose socket nobody answers on.
var ErrNoHost = errors.New("no host is running")

// Error is the body of an answer that is not a success, and the error that a
// Client returns for it. A Host may return one to choose the status itself.
type Error struct {
	Status   int         `json:"-"`                  // HTTP status
	Message  string      `json:"error"`              // one line or several, for people
	Problems []string    `json:"problems,omitempty"` // each problem of a refused sites.toml
	Pool     *PoolStatus `json:"pool,omitempty"`     // the pool that did not do as asked, as it is now
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// toError turns a Host's error into what the client is sent: refused is the
// status of an error that says nothing about itself.
func toError(err error, refused int) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		if e.Status != 0 {
			return e
		}
		return &Error{Status: refused, Message: e.Message, Problems: e.Problems, Pool: e.Pool}
	}
	e := &Error{Status: refused, Message: err.Error()}
	if p, ok := errors.AsType[*config.Problems](err); ok {
		e.Message = fmt.Sprintf("%d problems in %s", len(p.List), p.List[0].File)
		if len(p.List) == 1 {
			e.Message = "a problem in " + p.List[0].File
		}
		for _, problem := range p.List {
			e.Problems = append(e.Problems, problem.String())
		}
	}
	switch {
	case errors.Is(err, ErrUnknownPool):
		e.Status = http.StatusNotFound
	case errors.Is(err, ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e.Status = http.StatusServiceUnavailable
	}
	return e
}
