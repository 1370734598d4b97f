package accesslog

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"aerie/module"
)

// recorder is the response writer that the handler gets. It is not pooled: a
// goroutine that an application has forgotten would write into the answer of
// somebody else's request.
type recorder struct {
	w     http.ResponseWriter
	body  *body // nil: the request has none
	began time.Time
	id    requestID

	// The request as it came; handlers may change theirs.
	method, uri, host, proto, client, referer, userAgent string

	status     int // sent to the client; 0 is none yet
	bytesOut   int64
	hijacked   bool
	unanswered bool // the connection ends without an answer
	quiet      bool // logged by another process, unless there is a problem
	problem    module.Problem
	generation int // that answered; 0 is the module's
}

var (
	_ module.Noter    = (*recorder)(nil)
	_ http.Flusher    = (*recorder)(nil)
	_ http.Hijacker   = (*recorder)(nil)
	_ io.ReaderFrom   = (*recorder)(nil)
	_ io.StringWriter = (*recorder)(nil)
)

func newRecorder(w http.ResponseWriter, r *http.Request, began time.Time) *recorder {
	rec := &recorder{
		w: w, began: began, id: requestID{rand.Uint64(), rand.Uint64()},
		method: r.Method, uri: r.RequestURI, host: r.Host, proto: r.Proto, client: r.RemoteAddr,
		referer: first(r.Header["Referer"]), userAgent: first(r.Header["User-Agent"]),
	}
	if r.Body != nil && r.Body != http.NoBody {
		rec.body = &body{ReadCloser: r.Body}
		r.Body = rec.body
	}
	return rec
}

// first is the value of a field without the cost of http.Header.Get, which
// looks at the name first.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// outcome is the status that the client saw and, if that is the problem's, its
// sub-status.
func (rec *recorder) outcome() (status, substatus int) {
	status = rec.status
	switch {
	case status != 0:
	case rec.hijacked:
		status = http.StatusSwitchingProtocols
	case rec.problem.Status != 0:
		status = rec.problem.Status
	case !rec.unanswered:
		status = http.StatusOK // what net/http sends for a handler that writes nothing
	}
	if status == rec.problem.Status {
		substatus = rec.problem.SubStatus
	}
	return status, substatus
}

func (rec *recorder) bytesIn() int64 {
	if rec.body == nil {
		return 0
	}
	return rec.body.n.Load()
}

// Note keeps p for the line. The last one stands.
func (rec *recorder) Note(p module.Problem) { rec.problem = p }

// Quiet implements module.Noter.
func (rec *recorder) Quiet() { rec.quiet = true }

// RequestID is the id in the line: 32 hexadecimal digits.
func (rec *recorder) RequestID() string { return string(rec.id.append(nil)) }

// Answered notes which generation of the pool answers the request. The host
// calls it where it has chosen one; in a worker process all requests have the
// generation of Options. Without an access log around w it does nothing.
func Answered(w http.ResponseWriter, generation int) {
	if rec, ok := module.NoterOf(w).(*recorder); ok {
		rec.generation = generation
	}
}

// Unwrap is for http.ResponseController.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.w }

// Header is the response's header.
func (rec *recorder) Header() http.Header { return rec.w.Header() }

// WriteHeader sends the head. Informational ones are not what the line shows.
func (rec *recorder) WriteHeader(status int) {
	rec.w.WriteHeader(status)
	if status >= 200 || status == http.StatusSwitchingProtocols {
		rec.sent(status)
	}
}

// Write sends a part of the body.
func (rec *recorder) Write(p []byte) (int, error) {
	n, err := rec.w.Write(p)
	rec.wrote(int64(n))
	return n, err
}

// WriteString sends a part of the body.
func (rec *recorder) WriteString(s string) (int, error) {
	n, err := io.WriteString(rec.w, s)
	rec.wrote(int64(n))
	return n, err
}

// ReadFrom sends a part of the body: by the response writer's own ReadFrom,
// which is sendfile for a file, if it has one.
func (rec *recorder) ReadFrom(src io.Reader) (n int64, err error) {
	if to, ok := rec.w.(io.ReaderFrom); ok {
		n, err = to.ReadFrom(src)
	} else {
		n, err = io.Copy(struct{ io.Writer }{rec.w}, src)
	}
	rec.wrote(n)
	return n, err
}

// Flush sends what is buffered.
func (rec *recorder) Flush() { _ = rec.FlushError() } // http.Flusher has no error to return

// FlushError sends what is buffered. http.ResponseController calls it.
func (rec *recorder) FlushError() error {
	err := http.NewResponseController(rec.w).Flush()
	if err == nil {
		rec.sent(http.StatusOK)
	}
	return err
}

// Hijack gives the connection to the caller, unwrapped.
func (rec *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(rec.w).Hijack()
	rec.hijacked = rec.hijacked || err == nil
	return conn, rw, err
}

// wrote counts body bytes; those of an answer to HEAD are not sent.
func (rec *recorder) wrote(n int64) {
	rec.sent(http.StatusOK)
	if rec.method != http.MethodHead {
		rec.bytesOut += n
	}
}

// sent keeps the first status.
func (rec *recorder) sent(status int) {
	if rec.status == 0 && !rec.hijacked {
		rec.status = status
	}
}

// body counts what is read of a request's body. The counter is atomic because
// a body is often read by another goroutine than the handler's.
type body struct {
	io.ReadCloser
	n atomic.Int64
}

// Read reads and counts.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// requestID is random, so that nobody can tell from it how many requests there
// are; it need not be secret.
type requestID [2]uint64

func (id requestID) append(b []byte) []byte {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], id[0])
	binary.BigEndian.PutUint64(raw[8:], id[1])
	return hex.AppendEncode(b, raw[:])
}
