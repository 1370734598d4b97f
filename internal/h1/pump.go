package h1

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// pumpSize is how much of a request body is read at once.
	pumpSize = 32 << 10

	// pumpGrace is how long a body that is nearly sent may go on after the
	// response is complete, so that two connections need not be closed.
	pumpGrace = 20 * time.Millisecond

	// pumpSmall is how much may be missing of such a body; net/http itself
	// reads as much on behalf of a handler that did not.
	pumpSmall = 256 << 10
)

// outcome is how the sending of a request body ended.
type outcome int

const (
	sent        outcome = iota // whole
	readFailed                 // the client's side failed
	writeFailed                // the upstream took no more
	stopped                    // the response was over first
)

// pump sends one request body to the upstream. Its goroutine is owned by the
// exchange, which calls stop before it returns.
type pump struct {
	x    *exchange
	c    *conn
	body io.Reader
	done chan struct{} // closed when the goroutine is about to end

	stopping atomic.Bool
	readAll  atomic.Bool  // nothing more will be asked of the client
	left     atomic.Int64 // bytes not yet read; -1 if unknown

	outcome outcome // valid once done is closed
	err     error   // likewise
}

// startPump starts sending the request's body on c.
func (x *exchange) startPump(c *conn) {
	r := x.req.Inbound
	rc := http.NewResponseController(x.w)
	_ = rc.EnableFullDuplex() // a writer that does not know it is one that needs no permission (HTTP/2)
	if x.expecting && r.ProtoMajor == 1 {
		// Said here and not by the first read of the body: that would
		// write to the client at the same time as this goroutine.
		x.w.WriteHeader(http.StatusContinue)
	}
	x.expecting = false
	p := &pump{x: x, c: c, body: r.Body, done: make(chan struct{})}
	p.left.Store(r.ContentLength)
	x.pump = p
	c.phase.CompareAndSwap(requestSent, sendingRequest) // after the upstream's 100
	go p.run()
}

// pumpBuffer returns a buffer for what goes to the upstream. It belongs back
// into u.pumps.
func (u *Upstream) pumpBuffer() *[]byte {
	if buf, ok := u.pumps.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, pumpSize)
	return &buf
}

func (p *pump) run() {
	defer close(p.done)
	defer p.c.sent()
	buf := p.x.u.pumpBuffer()
	defer p.x.u.pumps.Put(buf)

	if p.left.Load() >= 0 {
		p.outcome, p.err = p.sendLength(*buf)
	} else {
		p.outcome, p.err = p.sendChunks(*buf)
	}
	switch {
	case p.outcome == readFailed && p.stopping.Load():
		p.outcome = stopped // by interrupt
	case p.outcome == readFailed:
		p.c.abort() // wakes the exchange, which waits for a response that cannot come
	}
}

// sendLength sends a body of known length.
func (p *pump) sendLength(buf []byte) (outcome, error) {
	for left := p.left.Load(); ; {
		if p.stopping.Load() {
			return stopped, nil
		}
		n, err := p.body.Read(buf)
		left -= int64(n)
		p.left.Store(left)
		switch {
		case left < 0:
			return readFailed, errors.New("the request body is longer than its Content-Length")
		case err == io.EOF && left > 0:
			return readFailed, io.ErrUnexpectedEOF
		case err != nil && err != io.EOF:
			return readFailed, err
		}
		if err == io.EOF {
			p.readAll.Store(true)
		}
		if n > 0 {
			if _, werr := p.c.Write(buf[:n]); werr != nil {
				return writeFailed, werr
			}
		}
		if err == io.EOF {
			return sent, nil
		}
	}
}

// sendChunks sends a body of unknown length and its trailers.
func (p *pump) sendChunks(buf []byte) (outcome, error) {
	const room = len("ffffffff\r\n")
	var line [room]byte
	for {
		if p.stopping.Load() {
			return stopped, nil
		}
		n, err := p.body.Read(buf[room : len(buf)-2])
		if err != nil && err != io.EOF {
			return readFailed, err
		}
		if err == io.EOF {
			p.readAll.Store(true)
		}
		if n > 0 {
			size := append(strconv.AppendUint(line[:0], uint64(n), 16), "\r\n"...)
			start := room - len(size)
			copy(buf[start:], size)
			copy(buf[room+n:], "\r\n")
			if _, werr := p.c.Write(buf[start : room+n+2]); werr != nil {
				return writeFailed, werr
			}
		}
		if err == io.EOF {
			if _, werr := p.c.Write(p.appendTrailers(buf[:0])); werr != nil {
				return writeFailed, werr
			}
			return sent, nil
		}
	}
}

// appendTrailers appends the last chunk and the trailers that came with the
// body. Those that may not be sent are left out.
func (p *pump) appendTrailers(b []byte) []byte {
	b = append(b, "0\r\n"...)
	trailer := p.x.req.Inbound.Trailer
	for _, name := range p.x.trailerNames() {
		for _, v := range trailer[name] {
			if validValue(v) {
				b = append(b, name...)
				b = append(b, ": "...)
				b = append(b, v...)
				b = append(b, "\r\n"...)
			}
		}
	}
	return append(b, "\r\n"...)
}

// stop ends the sending and waits for the goroutine. It reports whether the
// body was sent whole. If finish is set, a body that is nearly sent gets a
// moment to end by itself.
func (p *pump) stop(finish bool) bool {
	if finish && p.soon() {
		grace := time.NewTimer(pumpGrace)
		select {
		case <-p.done:
		case <-grace.C:
		}
		grace.Stop()
	}
	select {
	case <-p.done:
	default:
		p.interrupt()
	}
	if !p.readAll.Load() {
		closeAfterResponse(p.x.w)
	}
	return p.outcome == sent
}

// soon reports whether the sending may be expected to end in a moment.
func (p *pump) soon() bool { return p.readAll.Load() || p.left.Load() <= pumpSmall }

// interrupt makes the goroutine's Write and Read return, and waits for it. It
// costs the upstream's connection; and the client's, if the goroutine is
// reading from it: net/http takes every failed read for the end of the client.
// Whoever set a deadline of their own at the same moment is overruled by doing
// it again.
func (p *pump) interrupt() {
	p.stopping.Store(true)
	p.c.abort()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if !p.readAll.Load() {
			closeAfterResponse(p.x.w)
			if http.NewResponseController(p.x.w).SetReadDeadline(time.Unix(1, 0)) != nil {
				_ = p.x.req.Inbound.Body.Close() // no deadlines here: closing is the only other way, and its error tells nothing
			}
		}
		select {
		case <-p.done:
			return
		case <-again.C:
		}
	}
}

// closeAfterResponse has net/http close the client's connection after the
// response, because there is unread body on it. With full duplex it does not
// find out by itself, and would read the rest of the body as the next request.
// MaxBytesReader is its documented way to say so at any time; it needs the
// server's own writer. On HTTP/2 there is nothing to do.
func closeAfterResponse(w http.ResponseWriter) {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = u.Unwrap()
	}
	one := http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0)
	_, _ = one.Read(make([]byte, 1)) // its error is the point
}
