package behave

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// Facts is all that a handler sees of a request.
type Facts struct {
	Name             string // environment BEHAVE_NAME: which of several apps answers
	Pid              int
	RemoteAddr       string
	LocalAddr        string // http.LocalAddrContextKey
	TLS              bool
	Proto            string
	Method           string
	Host             string
	RequestURI       string
	Path             string
	RawQuery         string
	PathBase         string
	Header           http.Header
	ContentLength    int64
	TransferEncoding []string
	Close            bool
	Body             string // of up to 64 KiB

	// What the ResponseWriter is.
	Pusher, Hijacker, Flusher, ReaderFrom bool
}

func (a *behaviour) facts(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		http.Error(w, "behave: body: "+err.Error(), http.StatusBadRequest)
		return
	}
	f := Facts{
		Name: os.Getenv("BEHAVE_NAME"), Pid: os.Getpid(), RemoteAddr: r.RemoteAddr, TLS: r.TLS != nil,
		Proto: r.Proto, Method: r.Method, Host: r.Host, RequestURI: r.RequestURI, Path: r.URL.Path,
		RawQuery: r.URL.RawQuery, PathBase: a.pathBase(r), Header: r.Header, ContentLength: r.ContentLength,
		TransferEncoding: r.TransferEncoding, Close: r.Close, Body: string(body),
	}
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		f.LocalAddr = addr.String()
	}
	_, f.Pusher = w.(http.Pusher)
	_, f.Hijacker = w.(http.Hijacker)
	_, f.Flusher = w.(http.Flusher)
	_, f.ReaderFrom = w.(io.ReaderFrom)
	answerJSON(w, f)
}

func env(w http.ResponseWriter, r *http.Request) {
	value, ok := os.LookupEnv(r.URL.Query().Get("name"))
	if !ok {
		http.Error(w, "behave: not set", http.StatusNotFound)
		return
	}
	fmt.Fprint(w, value)
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(http.ErrAbortHandler)
	}
}
