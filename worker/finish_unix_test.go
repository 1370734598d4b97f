//go:build unix

package worker

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// unread is a connection whose bytes nobody reads until they are let through.
type unread struct {
	*net.TCPConn
	through <-chan struct{}
}

func (c *unread) Read(p []byte) (int, error) {
	<-c.through
	return c.TCPConn.Read(p)
}

// TestFinishSparesWhatHasCome: a request that has come as far as the kernel is
// answered.
func TestFinishSparesWhatHasCome(t *testing.T) {
	s := newServer(t, Options{})
	s.SetTable(OneApplication(s.Bounded(http.HandlerFunc(echo)), s.opts.Logger))
	l := listenTCP(t)
	c := dial(t, l.Addr().String())
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	through := make(chan struct{})
	if err := s.ServeConn(&unread{raw.(*net.TCPConn), through}, Source{}); err != nil {
		t.Fatal(err)
	}
	send(t, c, get(1))
	eventually(t, "the request", func() bool { return readable(raw) })
	s.Finish()
	began := time.Now().UnixNano()
	eventually(t, "some heartbeats", func() bool { return s.clock.Load() > began+int64(4*beat) })
	close(through)
	if r := read(t, c, "GET", 200); !r.Close {
		t.Error("it does not say that it was the last one")
	}
}
