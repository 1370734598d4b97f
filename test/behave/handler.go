// Package behave is the application of the behavioural suite: one route for
// each thing that a handler can do or see. It is written for plain net/http and
// says what it saw; package suite judges.
//
//	/facts...            JSON of all that the handler sees of the request (Facts)
//	/env?name=           a variable of the process's environment
//	/count               requests so far, those for /count left out
//	/mem?reset=1         JSON of the process's memory (Memory); reset forgets the peak
//	/io                  JSON of the process's read and write calls (IO)
//	/pid /exit?code= /stop?signal=
//	/healthz             200, or 503 after /healthz/sick or with BEHAVE_SICK in the environment
//	/grow?n=             keeps n bytes more of memory, all of it written to
//	/leave?n=            starts n processes in sessions of their own: Left
//	/reach?path=         JSON of what the process may do with a path (Reach)
//	/id                  rawhttp.Answer, for rawhttp.Load
//	/echo?flush=1        the body back, full duplex
//	/sink                JSON of length and sha256 of the body (Sum)
//	/big?n=&length=1     n bytes of the test pattern, chunked or with a length
//	/file?n=&copy=1      the same from a file; copy keeps sendfile out
//	/chunked             three pieces, flushed one by one
//	/trailers            body and trailers back, as trailers
//	/early413            413 without reading the body
//	/status?c=           an answer with that status
//	/panic /panic-after-write
//	/1xx                 103 Early Hints, then 200
//	/deadline?op=read    the body is read under a deadline of 50 ms: "timeout"
//	/deadline?op=write&id=, /deadline/seen?id=   the same for writing
//	/slow?d=             answers after d, or not when the client goes
//	/hang?id=&flush=1    until the client is gone; /hang/begun?id= and /hang/seen?id= wait for it
//	/sse?id=             an event for each /sse/next?id=&data=, until data=end
//	/ws                  WebSocket echo
//	/hijack              raw echo of lines after an upgrade, until "bye"
//
// What one request does and another one asks for is kept in the process, so a
// pool for the suite has one worker.
package behave

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"aerie/internal/rawhttp"
)

// Handler returns a new instance of the app, at the root of its site.
func Handler() http.Handler { return New(func(*http.Request) string { return "" }) }

// New returns a new instance of the app. pathBase tells what was taken off the
// front of r.URL.Path. New must be called before app.Run, which takes
// AERIE_GENERATION out of the environment.
func New(pathBase func(*http.Request) string) http.Handler {
	a := &behaviour{pathBase: pathBase, tags: map[string]string{}}
	for field, name := range map[string]string{"X-Generation": "AERIE_GENERATION", "X-Version": "BEHAVE_VERSION"} {
		if v := os.Getenv(name); v != "" {
			a.tags[field] = v
		}
	}
	a.sick.Store(os.Getenv("BEHAVE_SICK") != "")
	a.routes = map[string]http.HandlerFunc{
		"facts": a.facts, "env": env, "count": a.count, "mem": mem, "io": ioCalls,
		"healthz": a.healthz, "healthz/sick": a.sicken,
		"pid": pid, "reach": reach, "grow": a.grow, "leave": leave, "exit": exit, "stop": stop, "id": a.id,
		"echo": echo, "sink": sink, "big": big, "file": file, "chunked": chunked, "trailers": trailers,
		"early413": early413, "status": status, "panic": panics, "panic-after-write": panicsLater,
		"1xx": earlyHints, "deadline": a.deadline, "deadline/seen": a.await("deadline"),
		"slow": slow, "hang": a.hang, "hang/begun": a.await("begun"), "hang/seen": a.await("hang"),
		"sse": a.sse, "sse/next": a.sseNext, "ws": ws, "hijack": hijack,
	}
	return a
}

type behaviour struct {
	pathBase func(*http.Request) string
	routes   map[string]http.HandlerFunc
	tags     map[string]string // fields of each answer to /id
	requests atomic.Int64
	sick     atomic.Bool
	events   mailboxes
	tokens   mailboxes

	mu    sync.Mutex // guards below
	grown [][]byte
}

// ServeHTTP routes by itself: http.ServeMux would redirect requests whose path
// it finds unclean, which the app is there to show.
func (a *behaviour) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	name, _, _ := strings.Cut(path, "/")
	if name != "count" {
		a.requests.Add(1)
	}
	h, ok := a.routes[path]
	if !ok {
		h, ok = a.routes[name]
	}
	if !ok {
		http.Error(w, "behave: no route "+strconv.Quote(path), http.StatusNotFound)
		return
	}
	h(w, r)
}

func (a *behaviour) count(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, a.requests.Load())
}

func (a *behaviour) healthz(w http.ResponseWriter, _ *http.Request) {
	if a.sick.Load() {
		http.Error(w, "sick", http.StatusServiceUnavailable)
	}
}

func (a *behaviour) sicken(http.ResponseWriter, *http.Request) { a.sick.Store(true) }

func (a *behaviour) id(w http.ResponseWriter, r *http.Request) {
	for field, v := range a.tags {
		w.Header().Set(field, v)
	}
	rawhttp.Answer(w, r)
}

// number reads a parameter of the query that must be a number, or there is none.
func number(r *http.Request, name string) int64 {
	v := r.URL.Query().Get(name)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		panic(fmt.Errorf("behave: parameter %s: %w", name, err))
	}
	return n
}
