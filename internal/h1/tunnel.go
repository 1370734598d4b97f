package h1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// checkUpgrade refuses a 101 that nobody asked for.
func (x *exchange) checkUpgrade() *Error {
	for token := range tokens(x.upgrade) {
		if strings.EqualFold(token, x.head.upgrade) {
			return nil
		}
	}
	return &Error{Stage: Malformed, Err: fmt.Errorf("101 to %.40q, which was not asked for", x.head.upgrade)}
}

// tunnel answers 101 and copies bytes both ways until both sides have ended
// their sending, or one of them fails. The end of one direction is passed on
// as the end of that direction.
func (x *exchange) tunnel() *Error {
	x.head.close = true
	header := x.w.Header()
	x.head.applyTo(header)
	client, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return &Error{Stage: Upgrade, Err: err}
	}
	defer client.Close()
	x.answered = true
	stop := context.AfterFunc(x.req.Inbound.Context(), func() { _ = client.Close() }) // the upstream's end is seen to by try
	defer stop()

	var first bytes.Buffer
	first.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + x.head.upgrade + "\r\n")
	_ = header.Write(&first) // a bytes.Buffer takes everything
	first.WriteString("\r\n")
	first.Write(x.buf[x.start:x.end])
	x.start, x.end = 0, 0
	if _, err := client.Write(first.Bytes()); err != nil {
		return &Error{Stage: ClientGone, Err: err}
	}

	var up sync.WaitGroup
	up.Go(func() { x.u.carryUp(x.conn.Conn, client, rw.Reader) })
	carry(client, x.conn.Conn, x.buf)
	up.Wait()
	return nil
}

// carryUp copies from the client to the upstream; first what net/http has read
// ahead.
func (u *Upstream) carryUp(upstream, client net.Conn, ahead *bufio.Reader) {
	buf := u.pumpBuffer()
	defer u.pumps.Put(buf)
	p, _ := ahead.Peek(ahead.Buffered()) // never more than there is, so never an error
	if _, err := upstream.Write(p); err != nil {
		abortBoth(client, upstream)
		return
	}
	carry(upstream, client, *buf)
}

// carry copies from src to dst until src ends, and passes that on; after a
// failure, or where half a connection cannot be ended, both are closed.
func carry(dst, src net.Conn, buf []byte) {
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				abortBoth(dst, src)
				return
			}
		}
		if errors.Is(err, io.EOF) {
			if !closeWrite(dst) {
				abortBoth(dst, src)
			}
			return
		}
		if err != nil {
			abortBoth(dst, src)
			return
		}
	}
}

func abortBoth(a, b net.Conn) {
	_ = a.Close() // closed already or not: it is over either way
	_ = b.Close() // likewise
}
