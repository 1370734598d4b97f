package suite

import (
	"slices"
	"strings"
	"testing"
	"time"

	"aerie/internal/rawhttp"
)

// malformed are the tests of what is not a request, or only nearly.
func (s *suite) malformed() []test {
	var tests []test
	for _, row := range malformedRows {
		tests = append(tests, test{"malformed: " + row.name, s.refuse(row), ""})
	}
	for _, row := range doubtfulRows {
		tests = append(tests, test{"doubtful: " + row.name, s.once(row), ""})
	}
	return tests
}

// row is a request as it goes over the wire: with PATH and HOST filled in.
type row struct {
	name, wire string
	status     []int // any of these; none is 400. Of doubtful requests:
	mustClose  bool  // the server must close after its answer (RFC 9112, 6.1 and 6.3)
}

// malformedRows must be refused, the connection closed and nothing of it seen by an app.
var malformedRows = []row{
	{"not HTTP", "HELO there\r\n\r\n", nil, false},
	{"no version", "GET PATH\r\nHost: HOST\r\n\r\n", nil, false},
	{"bad version", "GET PATH HTTP/1.x\r\nHost: HOST\r\n\r\n", nil, false},
	{"version 3", "GET PATH HTTP/3.0\r\nHost: HOST\r\n\r\n", []int{400, 505}, false},
	{"two spaces", "GET  PATH HTTP/1.1\r\nHost: HOST\r\n\r\n", nil, false},
	{"space in the target", "GET PATH x HTTP/1.1\r\nHost: HOST\r\n\r\n", nil, false},
	{"space before the method", " GET PATH HTTP/1.1\r\nHost: HOST\r\n\r\n", nil, false},
	{"bad method", "G\"T PATH HTTP/1.1\r\nHost: HOST\r\n\r\n", nil, false},
	{"target without slash", "GET facts HTTP/1.1\r\nHost: HOST\r\n\r\n", nil, false},
	{"bad escape", "GET PATH/%zz HTTP/1.1\r\nHost: HOST\r\n\r\n", nil, false},
	{"control character in the target", "GET PATH/\x01 HTTP/1.1\r\nHost: HOST\r\n\r\n", nil, false},
	{"no host", "GET PATH HTTP/1.1\r\n\r\n", nil, false},
	{"two hosts", "GET PATH HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n", nil, false},
	{"bad host", "GET PATH HTTP/1.1\r\nHost: a b\r\n\r\n", nil, false},
	{"field without colon", "GET PATH HTTP/1.1\r\nHost: HOST\r\nfield\r\n\r\n", nil, false},
	{"field without name", "GET PATH HTTP/1.1\r\nHost: HOST\r\n: x\r\n\r\n", nil, false},
	{"space in a name", "GET PATH HTTP/1.1\r\nHost: HOST\r\nX y: z\r\n\r\n", nil, false},
	{"space before the colon", "GET PATH HTTP/1.1\r\nHost: HOST\r\nX : z\r\n\r\n", nil, false},
	{"space before the first field", "GET PATH HTTP/1.1\r\n Host: HOST\r\n\r\n", nil, false},
	{"NUL in a value", "GET PATH HTTP/1.1\r\nHost: HOST\r\nX: a\x00b\r\n\r\n", nil, false},
	{"control character in a value", "GET PATH HTTP/1.1\r\nHost: HOST\r\nX: a\x01b\r\n\r\n", nil, false},
	{"CR in a value", "GET PATH HTTP/1.1\r\nHost: HOST\r\nX: a\rb\r\n\r\n", nil, false},
	{"length not a number", "POST PATH HTTP/1.1\r\nHost: HOST\r\nContent-Length: x\r\n\r\n", nil, false},
	{"length negative", "POST PATH HTTP/1.1\r\nHost: HOST\r\nContent-Length: -1\r\n\r\n", nil, false},
	{"length with sign", "POST PATH HTTP/1.1\r\nHost: HOST\r\nContent-Length: +1\r\n\r\nx", nil, false},
	{"length too large", "POST PATH HTTP/1.1\r\nHost: HOST\r\nContent-Length: 99999999999999999999\r\n\r\nx", nil, false},
	{"two lengths", "POST PATH HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", nil, false},
	{"list of lengths", "POST PATH HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1, 2\r\n\r\nxx", nil, false},
	{"unknown transfer coding", "POST PATH HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip\r\n\r\n", []int{400, 501}, false},
	{"chunked not alone", "POST PATH HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", []int{400, 501}, false},
	{"chunked twice", "POST PATH HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400, 501}, false},
}

// doubtfulRows end in a second request, SMUGGLED, that a reader with other ideas
// of the first one's end would see. A server may refuse them, or serve the
// first; it must not see two where RFC 9112 sees one, and must not go on after
// a doubt that it has to close for.
var doubtfulRows = []row{
	{"length and chunked", "POST PATH HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nSIZE\r\nSMUGGLED\r\n0\r\n\r\n", nil, true},
	{"the same length twice", "POST PATH HTTP/1.1\r\nHost: HOST\r\nContent-Length: LENGTH\r\nContent-Length: LENGTH\r\n\r\nSMUGGLED", nil, false},
	{"chunked in HTTP/1.0", "POST PATH HTTP/1.0\r\nHost: HOST\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\nSIZE\r\nSMUGGLED\r\n0\r\n\r\n", nil, true},
	{"folded field", "POST PATH HTTP/1.1\r\nHost: HOST\r\nX: y\r\n Transfer-Encoding: chunked\r\nContent-Length: LENGTH\r\n\r\nSMUGGLED", nil, false},
	{"underscore", "POST PATH HTTP/1.1\r\nHost: HOST\r\nTransfer_Encoding: chunked\r\nContent-Length: LENGTH\r\n\r\nSMUGGLED", nil, false},
	{"bare LF in the head", "POST PATH HTTP/1.1\nHost: HOST\nContent-Length: LENGTH\n\nSMUGGLED", nil, false},
	{"length on GET", "GET PATH HTTP/1.1\r\nHost: HOST\r\nContent-Length: LENGTH\r\n\r\nSMUGGLED", nil, false},
	{"chunk size with sign", "POST PATH HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n+SIZE\r\nSMUGGLED\r\n0\r\n\r\n", nil, false},
	{"chunk size too large", "POST PATH HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nSMUGGLED\r\n0\r\n\r\n", nil, false},
	{"no CRLF after a chunk", "POST PATH HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nSIZE\r\nSMUGGLEDxx0\r\n\r\n", nil, false},
}

func (s *suite) fill(wire string) []byte {
	smuggled := string(s.head("GET", "/id?id=smuggled", "X-Id: smuggled"))
	const hex = "0123456789abcdef"
	n := len(smuggled)
	return []byte(strings.NewReplacer("PATH", s.PathBase+"/facts", "HOST", s.Host, "SMUGGLED", smuggled,
		"SIZE", string([]byte{hex[n>>8&15], hex[n>>4&15], hex[n&15]}),
		"LENGTH", decimal(n)).Replace(wire))
}

func (s *suite) refuse(row row) func(*testing.T) {
	return func(t *testing.T) {
		before := s.count(t)
		c := s.dial(t)
		s.usable(t, c) // the first request of a connection is not a special case
		send(t, c, s.fill(row.wire))
		r, err := c.ReadResponse("GET")
		if err != nil {
			t.Fatal(err)
		}
		want := row.status
		if want == nil {
			want = []int{400}
		}
		if !slices.Contains(want, r.Status) || !r.Close {
			t.Errorf("status %d, close %v, want %d and a close", r.Status, r.Close, want)
		}
		ends(t, c)
		if n := s.count(t) - before - 1; n != 0 {
			t.Errorf("%d requests reached the app", n)
		}
		c = s.dial(t) // and as the first request of one
		send(t, c, s.fill(row.wire))
		if r, err = c.ReadResponse("GET"); err != nil || !slices.Contains(want, r.Status) || !r.Close {
			t.Errorf("as the first request: %v %+v", err, r)
		}
		ends(t, c)
		if n := s.count(t) - before - 1; n != 0 {
			t.Errorf("%d requests reached the app", n)
		}
	}
}

const soon = 100 * time.Millisecond // for what must not happen

// once sends a doubtful request and reads all that comes: at most one answer
// of the app, and never one to the request that is hidden in the body.
func (s *suite) once(row row) func(*testing.T) {
	return func(t *testing.T) {
		before := s.count(t)
		c := s.dial(t)
		send(t, c, s.fill(row.wire))
		answers := 0
		for ; ; answers++ {
			r, err := c.ReadResponse("GET")
			kind := rawhttp.KindOf(err)
			if kind == rawhttp.Late && row.mustClose && !s.DoubtStays {
				t.Error("the connection is not closed")
			}
			if kind == rawhttp.Closed || kind == rawhttp.Late || kind == rawhttp.Reset {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("status %d, close %v", r.Status, r.Close)
			c.Limit = soon // for nothing more
			if row.mustClose && !s.DoubtStays {
				c.Limit = time.Second // for the close
			}
			if r.Header.Value("X-Id") == "smuggled" {
				t.Error("the hidden request was served")
			}
		}
		if n := s.count(t) - before; n > 1 || answers == 0 {
			t.Errorf("%d answers, %d requests reached the app, want at most one", answers, n)
		}
	}
}

func decimal(n int) string {
	b := []byte{byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)}
	return strings.TrimLeft(string(b), "0")
}
