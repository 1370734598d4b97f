package h1

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	errStatusLine = errors.New("status line is not HTTP/1.0 or HTTP/1.1 with a status of three digits")
	errLineEnd    = errors.New("a line of the head does not end in CRLF")
	errTooMany    = errors.New("too many header fields")
)

// head is a response head. It is reused from one response to the next.
type head struct {
	status        int
	length        int64         // Content-Length, or -1
	chunked       bool          // Transfer-Encoding: chunked
	close         bool          // the connection ends with this response
	keep          time.Duration // how long the upstream keeps it idle, as far as it says
	upgrade       string        // the Upgrade field
	listed        bool          // Connection lists fields by name
	typed         bool          // there is a Content-Type
	announced     bool          // there is a Trailer field
	fields        []field
	connection    []string // values of the Connection fields
	persistent    bool     // HTTP/1.0 with Connection: keep-alive
	minor         int
	contentLength string // as written, to find a second one that differs
}

// field is one response header field or trailer.
type field struct {
	name  string // canonical
	value string
	hop   bool // it belongs to the upstream's connection
}

// headEnd returns the length of the head that p begins with, or 0 if p has no
// whole head. from is how much of p was looked at before. It complains of a
// head that can never become valid, so that nobody waits for its end.
func headEnd(p []byte, from int) (int, error) {
	const start = "HTTP/1."
	if n := min(len(p), len(start)); string(p[:n]) != start[:n] {
		return 0, errStatusLine
	}
	return sectionEnd(p, from)
}

// sectionEnd returns where the empty line that ends p's fields ends, or 0 if
// it has not come.
func sectionEnd(p []byte, from int) (int, error) {
	for i := max(from-3, 0); ; {
		n := bytes.IndexByte(p[i:], '\n')
		if n < 0 {
			return 0, nil
		}
		i += n
		if i == 0 || p[i-1] != '\r' {
			return 0, errLineEnd
		}
		if i == 1 || i >= 3 && p[i-2] == '\n' {
			return i + 1, nil
		}
		i++
	}
}

// parse reads s, a whole response head with its empty line.
func (h *head) parse(s string, maxFields int) error {
	*h = head{length: -1, keep: math.MaxInt64, fields: h.fields[:0], connection: h.connection[:0]}
	line, rest, _ := strings.Cut(s, "\r\n")
	if err := h.statusLine(line); err != nil {
		return err
	}
	fields, err := parseFields(h.fields, rest, maxFields)
	h.fields = fields
	if err != nil {
		return err
	}
	for i := range h.fields {
		if err := h.examine(&h.fields[i]); err != nil {
			return err
		}
	}
	return h.conclude()
}

func (h *head) statusLine(line string) error {
	if len(line) < len("HTTP/1.1 200") || line[:7] != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' {
		return errStatusLine
	}
	h.minor = int(line[7] - '0')
	for _, c := range []byte(line[9:12]) {
		if c < '0' || c > '9' {
			return errStatusLine
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 100 || len(line) > 12 && line[12] != ' ' || !validValue(line[12:]) {
		return errStatusLine
	}
	return nil
}

// parseFields appends the fields of s, which ends in an empty line, to fields.
func parseFields(fields []field, s string, maxFields int) ([]field, error) {
	for {
		line, rest, ok := strings.Cut(s, "\r\n")
		if !ok {
			return fields, errLineEnd
		}
		if line == "" {
			return fields, nil
		}
		s = rest
		colon := strings.IndexByte(line, ':')
		if colon <= 0 {
			return fields, errors.New("a header line has no name")
		}
		name, ok := canonical(line[:colon])
		if !ok {
			return fields, fmt.Errorf("%.80q is not a header name, or the line is folded", line[:colon])
		}
		value := strings.Trim(line[colon+1:], " \t")
		if !validValue(value) {
			return fields, fmt.Errorf("the value of %s has a control character", name)
		}
		if len(fields) == maxFields {
			return fields, errTooMany
		}
		fields = append(fields, field{name: name, value: value})
	}
}

// examine notes what f says about the framing of the message.
func (h *head) examine(f *field) error {
	switch f.name {
	case "Content-Type":
		h.typed = true
	case "Content-Length":
		if h.length >= 0 && f.value != h.contentLength {
			return errors.New("two Content-Length fields differ")
		}
		f.hop = h.length >= 0 // once is enough
		n, err := strconv.ParseUint(f.value, 10, 63)
		if err != nil {
			return errors.New("Content-Length is not a number")
		}
		h.length, h.contentLength = int64(n), f.value
	case "Transfer-Encoding":
		if h.chunked || h.minor == 0 || !strings.EqualFold(f.value, "chunked") {
			return errors.New("Transfer-Encoding is something else than chunked, once, in HTTP/1.1")
		}
		h.chunked, f.hop = true, true
	case "Connection":
		h.connection = append(h.connection, f.value)
		f.hop = true
		for token := range tokens(f.value) {
			switch {
			case strings.EqualFold(token, "close"):
				h.close = true
			case strings.EqualFold(token, "keep-alive"):
				h.persistent = true
			default:
				h.listed = true
			}
		}
	case "Keep-Alive":
		h.keepAlive(f.value)
		f.hop = true
	case "Upgrade":
		h.upgrade, f.hop = f.value, true
	case "Trailer":
		h.announced, f.hop = true, true
	case "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te":
		f.hop = true
	}
	return nil
}

// conclude checks what the fields say together.
func (h *head) conclude() error {
	if h.chunked && h.length >= 0 {
		return errors.New("both Content-Length and Transfer-Encoding")
	}
	if h.minor == 0 && !h.persistent {
		h.close = true
	}
	if h.listed {
		for i := range h.fields {
			f := &h.fields[i]
			f.hop = f.hop || lists(h.connection, f.name)
		}
	}
	if h.announced && h.chunked {
		for _, f := range h.fields {
			if f.name != "Trailer" {
				continue
			}
			for token := range tokens(f.value) {
				switch http.CanonicalHeaderKey(token) {
				case "Transfer-Encoding", "Trailer", "Content-Length":
					return fmt.Errorf("field %s is announced as a trailer", token)
				}
			}
		}
	}
	return nil
}

// keepAlive takes one second off what a Keep-Alive field promises, for the
// upstream's clock starts before ours.
func (h *head) keepAlive(value string) {
	for token := range tokens(value) {
		name, seconds, _ := strings.Cut(token, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "timeout") {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSpace(seconds), 10, 31); err == nil {
			h.keep = time.Duration(max(int64(n)-1, 0)) * time.Second
		}
	}
}

// bodyless reports whether the response to method has no body, whatever its
// fields say.
func (h *head) bodyless(method string) bool {
	return method == http.MethodHead || h.status == http.StatusNoContent || h.status == http.StatusNotModified
}

// applyTo puts the fields that are meant for the client into dst, where they
// replace what was there before.
func (h *head) applyTo(dst http.Header) {
	if len(dst) > 0 {
		for _, f := range h.fields {
			if !f.hop {
				delete(dst, f.name)
			}
		}
	}
	values := make([]string, len(h.fields)) // one allocation for all of them
	for i, f := range h.fields {
		if f.hop {
			continue
		}
		if have, ok := dst[f.name]; ok {
			dst[f.name] = append(have, f.value)
			continue
		}
		values[i] = f.value
		dst[f.name] = values[i : i+1 : i+1]
	}
}
