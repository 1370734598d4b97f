package outproc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"aerie/internal/h1"
	"aerie/module"
	"aerie/proto"
	"aerie/worker"
)

// noting is a response writer that keeps the problem for the log.
type noting struct {
	http.ResponseWriter
	problems chan<- module.Problem
}

var _ module.Noter = (*noting)(nil)

func (n *noting) Note(p module.Problem)       { n.problems <- p }
func (n *noting) Quiet()                      {}
func (n *noting) RequestID() string           { return "id" }
func (n *noting) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// forwarding is a host that forwards everything to an upstream of the test's.
type forwarding struct {
	addr     string
	problems chan module.Problem
}

// forwardTo starts a host in front of an upstream that runs serve on each
// connection.
func forwardTo(t *testing.T, f *Forwarder, pathBase string, serve func(c net.Conn, br *bufio.Reader) error) *forwarding {
	t.Helper()
	dir, err := os.MkdirTemp("", "forward") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				defer c.Close()
				_ = serve(c, bufio.NewReader(c)) // what it finds wrong shows at the other end
			}()
			t.Cleanup(func() { c.Close(); <-served })
		}
	}()
	f.Upstream = &h1.Upstream{Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", l.Addr().String())
	}}
	fw := &forwarding{problems: make(chan module.Problem, 10)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		noted := &noting{w, fw.problems}
		if err := f.Forward(noted, r, pathBase); err != nil {
			worker.FailExchange(noted, r, err)
		}
	}))
	fw.addr = s.Listener.Addr().String()
	t.Cleanup(func() {
		s.Close()
		f.Upstream.Close()
		l.Close()
		<-accepting
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return fw
}

func (fw *forwarding) problem(t *testing.T) module.Problem {
	t.Helper()
	select {
	case p := <-fw.problems:
		return p
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was noted")
		return module.Problem{}
	}
}

// send writes raw to a new connection and returns all that comes back, and the
// client's own address.
// The end of the connection may be a reset, after a failure.
func (fw *forwarding) send(t *testing.T, raw string) (string, netip.AddrPort) {
	t.Helper()
	c, err := net.Dial("tcp", fw.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return string(all), c.LocalAddr().(*net.TCPAddr).AddrPort()
}

// echoHead answers with the request's head as the body.
func echoHead(c net.Conn, br *bufio.Reader) error {
	r, err := http.ReadRequest(br)
	if err != nil {
		return err
	}
	resp := &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Close: true}
	var b strings.Builder
	b.WriteString(r.RequestURI + "\nHost: " + r.Host + "\n")
	if err := r.Header.Write(&b); err != nil {
		return err
	}
	resp.Body = io.NopCloser(strings.NewReader(b.String()))
	return resp.Write(c)
}

const spoofed = "Aerie-Record: 1 secret\r\nAerie_Record: x\r\naerie-user: root\r\n" +
	"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nx_forwarded_for: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n" +
	"X-Forwarded-Prefix: /outer/\r\nX-Forwarded-Port: 1\r\nForwarded: for=1.2.3.4\r\nX_Real_IP: 1.2.3.4\r\n"

func TestForward_TellsOfTheClient(t *testing.T) {
	for _, tt := range []struct {
		name, pathBase, target, fields string
		trusted                        bool
		want                           []string
	}{
		{"plain", "", "/a%2Fb?c", "", false, []string{
			"/a%2Fb?c", "Host: h", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: h", "X-Forwarded-Proto: http"}},
		{"absolute target", "", "http://h?c", "", false, []string{
			"/?c", "Host: h", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: h", "X-Forwarded-Proto: http"}},
		{"untrusted", "/shop", "/shop/x", spoofed, false, []string{
			"/shop/x", "Host: h", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: h", "X-Forwarded-Prefix: /shop", "X-Forwarded-Proto: http"}},
		{"trusted", "/shop", "/shop/x", spoofed, true, []string{
			"/shop/x", "Forwarded: for=1.2.3.4", "Host: h", "X-Forwarded-For: 1.2.3.4, 5.6.7.8, 127.0.0.1", "X-Forwarded-Host: outer",
			"X-Forwarded-Port: 1", "X-Forwarded-Prefix: /outer/shop", "X-Forwarded-Proto: https", "X_real_ip: 1.2.3.4"}},
		{"taken away by Connection", "", "/", "Connection: close, X-Forwarded-For, Aerie-Record, X-Forwarded-Proto\r\n", false, []string{
			"/", "Host: h", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: h", "X-Forwarded-Proto: http"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked netip.Addr
			f := &Forwarder{Token: "secret", Trusted: func(a netip.Addr) bool { asked = a; return tt.trusted }}
			fw := forwardTo(t, f, tt.pathBase, echoHead)
			all, client := fw.send(t, "GET "+tt.target+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"+tt.fields+"\r\n")
			_, body, _ := strings.Cut(all, "\r\n\r\n")
			lines := strings.FieldsFunc(dechunk(t, all, body), func(r rune) bool { return r == '\n' || r == '\r' })

			records := http.Header{}
			lines = slices.DeleteFunc(lines, func(line string) bool {
				name, value, _ := strings.Cut(line, ": ")
				if !strings.HasPrefix(name, "Aerie") {
					return false
				}
				records.Add(name, value)
				return true
			})
			slices.Sort(lines[1:])
			if !slices.Equal(lines, tt.want) {
				t.Errorf("got  %q\nwant %q", lines, tt.want)
			}
			rec, err := proto.TakeRecord(records, "secret")
			want := proto.Record{Token: "secret", Scheme: "http", Remote: client, Local: netip.MustParseAddrPort(fw.addr), Trusted: tt.trusted, PathBase: tt.pathBase}
			if err != nil || rec != want || len(records) > 0 {
				t.Errorf("record %+v, %v, beside it %v; want %+v", rec, err, records, want)
			}
			if asked != client.Addr() {
				t.Errorf("asked whether %v is trusted", asked)
			}
		})
	}
}

func dechunk(t *testing.T, all, body string) string {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(all)), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	return string(b)
}

func TestForward_Fails(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
	for _, tt := range []struct {
		name, request, answer string
		alive                 func() string
		status                string // of what the client gets
		problem               module.Problem
		reason                string // a part of it
	}{
		{"child is gone", get, "", func() string { return "signal: killed" }, "502", module.Problem{Status: 502, SubStatus: 3}, "has ended: signal: killed"},
		{"child hangs up", get, "", func() string { return "" }, "502", module.Problem{Status: 502, SubStatus: 3}, "await response"},
		{"garbage", get, "hello\r\n\r\n", nil, "502", module.Problem{Status: 502, SubStatus: 3}, "parse response"},
		{"body cut", get, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 50000), nil, "200", module.Problem{Status: 502, SubStatus: 3}, "read response body"},
		{"malformed request body", "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "never", nil, "400", module.Problem{Status: 400}, "read request body"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fw := forwardTo(t, &Forwarder{Token: "secret", Alive: tt.alive}, "", func(c net.Conn, br *bufio.Reader) error {
				r, err := http.ReadRequest(br)
				if err != nil {
					return err
				}
				if tt.answer == "never" {
					_, err := io.Copy(io.Discard, r.Body)
					return err
				}
				_, err = io.WriteString(c, tt.answer)
				return err
			})
			all, _ := fw.send(t, tt.request)
			if !strings.HasPrefix(all, "HTTP/1.1 "+tt.status+" ") {
				t.Errorf("the client got %q, want %s", all, tt.status)
			}
			p := fw.problem(t)
			if p.Status != tt.problem.Status || p.SubStatus != tt.problem.SubStatus || !strings.Contains(p.Reason, tt.reason) {
				t.Errorf("noted %+v, want %+v with %q", p, tt.problem, tt.reason)
			}
			if strings.Contains(all, "secret") || strings.Contains(all, tt.reason) {
				t.Errorf("the client was told too much: %q", all)
			}
		})
	}
}

func TestForward_ClientGone(t *testing.T) {
	got := make(chan struct{})
	fw := forwardTo(t, &Forwarder{Token: "secret"}, "", func(_ net.Conn, br *bufio.Reader) error {
		if _, err := http.ReadRequest(br); err != nil {
			return err
		}
		close(got)
		_, err := br.ReadByte() // until the host ends the connection
		return err
	})
	c, err := net.Dial("tcp", fw.addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	await(t, "the request", got)
	c.Close()
	if p := fw.problem(t); p.Status != 499 {
		t.Errorf("noted %+v", p)
	}
}
