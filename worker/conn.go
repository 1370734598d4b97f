package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errHandedBack ends net/http's work on a connection that now belongs to
// somebody else. net/http treats it like any read error: it closes its own
// descriptor. What it would say to the client before that is dropped by Write.
var errHandedBack = errors.New("worker: connection handed back")

// serverBuffer is the size of net/http's read buffer. Between requests
// net/http calls Read with all of it that holds no unread byte; selftest.go
// checks that this is so for the net/http that is linked in.
const serverBuffer = 4096

// maxUnread is how many bytes net/http may have read ahead while it waits for
// a request: it peeks for four, and reads again as long as it has fewer.
const maxUnread = 3

// phase is what net/http does with a connection.
//
//	new ---> head ----ConnState(active)----> serving ---ConnState(hijacked)---> hijacked
//	          ^                                 |
//	          | SetReadDeadline                 | ConnState(idle)
//	          |                                 v
//	        idle <----SetReadDeadline------- answered
//	          |
//	          +--- Read finds that the connection is wanted back ---> handed back
//
// The two SetReadDeadline calls are net/http's own and unconditional: the
// first starts the wait for the next request (four bytes of it), the second
// ends it. So "idle" is exactly the time in which net/http owns no byte of a
// request but those that it has read ahead. The first head of a connection is
// like it as long as no more bytes than those have come.
type phase uint8

const (
	phaseHead phase = iota
	phaseServing
	phaseAnswered
	phaseIdle
	phaseHijacked
	phaseGone
)

// Conn is a client's connection as the server sees it: the net.Conn that is
// given to net/http. It keeps track of the connection's phase, enforces what
// the heartbeat decides, and gives the connection back when it is asked to.
type Conn struct {
	raw     net.Conn
	server  *Server
	number  uint64 // the host's number of the connection; 0 where there is none
	local   netip.AddrPort
	remote  netip.AddrPort
	relay   bool  // carries requests that another process relays; not a client's own
	resumed bool  // was idle when it came, between two requests
	trusted bool  // the peer is in trusted_proxies
	last    route // of the request before; of the connection's own goroutine

	slot slot // of the request that runs now; the gate owns its fields

	// The write in progress, for the heartbeat: its bytes plus one, 0 for
	// none, and a number that changes with each write.
	writing  atomic.Int64
	writeSeq atomic.Uint32

	muted atomic.Bool // the client has had its last answer, whatever net/http would add

	mu       sync.Mutex // guards below
	phase    phase
	since    int64  // server clock at which phase began
	started  bool   // a byte of the request that is awaited or read has come
	fresh    bool   // no request head is complete yet
	given    int    // bytes that net/http was given while fresh
	reading  bool   // a Read that waits for the client is under way
	body     bool   // ... and it is one for a body
	wantBack bool   // hand back as soon as idle
	stays    bool   // it could not be handed back: its next answer is the last
	expired  expiry // the heartbeat has ended the wait, and why
	readDL   bool   // raw has a read deadline
	writeDL  bool   // raw has a write deadline
	prefix   []byte // bytes that came with the descriptor, not yet delivered
	tail     [maxUnread]byte
	ahead    int64 // bytes known to have come behind the head of this request
	scan     fieldScan
	bodySize int64 // bytes of the body read so far
	watch    watch // the heartbeat's notes

	// The read of one byte by which net/http notices, while a handler runs,
	// that the client is gone: see holdLocked.
	held     sync.Cond // with mu
	listen   bool      // it may begin
	silenced bool      // reads of the request that is served time out at once
}

// expiry is why the heartbeat ended a wait.
type expiry uint8

const (
	notExpired expiry = iota
	expiredIdle
	expiredHead
	expiredBody
	expiredWrite
)

type connKey struct{}

// ConnOf returns the connection of a request that a Server of this package
// serves, or nil.
func ConnOf(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

// Number is the number that the host gave to the connection; 0 if it gave none.
func (c *Conn) Number() uint64 { return c.number }

// Resumed reports whether the connection has had a request: it waits for another
// one if it is idle.
func (c *Conn) Resumed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resumed || !c.fresh
}

// Raw is the connection below. Only who has taken the connection back may read
// from it or write to it.
func (c *Conn) Raw() net.Conn { return c.raw }

// doubtful reports, of a request with a chunked body, whether another server
// might have taken its body for a shorter or longer one.
func (c *Conn) doubtful() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.scan.doubtful()
}

// BodyBuffered reports whether a request body of n bytes has come already, so
// that reading all of it cannot block. It may say no when the answer is yes.
func (c *Conn) BodyBuffered(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return n > 0 && n <= c.ahead
}

// Read reads for net/http. Between requests it is also the place, and the only
// one, where the connection is handed back.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		if n = c.skipLinesLocked(p[:n]); n > 0 {
			c.deliveredLocked(p[:n])
			return n, nil
		}
	}
	if c.phase == phaseIdle && len(p) < serverBuffer {
		c.beginLocked() // net/http has read ahead
	}
	if c.phase == phaseServing {
		if len(p) == 1 {
			c.holdLocked()
		}
		if c.silenced {
			return 0, os.ErrDeadlineExceeded
		}
	}
	for c.phase != phaseHijacked {
		if c.wantBack && c.waitsLocked() {
			c.wantBack = false // a second try would not go better
			if c.handBackLocked(len(p)) {
				return 0, errHandedBack
			}
			c.stays = true
		}
		if c.expired != notExpired {
			return 0, c.expiredLocked()
		}
		waited := c.waitsLocked()
		got, err := c.receiveLocked(p)
		n := c.skipLinesLocked(p[:got])
		if n > 0 {
			c.deliveredLocked(p[:n])
		}
		if waited {
			c.clearReadDeadlineLocked() // of askBack, which has woken this, or came too late
		}
		skipped := got > n && n == 0 && err == nil
		woken := waited && got == 0 && errors.Is(err, os.ErrDeadlineExceeded)
		if !skipped && !woken && c.expired == notExpired {
			return n, err
		}
	}
	return c.receiveLocked(p)
}

// holdLocked holds net/http's background read back until the request has lasted
// for a beat. Most are over by then, and are spared the read, and the two changes
// of deadline that end it. A client's leaving is noticed that much later.
func (c *Conn) holdLocked() {
	for c.phase == phaseServing && !c.listen && !c.silenced && c.expired == notExpired {
		c.held.Wait()
	}
}

// listenLocked lets the background read begin.
func (c *Conn) listenLocked() {
	c.listen = true
	c.held.Broadcast()
}

// skipLinesLocked drops the empty lines at the front of b, if they may have come
// behind a request that another server has answered, and returns how many bytes
// are left. net/http drops them only after a POST that it has seen itself
// (RFC 9112, 2.2).
func (c *Conn) skipLinesLocked(b []byte) int {
	if !c.resumed || !c.fresh || c.given > 0 {
		return len(b)
	}
	return copy(b, bytes.TrimLeft(b, "\r\n"))
}

// receiveLocked reads from the connection below, without the lock.
func (c *Conn) receiveLocked(p []byte) (int, error) {
	c.reading = true
	c.body = c.phase == phaseServing && len(p) > 1 // net/http's background read asks for one byte
	c.mu.Unlock()
	n, err := c.raw.Read(p)
	c.mu.Lock()
	c.reading, c.body = false, false
	return n, err
}

// waitsLocked reports whether net/http waits for a request, of which it has no
// more bytes than may travel with a connection that is handed back.
func (c *Conn) waitsLocked() bool {
	return c.phase == phaseIdle || c.phase == phaseHead && c.fresh && c.given <= maxUnread
}

// beginLocked notes that a byte of the awaited request is here. It takes back
// the end of a wait that was decided at this very moment.
func (c *Conn) beginLocked() {
	c.started = true
	if c.expired == expiredIdle {
		c.reviveLocked()
	}
}

func (c *Conn) reviveLocked() {
	c.expired = notExpired
	c.clearReadDeadlineLocked()
}

// deliveredLocked notes the bytes that net/http has just been given.
func (c *Conn) deliveredLocked(b []byte) {
	n := len(b)
	if n >= maxUnread {
		copy(c.tail[:], b[n-maxUnread:])
	} else {
		copy(c.tail[:], c.tail[n:])
		copy(c.tail[maxUnread-n:], b)
	}
	switch c.phase {
	case phaseIdle, phaseHead:
		if !c.started {
			c.since = c.server.clock.Load()
			c.ahead = bytesAfterHead(b)
		} else {
			c.ahead = 0
		}
		c.scan.feed(b)
		c.beginLocked()
		if c.fresh {
			c.given += n
		}
	case phaseServing:
		c.bodySize += int64(n)
	}
}

// bytesAfterHead is how many bytes of b come after a request head that begins
// with b's first byte and ends within it. Where that is not plain it is 0.
func bytesAfterHead(b []byte) int64 {
	if b[0] == '\r' || b[0] == '\n' || bytes.HasSuffix(b, []byte("\r\n\r\n")) {
		return 0 // net/http skips empty lines; most requests have no body
	}
	if i := headEnd(b); i > 0 {
		return int64(len(b) - i)
	}
	return 0
}

// handBackLocked gives the connection back, if it can be, while net/http waits
// in a Read for space bytes. Only what net/http has read ahead travels with it.
// The lock is not held while the descriptor is sent.
func (c *Conn) handBackLocked(space int) bool {
	unread := serverBuffer - space
	if c.phase == phaseHead {
		unread = c.given
	}
	if unread < 0 || unread > maxUnread || c.server.opts.HandBack == nil || !handBackWorks() {
		return false
	}
	was := c.phase
	c.phase = phaseGone
	c.mu.Unlock()
	err := c.server.opts.HandBack(c, c.tail[maxUnread-unread:])
	if err != nil {
		c.server.opts.Logger.Warn("connection not handed back", "client", c.remote, "error", err)
	} else {
		c.muted.Store(true)
	}
	c.mu.Lock()
	if err != nil {
		c.phase = was
	}
	return err == nil
}

// expiredLocked answers 408 if the client had begun a request head, and
// returns the error for net/http. The lock is not held while it writes.
func (c *Conn) expiredLocked() error {
	if c.expired == expiredHead && c.started && c.phase != phaseServing && !c.muted.Swap(true) {
		c.mu.Unlock()
		_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second)) // the write below reports what it must
		_, _ = io.WriteString(c.raw, HeadTimeoutAnswer)         // a courtesy; the connection ends either way
		c.mu.Lock()
	}
	return os.ErrDeadlineExceeded
}

// HeadTimeoutAnswer is the whole answer to a request head that took too long.
const HeadTimeoutAnswer = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 45\r\n\r\n" +
	"408: the request head took too long to come.\n"

// askBack marks the connection as wanted back and wakes it if it is idle.
func (c *Conn) askBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wantBack = true
	if c.reading && c.waitsLocked() {
		c.readDL = true
		_ = c.raw.SetReadDeadline(longAgo) // fails only on a closed connection, which needs no waking
	}
}

// busy reports whether a request has begun to come or is served, or the
// connection was upgraded.
func (c *Conn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started || c.phase == phaseHijacked
}

// expireLocked ends what the connection waits for, now.
func (c *Conn) expireLocked(why expiry) {
	if c.expired != notExpired {
		return
	}
	c.expired = why
	c.held.Broadcast()
	if why == expiredWrite {
		_ = c.raw.SetWriteDeadline(longAgo) // fails only on a closed connection, which is what we want
	}
	c.readDL = true
	_ = c.raw.SetReadDeadline(longAgo) // as above
}

// longAgo is a deadline that has passed: the one by which net/http ends its
// background read.
var longAgo = time.Unix(1, 0)

// onState follows net/http's ConnState hook.
func (c *Conn) onState(s http.ConnState) {
	c.mu.Lock()
	switch s {
	case http.StateActive:
		if c.expired != notExpired && !c.muted.Load() {
			c.reviveLocked() // the head is complete after all
		}
		c.enterLocked(phaseServing)
		c.fresh = false
		c.bodySize, c.watch = c.ahead, watch{}
		c.listen, c.silenced = false, false
	case http.StateIdle:
		c.enterLocked(phaseAnswered)
		c.started, c.ahead, c.scan = false, 0, fieldScan{}
	case http.StateHijacked:
		c.enterLocked(phaseHijacked)
	}
	c.mu.Unlock()
	switch {
	case s == http.StateHijacked:
		c.slot.promote()
	case s == http.StateIdle && c.relay:
		c.server.requestLeft()
	}
}

func (c *Conn) enterLocked(p phase) {
	if c.phase != phaseGone {
		c.phase = p
		c.since = c.server.clock.Load()
	}
}

// SetReadDeadline sets the deadline of reads for net/http and for handlers.
// The calls by which net/http starts and ends its wait for a request only
// change the phase: the heartbeat watches those times.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.phase {
	case phaseAnswered:
		c.enterLocked(phaseIdle)
		c.clearReadDeadlineLocked()
		return nil
	case phaseIdle:
		if c.scan.state == scanBegin { // the head began within an earlier read
			c.scan.state = scanSkipped
		}
		begun := c.since
		c.enterLocked(phaseHead)
		if c.started {
			c.since = begun // one time-out for the whole head
		}
		c.beginLocked()
		return nil
	case phaseHead:
		return nil
	}
	if c.expired != notExpired && c.phase != phaseHijacked {
		return nil // the past deadline stands
	}
	if t.IsZero() {
		c.silenced = false
		c.clearReadDeadlineLocked()
		return nil
	}
	if c.phase == phaseServing {
		if c.silenced = t.Equal(longAgo); c.silenced && !c.reading {
			c.held.Broadcast() // net/http ends its background read, which has not begun
			return nil
		}
		c.listenLocked() // a deadline of the handler's own holds for that read, too
	}
	c.readDL = true
	return c.raw.SetReadDeadline(t)
}

// clearReadDeadlineLocked skips the call where nothing is to be changed, since
// net/http clears its deadlines several times in every request.
func (c *Conn) clearReadDeadlineLocked() {
	if c.readDL && c.expired == notExpired {
		c.readDL = false
		_ = c.raw.SetReadDeadline(time.Time{}) // fails only on a closed connection, and the next read says so
	}
}

// SetWriteDeadline sets the deadline of writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.IsZero() && !c.writeDL || c.expired != notExpired && c.phase != phaseHijacked {
		return nil
	}
	c.writeDL = !t.IsZero()
	return c.raw.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Write writes to the client.
func (c *Conn) Write(p []byte) (int, error) {
	if c.muted.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	for sent := 0; ; {
		part := p[sent:min(sent+sendChunk, len(p))]
		c.beginWrite(int64(len(part)))
		n, err := c.raw.Write(part)
		c.writing.Store(0)
		if sent += n; err != nil || sent == len(p) {
			return sent, err
		}
	}
}

func (c *Conn) beginWrite(n int64) {
	c.writeSeq.Add(1)
	c.writing.Store(n + 1)
}

// sendChunk is how much one call hands to the kernel, so that the heartbeat
// sees whether the client takes any of it.
const sendChunk = 256 << 10

// ReadFrom writes what r has to the client, by sendfile or splice where the
// kernel can: net/http uses it for io.Copy from a file to a response.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	to, ok := c.raw.(io.ReaderFrom)
	if !ok {
		return io.Copy(writerOnly{c}, r)
	}
	left := int64(math.MaxInt64)
	src := r
	if lr, ok := r.(*io.LimitedReader); ok {
		left, src = lr.N, lr.R
		defer func() { lr.N = left }()
	}
	var sent int64
	for left > 0 {
		chunk := io.LimitedReader{R: src, N: min(left, sendChunk)}
		want := chunk.N
		c.beginWrite(want)
		n, err := to.ReadFrom(&chunk)
		c.writing.Store(0)
		sent += n
		left -= n
		if err != nil {
			return sent, err
		}
		if n < want {
			break
		}
	}
	return sent, nil
}

type writerOnly struct{ io.Writer }

// CloseWrite shuts down the sending side, as net/http wants before it closes a
// connection on which the client still sends.
func (c *Conn) CloseWrite() error {
	if cw, ok := c.raw.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// Close closes this process's descriptor of the connection.
func (c *Conn) Close() error {
	c.mu.Lock()
	back := c.phase == phaseGone
	c.mu.Unlock()
	if c.server.opts.Closing != nil && !back {
		c.server.opts.Closing(c)
	}
	err := c.raw.Close()
	c.mu.Lock()
	c.listenLocked() // the read finds the connection closed
	c.mu.Unlock()
	c.server.forget(c)
	return err
}

// LocalAddr is the address that the client connected to.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr is the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }
