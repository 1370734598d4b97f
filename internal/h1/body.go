package h1

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"math"
	"net/http"
)

const (
	maxChunkLine = 4 << 10  // of a chunk's size and extensions
	maxExcess    = 16 << 10 // of what is not data in a chunked body

	// spliceUnit is what a long body is measured in where it goes from socket
	// to socket in the kernel. The rest of it is read and written: who watches
	// how fast the client takes a body must not wait for the upstream in the
	// middle of little.
	spliceUnit = 1 << 20
)

var (
	errChunk  = errors.New("malformed chunked encoding")
	errExcess = errors.New("chunked encoding contains too much that is not data")
)

// deliver gives the response in x.head and its body to the client.
func (x *exchange) deliver() *Error {
	header := x.w.Header()
	x.head.applyTo(header)
	if !x.head.typed {
		header["Content-Type"] = nil // the upstream sent none, so nobody guesses one
	}
	bodyless := x.head.bodyless(x.req.Inbound.Method)
	trailers := x.head.chunked && !bodyless && x.req.Inbound.ProtoAtLeast(1, 1)
	if trailers && x.head.announced {
		x.announceTrailers(header)
	}
	if trailers && x.req.Inbound.ProtoMajor == 1 {
		// Or net/http would give a short body a length. It takes the field away.
		header["Transfer-Encoding"] = []string{"chunked"}
	}
	x.w.WriteHeader(x.head.status)
	x.answered, x.unflushed = true, true
	switch {
	case bodyless:
		return nil
	case x.head.chunked:
		return x.deliverChunks(trailers)
	case x.head.length >= 0:
		return x.deliverLength(x.head.length)
	}
	x.head.close = true
	return x.deliverRest()
}

// deliverLength gives the next n bytes to the client.
func (x *exchange) deliverLength(n int64) *Error {
	for n > 0 {
		if x.start == x.end {
			if whole := n - n%spliceUnit; whole > 0 && x.canSplice() {
				if failed := x.splice(whole); failed != nil {
					return failed
				}
				n -= whole
				continue
			}
			if err := x.fill(); err != nil {
				return brokenOff(err)
			}
		}
		took, failed := x.give(n)
		if failed != nil {
			return failed
		}
		n -= took
	}
	return nil
}

// deliverRest gives everything to the client until the upstream closes.
func (x *exchange) deliverRest() *Error {
	for {
		if _, failed := x.give(math.MaxInt64); failed != nil {
			return failed
		}
		if err := x.fill(); err == io.EOF {
			return nil
		} else if err != nil {
			return brokenOff(err)
		}
	}
}

// give gives what is in the buffer to the client, at most n bytes, and returns
// how much that was.
func (x *exchange) give(n int64) (int64, *Error) {
	p := x.buf[x.start:x.end]
	if int64(len(p)) > n {
		p = p[:n]
	}
	if len(p) == 0 {
		return 0, nil
	}
	x.start += len(p)
	x.unflushed = true
	if _, err := x.w.Write(p); err != nil {
		return 0, &Error{Stage: ClientGone, Err: err}
	}
	return int64(len(p)), nil
}

func brokenOff(err error) *Error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return &Error{Stage: Body, Err: err}
}

// canSplice reports whether a body can go from socket to socket in the kernel.
// Where it cannot, ReadFrom would hold bytes back in a buffer.
func (x *exchange) canSplice() bool {
	r := x.req.Inbound
	_, ok := x.w.(io.ReaderFrom)
	return ok && !x.head.chunked && r.TLS == nil && r.ProtoMajor == 1 && x.conn.spliceable()
}

// splice gives the next n bytes to the client through its writer's ReadFrom,
// which net/http implements with splice(2) where it can.
func (x *exchange) splice(n int64) *Error {
	x.flush()
	src := &io.LimitedReader{R: x.conn.Conn, N: n}
	_, err := x.w.(io.ReaderFrom).ReadFrom(src)
	switch {
	case src.N == 0 && err == nil:
		return nil
	case err == nil:
		return &Error{Stage: Body, Err: io.ErrUnexpectedEOF}
	}
	// The error does not tell which of the two sockets it is of. If the
	// upstream's is in order, it is of the client's.
	var probe [1]byte
	if _, rerr := x.conn.readNow(probe[:]); rerr == nil {
		return &Error{Stage: ClientGone, Err: err}
	}
	return &Error{Stage: Body, Err: err}
}

// deliverChunks gives the data of a chunked body to the client, and its
// trailers if the client can take any.
func (x *exchange) deliverChunks(trailers bool) *Error {
	var excess int64
	for {
		line, failed := x.chunkLine()
		if failed != nil {
			return failed
		}
		size, ok := chunkSize(line)
		if !ok {
			return &Error{Stage: Malformed, Err: errChunk}
		}
		// The same allowance as net/http's: 16 bytes for each chunk, and
		// twice as much as there is data.
		excess = max(excess+int64(len(line))+2-16-2*size, 0)
		if excess > maxExcess {
			return &Error{Stage: Malformed, Err: errExcess}
		}
		if size == 0 {
			return x.deliverTrailers(trailers)
		}
		if failed := x.deliverLength(size); failed != nil {
			return failed
		}
		for x.end-x.start < 2 {
			if err := x.fill(); err != nil {
				return brokenOff(err)
			}
		}
		if string(x.buf[x.start:x.start+2]) != "\r\n" {
			return &Error{Stage: Malformed, Err: errChunk}
		}
		x.start += 2
	}
}

// chunkLine reads the line before a chunk. It is valid until the next read.
func (x *exchange) chunkLine() ([]byte, *Error) {
	for {
		p := x.buf[x.start:x.end]
		i := bytes.IndexByte(p, '\n')
		switch {
		case i == 0 || i > 0 && p[i-1] != '\r' || i < 0 && len(p) >= maxChunkLine || i >= maxChunkLine:
			return nil, &Error{Stage: Malformed, Err: errChunk}
		case i > 0:
			x.start += i + 1
			return p[:i-1], nil
		}
		if err := x.fill(); err != nil {
			return nil, brokenOff(err)
		}
	}
}

// chunkSize reads the size at the start of line. Extensions are ignored.
func chunkSize(line []byte) (int64, bool) {
	var size int64
	digits := 0
	for ; digits < len(line); digits++ {
		c := line[digits]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			c = 16
		}
		if c == 16 {
			break
		}
		if digits == 15 {
			return 0, false
		}
		size = size<<4 | int64(c)
	}
	rest := line[digits:]
	if len(rest) > 0 && rest[0] != ';' {
		rest = bytes.TrimLeft(rest, " \t")
		if len(rest) > 0 {
			return 0, false
		}
	}
	return size, digits > 0 && validValue(string(rest))
}

// announceTrailers passes on the upstream's Trailer fields.
func (x *exchange) announceTrailers(header http.Header) {
	for _, f := range x.head.fields {
		if f.name != "Trailer" {
			continue
		}
		for token := range tokens(f.value) {
			if name, ok := canonical(token); ok && !forbiddenTrailer(name) {
				header.Add("Trailer", name)
			}
		}
	}
}

// deliverTrailers reads what follows the last chunk.
func (x *exchange) deliverTrailers(pass bool) *Error {
	limit := cmp.Or(x.u.MaxResponseHeader, defaultMaxResponseHeader)
	n, failed := x.section(sectionEnd, limit, Body)
	if failed != nil {
		if failed.Err == io.EOF {
			failed.Err = io.ErrUnexpectedEOF
		}
		return failed
	}
	if n == 2 {
		x.start += n
		return nil
	}
	s := string(x.buf[x.start : x.start+n])
	x.start += n
	trailers, err := parseFields(nil, s, cmp.Or(x.u.MaxHeaderCount, defaultMaxHeaderCount))
	if err != nil {
		return &Error{Stage: Malformed, Err: err}
	}
	if !pass {
		return nil
	}
	// With the head sent, net/http cannot give the response a length and so
	// leave no room for trailers.
	x.flush()
	header := x.w.Header()
	announced := header["Trailer"]
	for _, f := range trailers {
		if forbiddenTrailer(f.name) {
			continue
		}
		name := f.name
		if !lists(announced, name) {
			name = http.TrailerPrefix + name
		}
		header[name] = append(header[name], f.value)
	}
	return nil
}

// forbiddenTrailer reports whether a field may not come after the body,
// because it is about framing, routing or the connection (RFC 9110, 6.5.1).
func forbiddenTrailer(name string) bool {
	return hopByHop(name) || name == "Set-Cookie" || name == "Content-Type" || name == "Content-Encoding" || name == "Content-Range"
}
