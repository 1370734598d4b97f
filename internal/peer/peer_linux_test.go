package peer

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestDial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := Dial(t.Context(), path, os.Getuid())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if c, err := Dial(t.Context(), path, os.Getuid()+1); !errors.Is(err, ErrStranger) {
		t.Errorf("another user: %v, %v; want ErrStranger", c, err)
	}
}

// TestOnly: connections of the user come, those of others are closed. All of
// the test's are of one user, so a listener for somebody else lets the process's
// own in, and nothing else may be said of it here: see test/whole.
func TestOnly(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, err := Only(l, os.Getuid()+1).Accept()
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read: %v", err)
	}
}
