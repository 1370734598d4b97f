package behave

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"aerie/internal/rawhttp"
)

// Sum is what /sink answers.
type Sum struct {
	N      int64
	SHA256 string
}

func sink(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "behave: body: "+err.Error(), http.StatusBadRequest)
		return
	}
	answerJSON(w, Sum{n, hex.EncodeToString(h.Sum(nil))})
}

// echo sends the body back while it comes. A client that breaks off sees the
// answer broken off too.
func echo(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	if err := rc.EnableFullDuplex(); err != nil {
		http.Error(w, "behave: full duplex: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	flush := r.URL.Query().Has("flush")
	if flush && rc.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				panic(http.ErrAbortHandler)
			}
			if flush && rc.Flush() != nil {
				panic(http.ErrAbortHandler)
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

func big(w http.ResponseWriter, r *http.Request) {
	n := number(r, "n")
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.URL.Query().Has("length") {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	if _, err := io.Copy(w, rawhttp.PatternReader(n)); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func file(w http.ResponseWriter, r *http.Request) {
	f, err := os.CreateTemp("", "behave-*.bin")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() {
		_ = f.Close()           // nothing is lost
		_ = os.Remove(f.Name()) // a temporary file
	}()
	if _, err := io.Copy(f, rawhttp.PatternReader(number(r, "n"))); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if r.URL.Query().Has("copy") {
		w = struct{ http.ResponseWriter }{w} // without ReadFrom
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}

func chunked(w http.ResponseWriter, _ *http.Request) {
	for i := range 3 {
		if _, err := fmt.Fprintf(w, "piece %d\n", i); err != nil {
			panic(http.ErrAbortHandler)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// trailers echoes the body, and each trailer X as X-Echo-X; X-Sum is announced
// as a trailer, the others are not.
func trailers(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Sum")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "behave: body: "+err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write(body); err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("X-Sum", fmt.Sprintf("%x", sha256.Sum256(body)))
	for name, values := range r.Trailer {
		w.Header()[http.TrailerPrefix+"X-Echo-"+name] = values
	}
}

func early413(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "too large, and not read", http.StatusRequestEntityTooLarge)
}

func status(w http.ResponseWriter, r *http.Request) {
	c := int(number(r, "c"))
	w.Header().Set("X-Status", strconv.Itoa(c))
	if c == http.StatusNotModified {
		w.Header().Set("Etag", `"behave"`)
	}
	w.WriteHeader(c)
	if c != http.StatusNoContent && c != http.StatusNotModified {
		fmt.Fprintf(w, "status %d\n", c)
	}
}

func earlyHints(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Del("Link")
	fmt.Fprintln(w, "after the hints")
}

func panics(http.ResponseWriter, *http.Request) {
	panic("behave: asked to panic")
}

func panicsLater(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "begun")
	if err := http.NewResponseController(w).Flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
	panic("behave: asked to panic after the answer had begun")
}
