// Command api keeps notes in memory and serves them as JSON. It works under any
// path of a site: the links that it makes begin with app.PathBase.
//
//	curl -d '{"text":"buy milk"}' http://localhost:8080/notes
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"strconv"
	"sync"

	"aerie/app"
)

// note is one note; ID is its place in the list, counted from 1.
type note struct {
	ID   int    `json:"id"`
	Text string `json:"text"`
	Link string `json:"link"`
}

type store struct {
	mu    sync.RWMutex // guards below
	notes []note
}

func main() {
	s := &store{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", index)
	mux.HandleFunc("GET /notes", s.list)
	mux.HandleFunc("POST /notes", s.add)
	mux.HandleFunc("GET /notes/{id}", s.show)
	err := app.Options{
		Handler: mux,
		Start:   func(context.Context) error { log.Print("ready to take notes"); return nil },
		Stop:    func(context.Context) error { log.Print("the notes are gone"); return nil },
	}.Run()
	if err != nil {
		log.Fatal(err)
	}
}

// index says what there is.
func index(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, map[string]string{"notes": app.PathBase(r) + "/notes"})
}

func (s *store) list(w http.ResponseWriter, r *http.Request) {
	s.mu.RLock()
	notes := append([]note{}, s.notes...)
	s.mu.RUnlock()
	for i := range notes {
		notes[i].Link = link(r, notes[i].ID)
	}
	answer(w, http.StatusOK, notes)
}

func (s *store) add(w http.ResponseWriter, r *http.Request) {
	var n note
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&n); err != nil || n.Text == "" {
		http.Error(w, `want {"text": "..."}`, http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	n.ID = len(s.notes) + 1
	s.notes = append(s.notes, n)
	s.mu.Unlock()
	n.Link = link(r, n.ID)
	w.Header().Set("Location", n.Link)
	answer(w, http.StatusCreated, n)
}

func (s *store) show(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err != nil || id < 1 || id > len(s.notes) {
		http.NotFound(w, r)
		return
	}
	n := s.notes[id-1]
	n.Link = link(r, id)
	answer(w, http.StatusOK, n)
}

// link is the path of a note as the client has to ask for it.
func link(r *http.Request, id int) string { return fmt.Sprintf("%s/notes/%d", app.PathBase(r), id) }

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print("answer: ", err) // the client is gone
	}
}
