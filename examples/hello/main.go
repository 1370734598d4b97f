// Command hello is a handler as one writes it for plain net/http. All that makes
// it an Aerie application is the last line of main.
package main

import (
	"cmp"
	"fmt"
	"log"
	"net/http"
	"os"

	"aerie/app"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", hello)
	mux.HandleFunc("GET /hello/{name}", hello)

	// Before: log.Fatal(http.ListenAndServe(":8080", mux))
	if err := app.Run(mux); err != nil {
		log.Fatal(err)
	}
}

func hello(w http.ResponseWriter, r *http.Request) {
	greeting := cmp.Or(os.Getenv("GREETING"), "hello")
	name := cmp.Or(r.PathValue("name"), "world")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s, %s\nprocess %d answers %s\n", greeting, name, os.Getpid(), r.RemoteAddr)
}
