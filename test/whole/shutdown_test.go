//go:build unix

package whole

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"aerie/test/hosttest"
)

// TestShutdownUnderLoad: clients that ask one thing after the other, with requests
// that may not be sent twice, lose none when the host ends: each is told with an
// answer that it was the last one.
func TestShutdownUnderLoad(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	for _, mode := range []string{"handover", "relay", "forward"} {
		t.Run(mode, func(t *testing.T) {
			h := hosttest.New(t, behaving, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
			const clients = 16
			var warm, all sync.WaitGroup
			warm.Add(clients)
			for n := range clients {
				all.Go(func() {
					if err := askUntilTold(h.Addr, mode+".test", warm.Done); err != nil {
						t.Errorf("client %d: %v", n, err)
					}
				})
			}
			warm.Wait()
			h.Signal(syscall.SIGTERM)
			all.Wait()
			if err := h.Exited(); err != nil {
				t.Error(err)
			}
		})
	}
}

// askUntilTold sends one request after the other on one connection until an answer
// says that it is the last one. warm is called when it has got some.
func askUntilTold(addr, host string, warm func()) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // it is read to its end, or has failed
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	for n := 0; ; n++ {
		if n == 20 {
			warm()
		}
		if _, err := fmt.Fprintf(c, "POST /sink HTTP/1.1\r\nHost: %s\r\nContent-Length: 2\r\n\r\nhi", host); err != nil {
			return fmt.Errorf("request %d: %w", n, err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return fmt.Errorf("answer %d: %w", n, err)
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("answer %d: %s", n, resp.Status)
		}
		if _, err := r.Discard(int(resp.ContentLength)); err != nil {
			return fmt.Errorf("body %d: %w", n, err)
		}
		if resp.Close {
			return nil
		}
	}
}
