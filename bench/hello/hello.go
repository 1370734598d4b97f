// Package hello is the application that every server in the benchmark serves.
package hello

import (
	"io"
	"net/http"
)

// Path is where the answer is.
const Path = "/hello"

// Body and ContentType are the answer.
const (
	Body        = "hello, world\n"
	ContentType = "text/plain; charset=utf-8"
)

// Handler answers Path. It is an http.Handler as one writes it for plain
// net/http.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", ContentType)
		_, _ = io.WriteString(w, Body) // the client is gone: the load generator counts it
	})
	return mux
}
