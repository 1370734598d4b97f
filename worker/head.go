package worker

import "bytes"

// headEnd returns the length of the request head that begins with b's first
// byte, its empty line included, or 0 if its end is not in b. It accepts bare
// line feeds, as net/http does.
func headEnd(b []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		switch {
		case at < len(b) && b[at] == '\n':
			return at + 1
		case at+1 < len(b) && b[at] == '\r' && b[at+1] == '\n':
			return at + 2
		}
	}
}

// fieldScan looks for the two fields that say how long a body is, in a head that
// comes in any number of pieces. net/http takes Content-Length away from a
// request that has Transfer-Encoding, too, and goes on; but whoever sends both
// may have a proxy in front of it that believes the other one, so after such a
// request the connection has to be closed (RFC 9112, 6.3).
type fieldScan struct {
	state  scanState
	line   [len("transfer-encoding:")]byte // the beginning of the line that is being read
	n      int
	length bool // there is a Content-Length
}

type scanState uint8

const (
	scanBegin   scanState = iota // no byte yet
	scanLines                    // in the head
	scanEnd                      // the head is over
	scanSkipped                  // not looked at: GET and HEAD, which have no body as a rule
)

// feed looks at the next bytes of the head, and of what comes behind it.
func (f *fieldScan) feed(b []byte) {
	if f.state == scanBegin {
		if b = bytes.TrimLeft(b, "\r\n"); len(b) == 0 { // net/http skips empty lines before a request
			return
		}
		f.state = scanLines
		if b[0] == 'G' || b[0] == 'H' {
			f.state = scanSkipped
		}
	}
	for f.state == scanLines && len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		f.n += copy(f.line[f.n:], line)
		if !whole {
			return
		}
		f.endLine()
		b = rest
	}
}

func (f *fieldScan) endLine() {
	start := bytes.TrimSuffix(f.line[:f.n], []byte("\r"))
	switch name, _, isField := bytes.Cut(start, []byte(":")); {
	case len(start) == 0:
		f.state = scanEnd
	case isField && bytes.EqualFold(name, []byte("content-length")):
		f.length = true
	}
	f.n = 0
}

// doubtful reports, of a request with a chunked body, whether its head also has
// a length, or may have one.
func (f *fieldScan) doubtful() bool { return f.length || f.state != scanEnd }
