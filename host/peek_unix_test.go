//go:build unix

package host

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aerie/worker"
)

const patience = 20 * time.Second

// tcp returns both ends of a TCP connection.
func tcp(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err = errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), s.Close() }) // some tests have done so
	if err := errors.Join(c.SetDeadline(time.Now().Add(patience)), s.SetDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

func write(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

// TestPeek: nothing is consumed, whatever the peek says.
func TestPeek(t *testing.T) {
	server, client := tcp(t)
	head := "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	write(t, client, head)
	if name, begun, err := peek(server); name != "a.test" || !begun || err != nil {
		t.Errorf("%q, %v, %v", name, begun, err)
	}
	buf := make([]byte, len(head))
	if _, err := io.ReadFull(server, buf); err != nil || string(buf) != head {
		t.Errorf("%q, %v", buf, err)
	}

	write(t, client, "GET / HT") // the end is there before the peek, or comes meanwhile
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, begun, err := peek(server); !begun || !errors.Is(err, errPeekUnusual) {
		t.Errorf("half a head and the end: %v, %v", begun, err)
	}
	if b, err := io.ReadAll(server); err != nil || string(b) != "GET / HT" {
		t.Errorf("%q, %v", b, err)
	}

	server, _ = tcp(t)
	if err := server.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, begun, err := peek(server); begun || !timedOut(err) {
		t.Errorf("nothing: %v, %v", begun, err)
	}
}

// TestLastWord: the answer arrives whole, and no reset behind it.
func TestLastWord(t *testing.T) {
	for _, answer := range []string{turnedAwayAnswer, worker.HeadTimeoutAnswer} {
		server, client := tcp(t)
		write(t, client, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		if _, _, err := peek(server); err != nil {
			t.Fatal(err)
		}
		lastWord(server, answer)
		if got, err := io.ReadAll(client); err != nil || string(got) != answer {
			t.Errorf("%q, %v", got, err)
		}
		_, body, _ := strings.Cut(answer, "\r\n\r\n")
		if !strings.Contains(answer, "Content-Length: "+itoa(len(body))+"\r\n") {
			t.Errorf("body of %d bytes: %q", len(body), answer)
		}
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := takeLock(path); err == nil || !strings.Contains(err.Error(), "pid "+itoa(os.Getpid())) {
		t.Errorf("a second time: %v", err)
	}
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
	l, err = takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != itoa(os.Getpid())+"\n" {
		t.Errorf("%q, %v", b, err)
	}
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
	if _, err := takeLock(filepath.Join(t.TempDir(), "no", "lock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// TestPeekWaitsForTheRest: a head that comes in two pieces is decided when the second
// one is there, although the first one was there before anybody waited.
func TestPeekWaitsForTheRest(t *testing.T) {
	server, client := tcp(t)
	head := "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	write(t, client, head[:20])
	type verdict struct {
		name string
		err  error
	}
	got := make(chan verdict, 1)
	go func() {
		name, _, err := peek(server)
		got <- verdict{name, err}
	}()
	select {
	case v := <-got:
		t.Fatalf("decided by half a head: %+v", v)
	case <-time.After(50 * time.Millisecond):
	}
	write(t, client, head[20:])
	if v := <-got; v.name != "a.test" || v.err != nil {
		t.Errorf("%+v", v)
	}
}
