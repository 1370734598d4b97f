package worker

import (
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"aerie/config"
	"aerie/internal/rawhttp"
)

// counted is a connection that counts what it is asked.
type counted struct {
	net.Conn
	reads, deadlines atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

func (c *counted) SetReadDeadline(t time.Time) error {
	c.deadlines.Add(1)
	return c.Conn.SetReadDeadline(t)
}

// TestShortRequestsAreSparedTheBackgroundRead: each is one read, and no deadline is
// set for it.
func TestShortRequestsAreSparedTheBackgroundRead(t *testing.T) {
	inMemory(t, config.SiteLimits{}, func(http.ResponseWriter, *http.Request) {}, func(m *memory) {
		client, server := net.Pipe()
		conn := &counted{Conn: piped{server, m.addr}}
		if err := m.server.ServeConn(conn, Source{}); err != nil {
			m.Fatal(err)
		}
		c := rawhttp.NewConn(piped{client, m.addr})
		const requests = 5
		for n := range requests {
			send(t, c, get(n))
			read(t, c, "GET", 200)
		}
		synctest.Wait()
		if reads, deadlines := conn.reads.Load(), conn.deadlines.Load(); reads != requests+1 || deadlines != 0 {
			m.Errorf("%d reads and %d deadlines for %d requests and the wait for another", reads, deadlines, requests)
		}
		if err := c.Close(); err != nil {
			m.Fatal(err)
		}
	})
}

// TestClientThatLeaves: a handler that waits learns of it within a beat, also on a
// connection that has served others before.
func TestClientThatLeaves(t *testing.T) {
	var left atomic.Pointer[time.Time]
	inMemory(t, config.SiteLimits{}, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/id/1" {
			<-r.Context().Done()
			left.Store(new(time.Now()))
		}
	}, func(m *memory) {
		c := m.connect(Source{})
		send(t, c, get(0))
		read(t, c, "GET", 200)
		send(t, c, get(1))
		synctest.Wait()
		began := time.Now()
		if err := c.Close(); err != nil {
			m.Fatal(err)
		}
		time.Sleep(2 * beat) // the bubble's time
		if left.Load() == nil {
			m.Fatal("it has not been told")
		}
		if took := left.Load().Sub(began); took > beat {
			m.Errorf("it took %v", took)
		}
	})
}
