//go:build unix

package worker

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
)

// sockets returns a Conn over TCP and its client's end.
func sockets(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l := listenTCP(t)
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := l.Accept()
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	c := &Conn{raw: raw, server: newServer(t, Options{}), phase: phaseServing}
	t.Cleanup(func() {
		_ = client.Close() // some tests close it before
		_ = raw.Close()    // nothing was buffered
	})
	return c, client.(*net.TCPConn)
}

// beats lets many heartbeats pass at once, with rates that hardly anybody keeps,
// and reports whether the connection was cut.
func beats(c *Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range 1000 {
		c.checkRates(Rates{Response: 1 << 30})
	}
	return c.expired == expiredWrite
}

// Bytes go from socket to socket in the kernel. While nothing comes, the client
// has nothing to take.
func TestSlowSourceIsNotASlowClient(t *testing.T) {
	c, client := sockets(t)
	_, source := sockets(t)
	copied := make(chan error, 1)
	go func() {
		_, err := c.ReadFrom(&io.LimitedReader{R: source, N: 4})
		copied <- err
	}()
	eventually(t, "the copy has begun", func() bool { return c.writing.Load() > 0 })
	if beats(c) {
		t.Error("cut for what the source did not send")
	}
	if err := source.CloseRead(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-copied, client.Close()); err != nil {
		t.Error(err)
	}
}

func TestSlowClientOverTCP(t *testing.T) {
	for name, send := range map[string]func(*Conn) error{
		"write": func(c *Conn) error {
			_, err := c.Write(make([]byte, 64<<20))
			return err
		},
		"sendfile": func(c *Conn) error {
			f, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				return err
			}
			defer f.Close()
			if err := f.Truncate(64 << 20); err != nil {
				return err
			}
			_, err = io.Copy(c, f)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := sockets(t)
			sent := make(chan error, 1)
			go func() { sent <- send(c) }()
			eventually(t, "the client that does not read is cut", func() bool { return beats(c) })
			if err := <-sent; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("send: %v", err)
			}
		})
	}
}

func TestWritesComeWhole(t *testing.T) {
	c, client := sockets(t)
	want := make([]byte, 3*sendChunk+7)
	for i := range want {
		want[i] = byte(i * 7)
	}
	sent := make(chan error, 1)
	go func() {
		n, err := c.Write(want)
		if n != len(want) {
			t.Errorf("%d bytes written of %d", n, len(want))
		}
		sent <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(client)
	if err := errors.Join(err, <-sent); err != nil || string(got) != string(want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
