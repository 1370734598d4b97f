// Command chat is a chat room without dependencies: the page speaks WebSocket,
// and anybody may listen by server-sent events:
//
//	curl -N http://localhost:8080/events
package main

import (
	_ "embed"
	"fmt"
	"log"
	"net/http"
	"strings"
	"sync"

	"aerie/app"
)

//go:embed page.html
var page []byte

// room hands what one says to all who listen.
type room struct {
	mu        sync.Mutex // guards below
	listeners map[chan string]bool
}

func main() {
	r := &room{listeners: map[chan string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) }) // who is gone needs no page
	mux.HandleFunc("GET /events", r.events)
	mux.HandleFunc("GET /ws", r.webSocket)
	if err := app.Run(mux); err != nil {
		log.Fatal(err)
	}
}

// join returns a channel of all that is said from now on; leave ends it.
func (r *room) join() (c chan string, leave func()) {
	c = make(chan string, 16)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners[c] = true
	return c, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.listeners, c)
	}
}

// say tells everybody; who is 16 messages behind misses this one.
func (r *room) say(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.listeners {
		select {
		case c <- text:
		default:
		}
	}
}

func (r *room) events(w http.ResponseWriter, req *http.Request) {
	said, leave := r.join()
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	for rc.Flush() == nil { // what was written before, at first the head
		select {
		case text := <-said:
			fmt.Fprintf(w, "data: %s\n\n", strings.ReplaceAll(text, "\n", "\ndata: "))
		case <-req.Context().Done():
			return
		}
	}
}

func (r *room) webSocket(w http.ResponseWriter, req *http.Request) {
	ws, err := accept(w, req)
	if err != nil {
		log.Print("chat: ", err)
		return
	}
	said, leave := r.join()
	gone := make(chan struct{})
	var speaker sync.WaitGroup
	speaker.Go(func() {
		for {
			select {
			case text := <-said:
				if ws.send(text) != nil {
					return
				}
			case <-gone:
				return
			}
		}
	})
	for {
		text, err := ws.receive()
		if err != nil {
			break
		}
		r.say(text)
	}
	close(gone)
	leave()
	_ = ws.conn.Close() // ends a send in progress too
	speaker.Wait()
}
