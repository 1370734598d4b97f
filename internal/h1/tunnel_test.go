package h1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

const upgradeHead = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"

// echoUpgrade answers 101 with some bytes of the new protocol at once, and
// then sends back what it gets, and the end.
func echoUpgrade(_ int, c net.Conn, br *bufio.Reader) error {
	head, err := readHeadText(br)
	if err != nil {
		return err
	}
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil || req.Header.Get("Connection") != "Upgrade" || req.Header.Get("Upgrade") != "websocket" {
		return err
	}
	if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: y\r\n\r\nfirst\n"); err != nil {
		return err
	}
	_, err = io.Copy(c, br)
	closeWrite(c)
	return err
}

func TestExchange_Upgrade(t *testing.T) {
	u := scriptUpstream(t, echoUpgrade)
	f := serveFront(t, u, nil)
	c, br := f.dial(t)
	// Some bytes of the new protocol come together with the request.
	if _, err := io.WriteString(c, upgradeHead+"early\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "WebSocket" || resp.Header.Get("Connection") != "Upgrade" || resp.Header.Get("Sec-Websocket-Accept") != "y" {
		t.Fatalf("got %v", resp)
	}
	for _, want := range []string{"first\n", "early\n", "late\n"} {
		if want == "late\n" {
			if _, err := io.WriteString(c, want); err != nil {
				t.Fatal(err)
			}
		}
		if line, err := br.ReadString('\n'); err != nil || line != want {
			t.Fatalf("got %q, %v; want %q", line, err, want)
		}
	}
	go func() { _ = sendPattern(c, 8<<20, false); closeWrite(c) }()
	n, err := io.Copy(io.Discard, br) // ends when the end has gone round
	if err != nil || n < 8<<20 {
		t.Errorf("%d bytes came back: %v", n, err)
	}
	if err := f.err(t); err != nil {
		t.Error(err)
	}
	if s := u.Stats(); s.Idle != 0 || s.Active != 0 {
		t.Errorf("%+v", s)
	}
}

func TestExchange_UpgradeEnds(t *testing.T) {
	t.Run("client is gone", func(t *testing.T) {
		f := serveFront(t, scriptUpstream(t, echoUpgrade), nil)
		c, br := f.dial(t)
		if _, err := io.WriteString(c, upgradeHead); err != nil {
			t.Fatal(err)
		}
		if _, err := http.ReadResponse(br, nil); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := f.err(t); err != nil {
			t.Error(err)
		}
	})
	t.Run("upstream is gone", func(t *testing.T) {
		gone := make(chan struct{})
		u := scriptUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) error {
			if _, err := readHeadText(br); err != nil {
				return err
			}
			_, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			<-gone
			return err
		})
		f := serveFront(t, u, nil)
		c, br := f.dial(t)
		if _, err := io.WriteString(c, upgradeHead); err != nil {
			t.Fatal(err)
		}
		if _, err := http.ReadResponse(br, nil); err != nil {
			t.Fatal(err)
		}
		close(gone)
		if _, err := br.ReadByte(); err != io.EOF {
			t.Errorf("the end does not come through: %v", err)
		}
		c.Close()
		if err := f.err(t); err != nil {
			t.Error(err)
		}
	})
}

func TestExchange_UpgradeRefused(t *testing.T) {
	u := scriptUpstream(t, answer(okResponse))
	f := serveFront(t, u, nil)
	c, br := f.dial(t)
	for range 2 {
		if _, err := io.WriteString(c, upgradeHead); err != nil {
			t.Fatal(err)
		}
		if resp, body := readResponse(t, br, "GET"); resp.StatusCode != 200 || body != "hi" || resp.Close {
			t.Errorf("got %v %q", resp, body)
		}
	}
	if s := u.Stats(); s.Dialed != 1 {
		t.Errorf("%+v", s)
	}
}
