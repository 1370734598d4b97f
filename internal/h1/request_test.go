package h1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// captured starts an upstream that tells the heads of its requests.
func captured(t *testing.T) (*Upstream, chan string) {
	heads := make(chan string, 10)
	u := scriptUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) error {
		for {
			head, err := readHeadText(br)
			if err != nil {
				return err
			}
			heads <- head
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return err
			}
		}
	})
	return u, heads
}

func TestExchange_WritesHead(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []string // lines after the request line, sorted
	}{
		{"plain", "GET /a%2Fb?x=%20#f HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n",
			[]string{"Accept: */*", "Host: h", "X-Set: ours"}},
		{"hop by hop", "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nProxy-Authorization: x\r\nUpgrade: foo\r\nX-Yours: 2\r\n\r\n",
			[]string{"Host: h", "X-Set: ours", "X-Yours: 2"}},
		{"underscores", "GET / HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\nX_Set: theirs\r\nX-Dropped: 1\r\nx_dropped: 2\r\nConnection: X_Mine\r\nX-Mine: 1\r\nA_b: 3\r\n\r\n",
			[]string{"A_b: 3", "Host: h", "X-Set: ours"}},
		{"connection cannot take away what we set", "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Set, Host\r\nX-Set: theirs\r\n\r\n",
			[]string{"Host: h", "X-Set: ours"}},
		{"trailers wanted", "GET / HTTP/1.1\r\nHost: h\r\nTE: gzip, trailers\r\nConnection: TE\r\n\r\n",
			[]string{"Connection: TE", "Host: h", "TE: trailers", "X-Set: ours"}},
		{"two values", "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 a\r\nVia: 1.1 b\r\n\r\n",
			[]string{"Host: h", "Via: 1.1 a", "Via: 1.1 b", "X-Set: ours"}},
		{"get with length 0", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
			[]string{"Content-Length: 0", "Host: h", "X-Set: ours"}},
		{"post without length", "POST / HTTP/1.1\r\nHost: h\r\n\r\n",
			[]string{"Content-Length: 0", "Host: h", "X-Set: ours"}},
		{"chunked get", "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			[]string{"Host: h", "Transfer-Encoding: chunked", "X-Set: ours"}},
		{"cleartext HTTP/2", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
			[]string{"Host: h", "X-Set: ours"}},
		{"http 1.0", "POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi",
			[]string{"Content-Length: 2", "Host: ", "X-Set: ours"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, heads := captured(t)
			f := serveFront(t, u, func(_ http.ResponseWriter, req *Request) {
				req.Drop = func(name string) bool { return name == "X-Dropped" }
				req.Set = []Field{{"X-Set", "ours"}}
			})
			if resp, _, _ := f.roundTrip(t, "GET", tt.in); resp.StatusCode != 200 {
				t.Fatalf("status %d, error %v", resp.StatusCode, f.err(t))
			}
			lines := strings.Split(strings.TrimSuffix(<-heads, "\r\n\r\n"), "\r\n")
			method, rest, _ := strings.Cut(tt.in, " ")
			target, _, _ := strings.Cut(rest, " ")
			if want := method + " " + target + " HTTP/1.1"; lines[0] != want {
				t.Errorf("request line %q, want %q", lines[0], want)
			}
			got := lines[1:]
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestExchange_Refuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Request)
	}{
		{"method", func(r *Request) { r.Inbound.Method = "GET / HTTP/1.1\r\nX:" }},
		{"connect", func(r *Request) { r.Inbound.Method = "CONNECT" }},
		{"empty target", func(r *Request) { r.Target = "" }},
		{"space in target", func(r *Request) { r.Target = "/a b" }},
		{"host", func(r *Request) { r.Host = "h\r\nX: y" }},
		{"value", func(r *Request) { r.Inbound.Header.Set("X-A", "a\nb") }},
		{"nul", func(r *Request) { r.Inbound.Header.Set("X-A", "a\x00b") }},
		{"name", func(r *Request) { r.Inbound.Header["X A"] = []string{"b"} }},
		{"set value", func(r *Request) { r.Set = []Field{{"X-A", "a\rb"}} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := scriptUpstream(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
			f := serveFront(t, u, func(_ http.ResponseWriter, req *Request) { tt.change(req) })
			f.roundTrip(t, "GET", "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			if failed := f.failure(t); failed.Stage != Refused || failed.Answered {
				t.Errorf("got %v, answered %v", failed, failed.Answered)
			}
			if n := u.Stats().Dialed; n != 0 {
				t.Errorf("%d connections were opened", n)
			}
		})
	}
}

func TestExchange_SendsBody(t *testing.T) {
	for _, tt := range []struct {
		name, framing, body string
		buffered            bool
	}{
		{"length", "Content-Length: 5\r\n", "hello", false},
		{"length, buffered", "Content-Length: 5\r\n", "hello", true},
		{"chunks", "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n", "2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 7\r\nX-Dropped: 1\r\nContent-Length: 3\r\n\r\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := serveUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				w.Header().Set("X-Length", r.Header.Get("Content-Length"))
				_, dropped := r.Trailer["X-Dropped"]
				if err != nil || dropped || len(r.Trailer["Content-Length"]) > 0 {
					w.WriteHeader(400)
				}
				_, _ = io.WriteString(w, string(b)+r.Trailer.Get("X-Sum"))
			})
			f := serveFront(t, u, func(_ http.ResponseWriter, req *Request) {
				req.Buffered = tt.buffered
				req.Drop = func(name string) bool { return name == "X-Dropped" }
			})
			c, br := f.dial(t)
			for i := range 3 {
				if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\n"+tt.framing+"\r\n"+tt.body); err != nil {
					t.Fatal(err)
				}
				want := "hello"
				if tt.name == "chunks" {
					want = "hello7"
				}
				if resp, body := readResponse(t, br, "POST"); resp.StatusCode != 200 || body != want || resp.Close {
					t.Fatalf("request %d: status %d, body %q, close %v", i, resp.StatusCode, body, resp.Close)
				}
				if err := f.err(t); err != nil {
					t.Fatal(err)
				}
			}
			if s := u.Stats(); s.Dialed != 1 || s.Reused != 2 {
				t.Errorf("%+v: the connection was not reused", s)
			}
		})
	}
}
