// Package suite is the behavioural suite: what a client and a handler may rely
// on, whichever way a request takes. It talks raw sockets to an address behind
// which the app of package behave answers, and knows nothing of the server
// in between but what Target says.
package suite

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"aerie/internal/rawhttp"
	"aerie/test/behave"
)

// Mode is the way that a request takes to the app.
type Mode string

// The modes.
const (
	Handover Mode = "handover" // the client's connection is the app process's own
	Relay    Mode = "relay"    // request by request over the worker's socket
	Forward  Mode = "forward"  // request by request to the app's own server
	Bare     Mode = "bare"     // a plain net/http server, which the suite itself is measured with
)

// Target is an address that the suite runs against. A zero limit is one that
// the target does not have, and its subtests are not run.
type Target struct {
	Name      string // of the subtests
	Addr      string // as for rawhttp.Dial
	Host      string // field Host
	Mode      Mode
	PathBase  string // where the app is mounted, "" for the root
	OtherHost string // another site on the same address that runs the app too, "" for none
	AppName   string // BEHAVE_NAME of the app and of the other one, "" if not set
	OtherName string

	PlainApp bool // the app is not made with package app: of the client it learns what X-Forwarded-* says

	HeaderTimeout time.Duration // for a request head; best one second or less
	MaxHeader     int           // bytes of the header fields
	MaxURL        int           // bytes of the path
	MaxBody       int64         // bytes of the body
	MaxConns      int           // bound of the connections of the load, 0 for 8

	HostPID int // of a process in the way whose memory is watched too, 0 for none

	// What net/http alone does otherwise.
	TimeoutVaries bool // ends half a head with 400, or without a word, instead of 408
	PanicCloses   bool // closes without 500
	DoubtStays    bool // goes on after a request for which RFC 9112 has it close
}

// Run runs the suite against the target, which must serve nobody else
// meanwhile: the suite counts requests.
func Run(t *testing.T, target Target) {
	s := newSuite(target)
	t.Run(target.Name, func(t *testing.T) {
		for _, group := range [][]test{
			s.messages(), s.factsTests(), s.streams(), s.live(), s.upgrades(), s.malformed(), s.limits(), s.survival(), s.others(),
		} {
			for _, test := range group {
				if test.unless != "" {
					t.Logf("%s: not run: %s", test.name, test.unless)
					continue
				}
				t.Run(test.name, test.run)
			}
		}
	})
}

type test struct {
	name   string
	run    func(*testing.T)
	unless string // why the target has no such test
}

// when says why a test does not apply, unless ok.
func when(ok bool, why string) string {
	if ok {
		return ""
	}
	return why
}

type suite struct {
	Target
	size int64 // of large bodies
}

func newSuite(target Target) *suite {
	s := &suite{Target: target, size: 64 << 20}
	if os.Getenv("AERIE_LONG") != "" {
		s.size = 1 << 30
	}
	return s
}

// dial opens a connection that is closed at the end of the test.
func (s *suite) dial(t *testing.T) *rawhttp.Conn {
	t.Helper()
	c, err := rawhttp.Dial(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // often closed already, by the server too
	return c
}

// head is a request head to the app. Fields are whole lines.
func (s *suite) head(method, path string, fields ...string) []byte {
	return s.headTo(s.Host, method, path, fields...)
}

func (s *suite) headTo(host, method, path string, fields ...string) []byte {
	b := fmt.Appendf(nil, "%s %s%s HTTP/1.1\r\nHost: %s\r\n", method, s.PathBase, path, host)
	for _, f := range fields {
		b = append(b, f+"\r\n"...)
	}
	return append(b, "\r\n"...)
}

// send sends; the server must take it.
func send(t *testing.T, c *rawhttp.Conn, parts ...[]byte) {
	t.Helper()
	if err := c.Send(parts...); err != nil {
		t.Fatal(err)
	}
}

// read reads an answer that must have that status.
func read(t *testing.T, c *rawhttp.Conn, method string, status int) *rawhttp.Response {
	t.Helper()
	r, err := c.ReadResponse(method)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != status {
		t.Fatalf("status %d, want %d: %.300q", r.Status, status, r.Body)
	}
	return r
}

// readHead reads the head of an answer that must have that status.
func readHead(t *testing.T, c *rawhttp.Conn, status int) *rawhttp.Response {
	t.Helper()
	r, err := c.ReadHead("GET")
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != status {
		t.Fatalf("status %d, want %d", r.Status, status)
	}
	return r
}

// get sends GET on c and reads the answer, which must be 200.
func (s *suite) get(t *testing.T, c *rawhttp.Conn, path string) *rawhttp.Response {
	t.Helper()
	send(t, c, s.head("GET", path))
	return read(t, c, "GET", 200)
}

// ask asks the app on a connection of its own.
func (s *suite) ask(t *testing.T, path string) string {
	t.Helper()
	c := s.dial(t)
	defer c.Close()
	return string(s.get(t, c, path).Body)
}

// askJSON asks the app on a connection of its own and decodes the answer.
func (s *suite) askJSON(t *testing.T, path string, v any) {
	t.Helper()
	decode(t, []byte(s.ask(t, path)), v)
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v in %.300q", err, b)
	}
}

// facts sends a request and returns what the handler saw.
func facts(t *testing.T, c *rawhttp.Conn, wire ...[]byte) behave.Facts {
	t.Helper()
	send(t, c, wire...)
	var f behave.Facts
	decode(t, read(t, c, "GET", 200).Body, &f)
	return f
}

// count is the number of requests that have reached the app.
func (s *suite) count(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s.ask(t, "/count")))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// usable makes sure that c still answers, and the right request.
func (s *suite) usable(t *testing.T, c *rawhttp.Conn) {
	t.Helper()
	send(t, c, s.head("GET", "/id?id=usable", "X-Id: usable"))
	if r := read(t, c, "GET", 200); r.Header.Value("X-Id") != "usable" || c.Buffered() > 0 {
		t.Fatalf("not the answer: %q, %d bytes behind it", r.Body, c.Buffered())
	}
}

// ends makes sure that the server closes c and says nothing more.
func ends(t *testing.T, c *rawhttp.Conn) {
	t.Helper()
	if err := c.ReadEOF(); err != nil && rawhttp.KindOf(err) != rawhttp.Reset {
		t.Errorf("the connection is not closed: %v", err)
	}
}

// unique is a name for one rendezvous in the app.
func unique(t *testing.T) string {
	return url.QueryEscape(fmt.Sprintf("%s %d", t.Name(), time.Now().UnixNano()))
}
