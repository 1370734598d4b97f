package behave

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"aerie/test/wsframe"
)

// upgrade answers 101 on the raw connection. The caller closes it.
func upgrade(w http.ResponseWriter, fields string) (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "behave: hijack: "+err.Error(), http.StatusInternalServerError)
		return nil, nil, err
	}
	_, err = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n%s\r\n", fields)
	if err = errors.Join(err, rw.Flush()); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, rw, nil
}

// ws echoes WebSocket messages frame by frame, answers pings, and closes when
// the client does or breaks a rule.
func ws(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-Websocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" {
		http.Error(w, "behave: not a WebSocket handshake", http.StatusBadRequest)
		return
	}
	conn, rw, err := upgrade(w, "Upgrade: websocket\r\nSec-WebSocket-Accept: "+wsframe.Accept(key)+"\r\n")
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		f, err := wsframe.Read(rw)
		if err != nil {
			return
		}
		answer := f
		switch {
		case !f.Masked: // RFC 6455, 5.1
			answer = wsframe.Frame{Fin: true, Op: wsframe.Close, Payload: []byte{0x03, 0xea}}
		case f.Op == wsframe.Ping:
			answer.Op = wsframe.Pong
		case f.Op == wsframe.Pong:
			continue
		}
		answer.Masked = false
		if err := errors.Join(wsframe.Write(rw, answer), rw.Flush()); err != nil || answer.Op == wsframe.Close {
			return
		}
	}
}

// hijack answers each line with "echo: " before it, after an upgrade to "raw".
func hijack(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "raw" {
		w.Header().Set("Upgrade", "raw")
		http.Error(w, "behave: upgrade to raw", http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := upgrade(w, "Upgrade: raw\r\n")
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := rw.WriteString("echo: " + line); err != nil {
			return
		}
		if err := rw.Flush(); err != nil || line == "bye\n" {
			return
		}
	}
}
