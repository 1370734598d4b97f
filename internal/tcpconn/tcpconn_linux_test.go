package tcpconn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

// newListener listens on address.
func newListener(t *testing.T, address string) *Listener {
	t.Helper()
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewListener(tcp.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // some tests have done so
	return l
}

// pair is a connection and its client's end.
func pair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l := newListener(t, "127.0.0.1:0")
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), c.Close() }) // as above
	if err := client.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*Conn), client.(*net.TCPConn)
}

// arrived waits until n bytes are there to be read.
func arrived(t *testing.T, c *Conn, n int) {
	t.Helper()
	buf := make([]byte, n)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if got, err := c.Peek(buf); err == nil && got == n {
			return
		}
	}
	t.Fatalf("%d bytes have not come", n)
}

func TestOneRequestNeedsNoPoller(t *testing.T) {
	c, client := pair(t)
	if _, err := io.WriteString(client, "question"); err != nil {
		t.Fatal(err)
	}
	arrived(t, c, 8)
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil || string(buf[:n]) != "question" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if n, err := io.WriteString(c, "answer"); err != nil || n != 6 {
		t.Fatal(n, err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(uintptr) {}); err != nil {
		t.Fatal(err)
	}
	if c.joined.Load() != nil {
		t.Error("it has joined the poller")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client); err != nil || string(got) != "answer" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWaits(t *testing.T) {
	c, client := pair(t)
	go func() {
		_, _ = io.WriteString(client, "late") // the read below says whether it came
	}()
	buf := make([]byte, 4)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "late" {
		t.Fatalf("%q, %v", buf, err)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	sent := make(chan error, 1)
	go func() {
		n, err := c.Write(big)
		if n != len(big) {
			err = errors.Join(err, io.ErrShortWrite)
		}
		sent <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(client)
	if err := errors.Join(err, <-sent); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, big) {
		t.Errorf("%d bytes of %d, or others", len(got), len(big))
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(buf); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestEndIsSeenWithoutWaiting(t *testing.T) {
	c, client := pair(t)
	if _, err := io.WriteString(client, "x"); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	arrived(t, c, 1)
	if got, err := io.ReadAll(c); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	if n, err := c.Peek(make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("peek at the end: %d, %v", n, err)
	}
}

func TestPeekDoesNotWait(t *testing.T) {
	c, _ := pair(t)
	if _, err := c.Peek(make([]byte, 1)); err != ErrWait {
		t.Errorf("%v", err)
	}
}

func TestDeadline(t *testing.T) {
	c, _ := pair(t)
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
		t.Errorf("%v", err)
	}
}

func TestCloseWakesARead(t *testing.T) {
	c, _ := pair(t)
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	for name, err := range map[string]error{
		"close": c.Close(), "write": second(c.Write([]byte("x"))), "deadline": c.SetDeadline(time.Now()), "shutdown": c.CloseWrite(),
		"peek": second(c.Peek(make([]byte, 1))),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
}

func second(_ int, err error) error { return err }

func TestReset(t *testing.T) {
	c, client := pair(t)
	if err := errors.Join(client.SetLinger(0), client.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
}

func TestFileIsSentByTheKernel(t *testing.T) {
	c, client := pair(t)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read from
	if n, err := io.Copy(c, f); err != nil || n != 7 {
		t.Fatal(n, err)
	}
	buf := make([]byte, 7)
	if _, err := io.ReadFull(client, buf); err != nil || string(buf) != "content" {
		t.Errorf("%q, %v", buf, err)
	}
	if c.copier != nil {
		t.Error("a second descriptor is kept")
	}
}

func TestAddresses(t *testing.T) {
	for _, tt := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "127.0.0.1"}, {":0", "127.0.0.1"}, {":0", "127.0.0.2"}, {":0", "::1"}, {"[::1]:0", "::1"},
	} {
		t.Run(tt.listen+" "+tt.dial, func(t *testing.T) {
			probe, err := net.Listen("tcp", net.JoinHostPort(tt.dial, "0"))
			if err != nil && os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			if err != nil {
				t.Skipf("no %s here: %v", tt.dial, err)
			}
			if err := probe.Close(); err != nil {
				t.Fatal(err)
			}
			l := newListener(t, tt.listen)
			_, port, err := net.SplitHostPort(l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			client, err := net.Dial("tcp", net.JoinHostPort(tt.dial, port))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }() // nothing was written
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }() // likewise
			if c.LocalAddr().String() != client.RemoteAddr().String() || c.RemoteAddr().String() != client.LocalAddr().String() {
				t.Errorf("%v to %v; the client says %v to %v", c.RemoteAddr(), c.LocalAddr(), client.LocalAddr(), client.RemoteAddr())
			}
		})
	}
}

func TestListenerCloseEndsAccept(t *testing.T) {
	l := newListener(t, "127.0.0.1:0")
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case err := <-accepted:
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%v", err)
			}
		case <-time.After(patience):
			t.Fatal("Accept goes on")
		}
		_, err := l.Accept()
		accepted <- err
	}
	if _, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("it is still open: %v", err)
	}
}
