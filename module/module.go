// Package module holds the pipeline: the ordered request processing steps in
// front of an application. Each module is one folder below this one.
//
// A module wraps the handler behind it. It runs for every request of its
// application, in the host or in a worker process alike, and must not keep
// the request or the response writer after ServeHTTP has returned.
package module

import "net/http"

// Module is one step of the pipeline.
type Module interface {
	// Name is the module's name in configuration and logs.
	Name() string
	// Wrap returns a handler that does the module's work and calls next.
	Wrap(next http.Handler) http.Handler
}

// Chain puts modules in front of next, the first one outermost. With no
// modules it returns next itself.
func Chain(next http.Handler, modules ...Module) http.Handler {
	for i := len(modules) - 1; i >= 0; i-- {
		next = modules[i].Wrap(next)
	}
	return next
}

// Problem is why a request was not answered by its application.
type Problem struct {
	Status     int    // HTTP status
	SubStatus  int    // IIS sub-status, 0 if there is none: 3 in 502.3
	Reason     string // for the log and the operator; the client never sees it
	RetryAfter int    // seconds for Retry-After; 0 sends none
}

// Noter is implemented by response writers that want to know about problems,
// so that the access log shows the sub-status and the reason.
type Noter interface {
	Note(Problem)
	// Quiet says that another process logs this request, unless a problem is
	// noted.
	Quiet()
	// RequestID is the id under which the log knows this request.
	RequestID() string
}

// NoterOf returns the Noter in w's chain of Unwrap methods, or nil.
func NoterOf(w http.ResponseWriter) Noter {
	for {
		if n, ok := w.(Noter); ok {
			return n
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return nil
		}
		w = u.Unwrap()
	}
}
