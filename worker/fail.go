package worker

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"html"
	"net/http"
	"strconv"

	"aerie/module"
)

// Fail answers a request that its application did not answer: a short, honest
// page with the status, the sub-status where IIS has one, and the request id
// under which the log has the reason. The reason itself never reaches the
// client. It must be called before anything of the response was written; of the
// header it keeps only Connection.
func Fail(w http.ResponseWriter, p module.Problem) {
	id := ""
	if n := module.NoterOf(w); n != nil {
		n.Note(p)
		id = n.RequestID()
	}
	if id == "" {
		id = NewRequestID()
	}
	code := strconv.Itoa(p.Status)
	if p.SubStatus > 0 {
		code += "." + strconv.Itoa(p.SubStatus)
	}
	h := w.Header()
	closing := h.Get("Connection")
	clear(h)
	if closing != "" {
		h.Set("Connection", closing)
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Request-Id", id)
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	body := fmt.Sprintf(failPage, code, html.EscapeString(http.StatusText(p.Status)), id)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write([]byte(body)) // a client that is gone does not need the page
}

const failPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>%[1]s %[2]s</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:4rem auto;max-width:36rem;padding:0 1rem;color:#222}
code{color:#666}</style>
<h1>%[1]s %[2]s</h1>
<p>The server could not give you this page. If it goes on, tell its operator this request id:</p>
<p><code>%[3]s</code></p>
</html>
`

// NewRequestID returns a new random request id: 32 hexadecimal digits.
func NewRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
