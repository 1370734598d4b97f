package behave

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"aerie/internal/rawhttp"
)

// mailboxes hand strings from one request to another by name.
type mailboxes struct {
	mu    sync.Mutex // guards below
	boxes map[string]chan string
}

func (m *mailboxes) box(name string) chan string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.boxes == nil {
		m.boxes = map[string]chan string{}
	}
	if m.boxes[name] == nil {
		m.boxes[name] = make(chan string, 1)
	}
	return m.boxes[name]
}

// put leaves s in the box, or drops it if there is something in it already.
func (m *mailboxes) put(name, s string) {
	select {
	case m.box(name) <- s:
	default:
	}
}

// await answers what was put in the box of that kind and the query's id; it
// waits for it.
func (a *behaviour) await(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s := <-a.events.box(kind + " " + r.URL.Query().Get("id")):
			fmt.Fprint(w, s)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

func (a *behaviour) hang(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("id")
	// The server looks out for the client's end only once the body is read.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		a.events.put("hang "+id, "body: "+err.Error())
		panic(http.ErrAbortHandler)
	}
	if r.URL.Query().Has("flush") {
		fmt.Fprintln(w, "begun")
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	a.events.put("begun "+id, "begun")
	<-r.Context().Done()
	a.events.put("hang "+id, context.Cause(r.Context()).Error())
}

func slow(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.URL.Query().Get("d"))
	if err != nil {
		http.Error(w, "behave: "+err.Error(), http.StatusBadRequest)
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		fmt.Fprintln(w, "slow")
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

func (a *behaviour) sse(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	rc := http.NewResponseController(w)
	if err := rc.Flush(); err != nil { // the head goes out before the first event
		http.Error(w, "behave: flush: "+err.Error(), http.StatusInternalServerError)
		return
	}
	tokens := a.tokens.box(r.URL.Query().Get("id"))
	for n := 1; ; n++ {
		select {
		case data := <-tokens:
			if data == "end" {
				return
			}
			if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", n, data); err != nil {
				panic(http.ErrAbortHandler)
			}
			if err := rc.Flush(); err != nil {
				panic(http.ErrAbortHandler)
			}
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

func (a *behaviour) sseNext(w http.ResponseWriter, r *http.Request) {
	select {
	case a.tokens.box(r.URL.Query().Get("id")) <- r.URL.Query().Get("data"):
		w.WriteHeader(http.StatusNoContent)
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

const deadlineAfter = 50 * time.Millisecond

func (a *behaviour) deadline(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	if r.URL.Query().Get("op") == "read" {
		if err := rc.SetReadDeadline(time.Now().Add(deadlineAfter)); err != nil {
			http.Error(w, "behave: "+err.Error(), http.StatusInternalServerError)
			return
		}
		_, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, deadlineResult(err))
		return
	}
	err := rc.SetWriteDeadline(time.Now().Add(deadlineAfter))
	for err == nil { // the client does not read
		_, err = io.Copy(w, rawhttp.PatternReader(1<<20))
	}
	a.events.put("deadline "+r.URL.Query().Get("id"), deadlineResult(err))
	panic(http.ErrAbortHandler)
}

func deadlineResult(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "timeout"
	}
	return fmt.Sprintf("%v (%T)", err, err)
}
