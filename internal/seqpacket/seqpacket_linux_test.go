package seqpacket

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"aerie/internal/peer"
)

func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	l, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = Dial(l.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestDescriptorArrivesWithItsMessage(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := a.Send([]byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := a.TrySend([]byte("second"), int(w.Fd())); err != nil {
		t.Fatal(err)
	}
	w.Close()
	buf := make([]byte, 100)
	n, fds, err := b.Recv(buf)
	if err != nil || string(buf[:n]) != "first" || len(fds) != 0 {
		t.Fatalf("first message: %q, %v, %v", buf[:n], fds, err)
	}
	n, fds, err = b.Recv(buf)
	if err != nil || string(buf[:n]) != "second" || len(fds) != 1 {
		t.Fatalf("second message: %q, %v, %v", buf[:n], fds, err)
	}
	got := os.NewFile(uintptr(fds[0]), "w")
	if _, err := io.WriteString(got, "through"); err != nil {
		t.Fatal(err)
	}
	got.Close()
	if all, err := io.ReadAll(r); err != nil || string(all) != "through" {
		t.Fatalf("read %q, %v", all, err)
	}
}

func TestTrySendNeverWaits(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	sent := 0
	for ; sent < 100_000; sent++ {
		if err = a.TrySend([]byte("x"), int(r.Fd())); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("after %d: %v, want ErrFull", sent, err)
	}
	t.Logf("one socket took %d descriptors", sent)
	if _, fds, err := b.Recv(make([]byte, 10)); err != nil || len(fds) != 1 {
		t.Fatalf("Recv: %v, %v", fds, err)
	}
	if err := a.TrySend([]byte("x")); err != nil {
		t.Fatalf("there is room again: %v", err)
	}
}

func TestSendContextEndsWithItsContext(t *testing.T) {
	a, _ := pair(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() {
		for {
			if err := a.SendContext(ctx, []byte("x")); err != nil {
				done <- err
				return
			}
		}
	}()
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Fatalf("err = %v, want the cause", err)
	}
}

func TestRecvEndsWithThePeer(t *testing.T) {
	a, b := pair(t)
	a.Close()
	if _, _, err := b.Recv(make([]byte, 10)); !errors.Is(err, io.EOF) {
		t.Fatalf("err = %v, want io.EOF", err)
	}
}

func TestTooLongAMessageIsAnError(t *testing.T) {
	a, b := pair(t)
	if err := a.Send([]byte("longer than the buffer")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Recv(make([]byte, 4)); !errors.Is(err, ErrTruncated) {
		t.Fatalf("err = %v, want ErrTruncated", err)
	}
}

func TestDialUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, uid := range []int{-1, os.Getuid()} {
		c, err := DialUser(path, uid)
		if err != nil {
			t.Fatalf("user %d: %v", uid, err)
		}
		c.Close()
	}
	if c, err := DialUser(path, os.Getuid()+1); !errors.Is(err, peer.ErrStranger) {
		t.Fatalf("another user: %v, %v; want ErrStranger", c, err)
	}
}

func TestPeerPID(t *testing.T) {
	a, _ := pair(t)
	if pid, err := a.PeerPID(); err != nil || pid != os.Getpid() {
		t.Fatalf("PeerPID = %d, %v", pid, err)
	}
}

// TestLastMessagesOfACloser: what was sent before a close comes, also when the
// closer had left messages unread.
func TestLastMessagesOfACloser(t *testing.T) {
	a, b := pair(t)
	if err := b.Send([]byte("unread")); err != nil {
		t.Fatal(err)
	}
	for _, msg := range []string{"one", "two"} {
		if err := a.Send([]byte(msg)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	for _, want := range []string{"one", "two"} {
		if n, _, err := b.Recv(buf); err != nil || string(buf[:n]) != want {
			t.Fatalf("%q, %v; want %q", buf[:n], err, want)
		}
	}
	if _, _, err := b.Recv(buf); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}
