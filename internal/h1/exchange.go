package h1

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"time"
)

const (
	readBuffer = 32 << 10 // of each exchange, for the response
	headBuffer = 4 << 10  // of each exchange, for the request's head
	maxInterim = 100      // 1xx responses before the final one
)

// exchange is the state of one request and its response. It is pooled: nothing
// that outlives Exchange may refer to it.
type exchange struct {
	u   *Upstream
	w   http.ResponseWriter
	req *Request

	out       []byte // the request's head, and its body if that is buffered
	upgrade   string // protocols asked for, "" if none
	expecting bool   // the body waits for the upstream's 100
	streaming bool   // the body is for a pump to send

	conn    *conn
	pump    *pump // nil until the body is being sent
	written int   // bytes of out that went to conn
	heard   bool  // conn has sent something

	base       []byte // the read buffer that is pooled
	buf        []byte // base, or a larger one for a long head
	start, end int    // buf[start:end] was read and not yet used
	head       head

	answered  bool // the response's status was given to w
	unflushed bool // something was given to w since its last flush
}

// Exchange sends req to the upstream and writes the response to w. It returns
// nil when the whole response was given to w, or an upgraded connection has
// ended; otherwise an *Error. If nothing of the response was given to w, the
// caller may write one of its own; if Error.Answered is set it must end the
// client's connection by panic(http.ErrAbortHandler).
//
// When the request's context ends, the upstream is told as the client has told
// us: its connection is half-closed. A client that has only half-closed its own
// still gets its answer; an upstream that goes on for lingerTimeout without one
// is cut off.
func (u *Upstream) Exchange(w http.ResponseWriter, req *Request) error {
	u.active.Add(1)
	defer u.active.Add(-1)
	x, ok := u.exchanges.Get().(*exchange)
	if !ok {
		x = &exchange{base: make([]byte, readBuffer), out: make([]byte, 0, headBuffer)}
	}
	x.u, x.w, x.req, x.buf = u, w, req, x.base
	defer u.release(x)
	if err := x.run(); err != nil {
		return err
	}
	return nil
}

// release makes x ready for another request.
func (u *Upstream) release(x *exchange) {
	fields := x.head.fields
	clear(fields)
	out := x.out[:0]
	if cap(out) > headBuffer+maxBuffered {
		out = make([]byte, 0, headBuffer)
	}
	*x = exchange{base: x.base, out: out, head: head{fields: fields[:0]}}
	u.exchanges.Put(x)
}

// run prepares the request and tries it once; and once more, on a new
// connection, if that can do no harm.
func (x *exchange) run() *Error {
	r := x.req.Inbound
	x.upgrade = wantsUpgrade(r)
	x.streaming = hasBody(r)
	buffered := x.streaming && x.req.Buffered && r.ContentLength > 0 && r.ContentLength <= maxBuffered
	x.expecting = wantsContinue(r) && !buffered
	if err := x.writeHead(); err != nil {
		return &Error{Stage: Refused, Err: err}
	}
	if buffered {
		x.streaming = false
		if err := x.bufferBody(); err != nil {
			closeAfterResponse(x.w)
			return x.blame(&Error{Stage: ClientBody, Err: err})
		}
	}
	c, err := x.u.take()
	if err == nil && c == nil {
		c, err = x.u.dial(r.Context())
	}
	if err != nil {
		return x.blame(&Error{Stage: Dial, Err: err})
	}
	failed := x.try(c)
	if failed == nil || !x.mayRetry(failed) {
		return failed
	}
	if c, err = x.u.dial(r.Context()); err != nil {
		return x.blame(&Error{Stage: Dial, Err: err})
	}
	x.u.retried.Add(1)
	x.written = 0
	return x.try(c)
}

// mayRetry reports whether the failed request may be sent again: the upstream
// may have closed its idle connection at the very moment, nothing of an answer
// was seen, the body is still at hand, and either nothing was sent or sending
// it twice means the same as once.
func (x *exchange) mayRetry(failed *Error) bool {
	return x.conn.reused && !x.heard && x.pump == nil &&
		(failed.Stage == Send || failed.Stage == Await) &&
		(x.written == 0 || idempotent(x.req.Inbound.Method))
}

// try sends the request on c and delivers the response. c is idle again or
// closed afterwards, and the body's goroutine has ended, even after a panic of
// the client's writer.
func (x *exchange) try(c *conn) (failed *Error) {
	x.conn = c
	c.phase.Store(sendingRequest)
	stop := context.AfterFunc(x.req.Inbound.Context(), c.leave)
	delivered := false
	defer func() {
		sent := x.pump == nil || x.pump.stop(delivered)
		untouched := stop() // leave has not run and will not
		x.settle(delivered && sent && untouched)
	}()
	if failed = x.roundTrip(); failed != nil {
		return x.blame(failed)
	}
	delivered = true
	return nil
}

// settle makes the connection idle if it can serve again, and closes it if not:
// after a failure, where the upstream says so, and when one side has sent more
// or less than it should have.
func (x *exchange) settle(sound bool) {
	unsent := x.streaming && x.pump == nil
	if sound && !unsent && x.start == x.end && !x.head.close && x.head.keep > 0 {
		x.u.put(x.conn, x.head.keep)
		return
	}
	x.conn.Close()
}

// roundTrip sends the request and delivers the response.
func (x *exchange) roundTrip() *Error {
	n, err := x.conn.Write(x.out)
	x.written = n
	if err != nil || !x.streaming || x.expecting {
		x.conn.sent() // otherwise the pump says so
	}
	if err != nil {
		// The upstream may have answered before it closed.
		if failed := x.await(); failed != nil {
			return &Error{Stage: Send, Err: err}
		}
		x.head.close = true
	} else {
		if x.streaming && !x.expecting {
			x.startPump(x.conn)
		}
		if failed := x.await(); failed != nil {
			return failed
		}
	}
	if x.head.status == http.StatusSwitchingProtocols {
		return x.tunnel()
	}
	return x.deliver()
}

// blame finds out whose fault a failure was: an upstream that breaks off may
// do so because of the client, or because we have closed its connection.
func (x *exchange) blame(failed *Error) *Error {
	failed.Answered = x.answered
	ctx := x.req.Inbound.Context()
	gone := ctx.Err() != nil // before stop, which may end the client's connection itself
	if p := x.pump; p != nil {
		p.stop(false)
		if p.outcome == readFailed && (!gone || errors.Is(p.err, os.ErrDeadlineExceeded)) {
			failed.Stage, failed.Err = ClientBody, p.err
			return failed
		}
		if p.outcome == writeFailed && failed.Stage == Await {
			failed.Stage, failed.Err = Send, p.err
		}
	}
	if gone && failed.Stage != ClientGone {
		failed.Stage, failed.Err = ClientGone, context.Cause(ctx)
	}
	return failed
}

// await reads response heads until the final one is in x.head. Those before it
// are passed on to the client.
func (x *exchange) await() *Error {
	for range maxInterim {
		if failed := x.readHead(); failed != nil {
			return failed
		}
		switch status := x.head.status; {
		case status == http.StatusSwitchingProtocols:
			return x.checkUpgrade()
		case status == http.StatusContinue:
			if x.expecting {
				x.startPump(x.conn)
			}
		case status < 200:
			x.inform()
		default:
			return nil
		}
	}
	return &Error{Stage: Malformed, Err: errors.New("too many interim responses")}
}

// inform passes an interim response on.
func (x *exchange) inform() {
	if !x.req.Inbound.ProtoAtLeast(1, 1) {
		return
	}
	h := x.w.Header()
	before := maps.Clone(h)
	x.head.applyTo(h)
	x.w.WriteHeader(x.head.status)
	clear(h)
	maps.Copy(h, before)
}

// readHead reads one response head.
func (x *exchange) readHead() *Error {
	limit := cmp.Or(x.u.MaxResponseHeader, defaultMaxResponseHeader)
	if x.expecting {
		if failed := x.awaitContinue(); failed != nil {
			return failed
		}
	}
	n, failed := x.section(headEnd, limit, Await)
	if failed != nil {
		return failed
	}
	s := string(x.buf[x.start : x.start+n])
	x.start += n
	if err := x.head.parse(s, cmp.Or(x.u.MaxHeaderCount, defaultMaxHeaderCount)); err != nil {
		stage := Malformed
		if err == errTooMany {
			stage = HeaderTooLarge
		}
		return &Error{Stage: stage, Err: err}
	}
	return nil
}

// awaitContinue waits for the upstream's first word about a body that the
// client holds back, and has it sent when there is none in time.
func (x *exchange) awaitContinue() *Error {
	if x.start < x.end {
		return nil
	}
	timeout := cmp.Or(x.u.ContinueTimeout, defaultContinueTimeout)
	_ = x.conn.SetReadDeadline(time.Now().Add(timeout)) // fails only on a closed connection: the read says so
	err := x.fill()
	_ = x.conn.SetReadDeadline(time.Time{}) // likewise
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.startPump(x.conn)
	default:
		return &Error{Stage: Await, Err: err}
	}
	return nil
}

// section reads until find says that the buffer begins with a whole section of
// at most limit bytes, and returns its length. A read that fails is a failure
// at stage.
func (x *exchange) section(find func(p []byte, from int) (int, error), limit int, stage Stage) (int, *Error) {
	for from := 0; ; {
		p := x.buf[x.start:x.end]
		n, err := find(p, from)
		switch {
		case err != nil:
			return 0, &Error{Stage: Malformed, Err: err}
		case n > limit || n == 0 && len(p) >= limit:
			return 0, &Error{Stage: HeaderTooLarge, Err: fmt.Errorf("longer than %d bytes", limit)}
		case n > 0:
			return n, nil
		}
		from = len(p)
		if err := x.fill(); err != nil {
			if err == io.EOF && from > 0 {
				err = io.ErrUnexpectedEOF
			}
			return 0, &Error{Stage: stage, Err: err}
		}
	}
}

// fill reads more from the upstream behind what is in the buffer, which it
// enlarges if it is full. When it has to wait, what was given to the client is
// flushed first.
func (x *exchange) fill() error {
	if x.start == x.end {
		x.start, x.end = 0, 0
	} else if x.end == len(x.buf) {
		if x.start == 0 {
			x.buf = append(bytes.Clone(x.buf), make([]byte, len(x.buf))...)
		} else {
			x.end = copy(x.buf, x.buf[x.start:x.end])
			x.start = 0
		}
	}
	n, err := x.read(x.buf[x.end:])
	x.end += n
	return err
}

// read reads at least one byte into p, or fails.
func (x *exchange) read(p []byte) (int, error) {
	if x.unflushed {
		if n, err := x.conn.readNow(p); n > 0 || err != nil {
			return n, err
		}
		x.flush()
	}
	n, err := x.conn.Read(p)
	if n > 0 {
		x.heard = true
		return n, nil
	}
	return 0, err
}

// flush sends to the client what it was given so far.
func (x *exchange) flush() {
	_ = http.NewResponseController(x.w).Flush() // a failed flush shows in the next write; one that is not possible is none
	x.unflushed = false
}
