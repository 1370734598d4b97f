package behave

import (
	"fmt"
	"net"
	"net/http"
	"os"
)

// Memory is what /mem answers, in bytes.
type Memory struct {
	RSS  int64 // now
	Peak int64 // the highest since the start or the last reset
}

// IO is what /io answers: how many calls the process has made.
type IO struct{ Reads, Writes int64 }

func pid(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, os.Getpid()) }

// Reach is what /reach answers: why the process may not do that with a path, ""
// if it may.
type Reach struct {
	Open string // a file, to read
	List string // a folder
	Dial string // a unix socket
}

func reach(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Query().Get("path")
	said := func(err error) string {
		if err != nil {
			return err.Error()
		}
		return ""
	}
	var answer Reach
	f, err := os.Open(path)
	if answer.Open = said(err); err == nil {
		_ = f.Close() // only opened
	}
	_, err = os.ReadDir(path)
	answer.List = said(err)
	c, err := net.Dial("unix", path)
	if answer.Dial = said(err); err == nil {
		_ = c.Close() // nothing was written
	}
	answerJSON(w, answer)
}

func (a *behaviour) grow(w http.ResponseWriter, r *http.Request) {
	b := make([]byte, number(r, "n"))
	for i := 0; i < len(b); i += 512 {
		b[i] = 1
	}
	a.mu.Lock()
	a.grown = append(a.grown, b)
	a.mu.Unlock()
	fmt.Fprintln(w, len(b))
}

// Left is what /leave answers: the processes that were started, each of which
// sleeps for an hour, and why the next one was not, "" if all were.
type Left struct {
	Pids []int
	Err  string
}

func leave(w http.ResponseWriter, r *http.Request) {
	left := Left{Pids: []int{}}
	for range number(r, "n") {
		pid, err := sleeper()
		if err != nil {
			left.Err = err.Error()
			break
		}
		left.Pids = append(left.Pids, pid)
	}
	answerJSON(w, left)
}

// exit ends the process in the middle of the request.
func exit(_ http.ResponseWriter, r *http.Request) { os.Exit(int(number(r, "code"))) }

// stop sends the process a signal by its name, and answers if it still can.
func stop(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("signal")
	sig, ok := signals[name]
	if !ok {
		http.Error(w, fmt.Sprintf("behave: no signal %q", name), http.StatusBadRequest)
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(sig)
	}
	if err != nil {
		http.Error(w, "behave: "+err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, name)
}

func mem(w http.ResponseWriter, r *http.Request) {
	m, err := memory(r.URL.Query().Has("reset"))
	if err != nil {
		http.Error(w, "behave: "+err.Error(), http.StatusInternalServerError)
		return
	}
	answerJSON(w, m)
}

func ioCalls(w http.ResponseWriter, _ *http.Request) {
	c, err := calls()
	if err != nil {
		http.Error(w, "behave: "+err.Error(), http.StatusInternalServerError)
		return
	}
	answerJSON(w, c)
}
