//go:build unix

// Package examples tests that the samples run, alone, as they are shown.
package examples

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"aerie/internal/rawhttp"
	"aerie/test/wsframe"
)

// run starts a sample and returns the address that it prints. At the end of the
// test SIGTERM must end it with exit code 0.
func run(t *testing.T, cmd *exec.Cmd, before string, env ...string) (addr string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr, cmd.Env = w, w, append(os.Environ(), env...)
	err = cmd.Start()
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	logged := make(chan struct{})
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
		<-logged
	})
	lines := bufio.NewReader(r)
	defer func() {
		go func() {
			defer close(logged)
			_, _ = io.Copy(t.Output(), lines) // to the end of the sample
			_ = r.Close()                     // only read from
		}()
	}()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if _, addr, ok := strings.Cut(line, before); ok {
			return strings.TrimSpace(addr)
		}
	}
}

// sample builds a Go sample and runs it on any port.
func sample(t *testing.T, name string, env ...string) (addr string) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", bin, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	addr = run(t, exec.Command(bin), "serving on http://", append(env, "PORT=0")...)
	return strings.Replace(addr, "[::]", "127.0.0.1", 1)
}

func dial(t *testing.T, addr string) *rawhttp.Conn {
	t.Helper()
	c, err := rawhttp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // nothing is lost
	return c
}

// ask sends one request; status and a part of the body must be as given.
func ask(t *testing.T, c *rawhttp.Conn, wire string, status int, part string) {
	t.Helper()
	if err := c.Send([]byte(strings.ReplaceAll(wire, "\n", "\r\n"))); err != nil {
		t.Fatal(err)
	}
	r, err := c.ReadResponse("GET")
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != status || !strings.Contains(string(r.Body), part) {
		t.Errorf("%d %q, want %d and %q", r.Status, r.Body, status, part)
	}
}

func TestHello(t *testing.T) {
	c := dial(t, sample(t, "hello", "GREETING=good morning"))
	ask(t, c, "GET / HTTP/1.1\nHost: x\n\n", 200, "good morning, world\n")
	ask(t, c, "GET /hello/you HTTP/1.1\nHost: x\n\n", 200, "good morning, you\n")
	ask(t, c, "GET / HTTP/1.1\nHost: x\n\n", 200, c.LocalAddr().String())
}

func TestAPI(t *testing.T) {
	c := dial(t, sample(t, "api"))
	ask(t, c, "GET / HTTP/1.1\nHost: x\n\n", 200, `"notes":"/notes"`)
	ask(t, c, "GET /notes HTTP/1.1\nHost: x\n\n", 200, "[]")
	ask(t, c, "POST /notes HTTP/1.1\nHost: x\nContent-Length: 19\n\n{\"text\":\"buy milk\"}", 201, `"link":"/notes/1"`)
	ask(t, c, "GET /notes/1 HTTP/1.1\nHost: x\n\n", 200, "buy milk")
	ask(t, c, "GET /notes/2 HTTP/1.1\nHost: x\n\n", 404, "")
	ask(t, c, "POST /notes HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}", 400, "")
}

func TestChat(t *testing.T) {
	addr := sample(t, "chat")
	events, ws := dial(t, addr), dial(t, addr)
	ask(t, ws, "GET / HTTP/1.1\nHost: x\n\n", 200, "<title>Aerie chat")
	if err := events.Send([]byte("GET /events HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	stream, err := events.ReadHead("GET")
	if err != nil {
		t.Fatal(err)
	}
	ask(t, ws, "GET /ws HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n", 101, "")
	said := strings.Repeat("hi ", 100)
	if err := wsframe.Write(ws, wsframe.Frame{Fin: true, Op: wsframe.Text, Masked: true, Payload: []byte(said)}); err != nil {
		t.Fatal(err)
	}
	if f, err := wsframe.Read(ws); err != nil || string(f.Payload) != said {
		t.Errorf("%+v %v", f, err)
	}
	event := make([]byte, len("data: "+said))
	if _, err := io.ReadFull(stream, event); err != nil || !bytes.Equal(event, []byte("data: "+said)) {
		t.Errorf("%q %v", event, err)
	}
}

func TestNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("not run: no node on this machine")
	}
	socket := filepath.Join(t.TempDir(), "s")
	run(t, exec.Command(node, "node/server.js"), "listening on ", "AERIE_SOCKET="+socket)
	c := dial(t, "unix:"+socket)
	ask(t, c, "GET /a?b HTTP/1.1\nHost: x\nX-Forwarded-For: 1.2.3.4\n\n", 200, "answers 1.2.3.4: GET /a?b")
	if err := c.Send([]byte("GET /events HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadHead("GET"); err != nil {
		t.Fatal(err)
	}
}
