package rawhttp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const maxFields = 1000 // of one head; more is Malformed

// Field is one header or trailer field, as it was seen.
type Field struct{ Name, Value string }

// Header is a list of fields in the order in which they came.
type Header []Field

// Values returns the values of all fields of that name, in any case.
func (h Header) Values(name string) []string {
	var v []string
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			v = append(v, f.Value)
		}
	}
	return v
}

// Value returns the first value of that name, "" if there is none.
func (h Header) Value(name string) string {
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// Has says whether a field of that name is there.
func (h Header) Has(name string) bool { return len(h.Values(name)) > 0 }

// token says whether the comma-separated lists of that name hold tok.
func (h Header) token(name, tok string) bool {
	for _, f := range h {
		if !strings.EqualFold(f.Name, name) {
			continue
		}
		for item := range strings.SplitSeq(f.Value, ",") {
			if strings.EqualFold(strings.TrimSpace(item), tok) {
				return true
			}
		}
	}
	return false
}

// Framing says how the end of a body is found.
type Framing string

// The framings of a response body.
const (
	NoBody     Framing = "none"
	ByLength   Framing = "length"
	Chunked    Framing = "chunked"
	UntilClose Framing = "close"
)

// Response is one answer. After ReadHead its body is still to be read, by Read,
// before anything else is read from the connection.
type Response struct {
	Proto   string
	Status  int
	Reason  string
	Header  Header
	Interim []*Response // 1xx answers that came before it
	Close   bool        // the server said that it closes the connection
	Framing Framing
	Length  int64  // of the body, with ByLength; of the body that GET would have, with HEAD; else -1
	Body    []byte // by ReadResponse
	Trailer Header // once the body is read

	conn *Conn
	left int64 // of the body or the chunk
	err  error // sticky: io.EOF at the proper end
}

// ReadResponse reads one whole answer to a request with that method.
func (c *Conn) ReadResponse(method string) (*Response, error) {
	r, err := c.ReadHead(method)
	if err != nil {
		return nil, err
	}
	r.Body, err = io.ReadAll(r)
	return r, err
}

// ReadHead reads an answer up to its body, and 1xx answers before it. 101 is a
// final answer: what follows it is read with Conn.Read.
func (c *Conn) ReadHead(method string) (*Response, error) {
	var interim []*Response
	for {
		r, err := c.readHead(method)
		if err != nil {
			return nil, err
		}
		if r.Status >= 200 || r.Status == 101 {
			r.Interim = interim
			c.closing = r.Close
			return r, nil
		}
		interim = append(interim, r)
	}
}

// ReadInterim reads one 1xx answer; a final one in its place is a Status failure.
func (c *Conn) ReadInterim() (*Response, error) {
	r, err := c.readHead("GET")
	if err != nil {
		return nil, err
	}
	if r.Status >= 200 {
		return r, c.failure(Status, "read a 1xx answer", fmt.Errorf("status %d", r.Status))
	}
	return r, nil
}

func (c *Conn) readHead(method string) (*Response, error) {
	if _, err := c.br.Peek(1); err != nil {
		return nil, c.fail("wait for an answer", err, false)
	}
	r := &Response{conn: c, Length: -1}
	if err := r.parseHead(c.br, method); err != nil {
		return nil, c.fail("read the head of an answer", err, true)
	}
	return r, nil
}

func (r *Response) parseHead(br *bufio.Reader, method string) error {
	line, err := readLine(br)
	if err != nil {
		return err
	}
	// HTTP/1.1 200 OK: the space before an empty reason is required too.
	if len(line) < 13 || line[8] != ' ' || line[12] != ' ' {
		return malformed(fmt.Sprintf("status line %q", line))
	}
	r.Proto, r.Reason = string(line[:8]), string(line[13:])
	if r.Proto != "HTTP/1.1" && r.Proto != "HTTP/1.0" {
		return malformed(fmt.Sprintf("protocol %q", r.Proto))
	}
	status, ok := digits(line[9:12])
	if !ok || status < 100 || status > 599 {
		return malformed(fmt.Sprintf("status %q", line[9:12]))
	}
	r.Status = int(status)
	if r.Header, err = readFields(br); err != nil {
		return err
	}
	r.Close = r.Header.token("Connection", "close") ||
		r.Proto == "HTTP/1.0" && !r.Header.token("Connection", "keep-alive")
	return r.frame(method)
}

// frame finds the framing by RFC 9112, 6.3, and refuses what is ambiguous.
func (r *Response) frame(method string) error {
	te, cl := r.Header.Values("Transfer-Encoding"), r.Header.Values("Content-Length")
	switch {
	case len(te) > 0 && len(cl) > 0:
		return malformed("both Transfer-Encoding and Content-Length")
	case len(te) > 1 || len(te) == 1 && !strings.EqualFold(te[0], "chunked"):
		return malformed(fmt.Sprintf("Transfer-Encoding %q", te))
	case len(cl) > 1:
		return malformed(fmt.Sprintf("Content-Length %q", cl))
	case len(te) == 1 && r.Proto != "HTTP/1.1":
		return malformed("Transfer-Encoding in " + r.Proto)
	}
	bodiless := r.Status < 200 || r.Status == 204
	if bodiless && (len(te) > 0 || len(cl) > 0) {
		return malformed(fmt.Sprintf("status %d with %q %q", r.Status, te, cl))
	}
	if len(cl) == 1 {
		n, ok := digits([]byte(cl[0]))
		if !ok {
			return malformed(fmt.Sprintf("Content-Length %q", cl[0]))
		}
		r.Length = n
	}
	switch {
	case bodiless || r.Status == 304 || method == "HEAD":
		r.Framing, r.err = NoBody, io.EOF
	case len(te) == 1:
		r.Framing = Chunked
	case len(cl) == 1:
		r.Framing, r.left = ByLength, r.Length
		if r.left == 0 {
			r.err = io.EOF
		}
	default:
		r.Framing, r.Close = UntilClose, true
	}
	return nil
}

// Read reads the body. The end, io.EOF, means that the body was complete.
func (r *Response) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.read(p)
	switch {
	case err == nil:
	case r.Framing == UntilClose && errors.Is(err, io.EOF):
		r.err = io.EOF
	default:
		r.err = r.conn.fail("read the body of an answer", err, true)
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}

// read reads some bytes of the body; at its proper end it sets r.err.
func (r *Response) read(p []byte) (int, error) {
	br := r.conn.br
	switch r.Framing {
	case UntilClose:
		return br.Read(p)
	case Chunked:
		if r.left == 0 {
			if err := r.nextChunk(br); err != nil || r.err != nil {
				return 0, err
			}
		}
	}
	n, err := br.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err != nil || r.left > 0 {
		return n, err
	}
	if r.Framing == Chunked {
		return n, expectCRLF(br)
	}
	r.err = io.EOF
	return n, nil
}

func (r *Response) nextChunk(br *bufio.Reader) error {
	line, err := readLine(br)
	if err != nil {
		return err
	}
	size, _, _ := bytes.Cut(line, []byte(";"))
	n, err := strconv.ParseInt(string(size), 16, 62)
	if err != nil || n < 0 || size[0] == '+' || size[0] == '-' {
		return malformed(fmt.Sprintf("chunk size %q", line))
	}
	r.left = n
	if n > 0 {
		return nil
	}
	if r.Trailer, err = readFields(br); err != nil {
		return err
	}
	r.err = io.EOF
	return nil
}
