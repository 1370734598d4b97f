package h1

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// memoryConn is an upstream that has sent all that it ever will.
type memoryConn struct {
	net.Conn
	in *bytes.Reader
}

func (c *memoryConn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *memoryConn) Write(p []byte) (int, error) { return len(p), nil }
func (c *memoryConn) Close() error                { return nil }

// finalOnly hides interim responses from a recorder, which takes them for final.
type finalOnly struct{ *httptest.ResponseRecorder }

func (w finalOnly) WriteHeader(status int) {
	if status >= 200 {
		w.ResponseRecorder.WriteHeader(status)
	}
}

// receive parses text as the response to method, as Exchange does.
func receive(text []byte, method string) (*httptest.ResponseRecorder, *Error) {
	rec := httptest.NewRecorder()
	x := &exchange{
		u:    &Upstream{},
		w:    finalOnly{rec},
		req:  &Request{Inbound: httptest.NewRequest(method, "/", nil)},
		conn: newConn(&memoryConn{in: bytes.NewReader(text)}),
		buf:  make([]byte, readBuffer),
	}
	if failed := x.await(); failed != nil {
		return rec, failed
	}
	return rec, x.deliver()
}

// FuzzResponse holds the parser to net/http's: it accepts no response that
// http.ReadResponse refuses, and reads the same out of it.
func FuzzResponse(f *testing.F) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-a: b\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.0 200\r\nConnection: keep-alive\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A, B\r\n\r\n2;x=y\r\nhi\r\n0a \r\n0123456789\r\n0\r\nA: 1\r\nC: 2\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nEtag: x\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nx_y: \t a b \t\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nConnection: x\r\nX: 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
		"HTTP/1.1 200 OK\nX: y\n\n",
	} {
		f.Add([]byte(text), false)
		f.Add([]byte(text), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		rec, failed := receive(text, method)
		if failed != nil {
			return
		}
		br := bufio.NewReader(bytes.NewReader(text))
		want, err := http.ReadResponse(br, &http.Request{Method: method})
		for err == nil && want.StatusCode < 200 {
			want, err = http.ReadResponse(br, &http.Request{Method: method})
		}
		if err != nil {
			t.Fatalf("net/http refuses it: %v", err)
		}
		body, err := io.ReadAll(want.Body)
		if err != nil {
			t.Fatalf("net/http refuses its body: %v", err)
		}
		if rec.Code != want.StatusCode || rec.Body.String() != string(body) {
			t.Errorf("got %d %q, net/http has %d %q", rec.Code, rec.Body, want.StatusCode, body)
		}
		compareHeaders(t, rec, want)
	})
}

// compareHeaders compares what is left for the client with what net/http has
// read. Neither has the fields of the connection.
func compareHeaders(t *testing.T, rec *httptest.ResponseRecorder, want *http.Response) {
	t.Helper()
	got, wanted := http.Header{}, http.Header{}
	listed := want.Header["Connection"]
	for name, values := range rec.Header() {
		if len(values) > 0 && name != "Trailer" && name != "Transfer-Encoding" && name != "Cache-Control" && !strings.HasPrefix(name, http.TrailerPrefix) {
			got[name] = values
		}
	}
	for name, values := range want.Header {
		switch name {
		case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
			"Te", "Trailer", "Upgrade", "Transfer-Encoding", "Cache-Control":
			continue // net/http invents a Cache-Control
		}
		if !lists(listed, name) {
			wanted[name] = values
		}
	}
	for name := range want.Trailer {
		delete(got, name) // an announced trailer is in the header's map
		delete(wanted, name)
	}
	if want.Close && want.Header["Connection"] == nil {
		// net/http has removed the field that may have listed others.
		return
	}
	if !maps.EqualFunc(got, wanted, slices.Equal) {
		t.Errorf("got header %q, net/http has %q", got, wanted)
	}
}
