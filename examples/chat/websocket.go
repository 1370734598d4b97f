package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

const maxMessage = 4096

// webSocket is as much of RFC 6455 as short text messages need. One goroutine
// may send while another one receives.
type webSocket struct {
	conn net.Conn
	in   *bufio.Reader
}

// accept answers the handshake and takes the connection over from the server.
func accept(w http.ResponseWriter, r *http.Request) (*webSocket, error) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" {
		http.Error(w, "not a WebSocket handshake", http.StatusBadRequest)
		return nil, errors.New("not a WebSocket handshake")
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "no WebSocket here", http.StatusInternalServerError)
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &webSocket{conn, rw.Reader}, nil // rw has what the client sent early
}

// receive returns the next text message. It passes over pings, which browsers
// do not send, and ends with io.EOF when the client closes.
func (ws *webSocket) receive() (string, error) {
	for {
		var b [8]byte // two bytes of head and two of length, or four of mask
		if _, err := io.ReadFull(ws.in, b[:2]); err != nil {
			return "", err
		}
		opcode, masked, n := b[0]&0x0f, b[1]&0x80 != 0, int(b[1]&0x7f)
		if n == 126 {
			if _, err := io.ReadFull(ws.in, b[2:4]); err != nil {
				return "", err
			}
			n = int(binary.BigEndian.Uint16(b[2:4]))
		}
		if b[0]&0x80 == 0 || !masked || b[1]&0x7f == 127 || n > maxMessage {
			return "", errors.New("message in parts, unmasked or too long")
		}
		payload := make([]byte, 4+n)
		if _, err := io.ReadFull(ws.in, payload); err != nil {
			return "", err
		}
		mask, text := payload[:4], payload[4:]
		for i := range text {
			text[i] ^= mask[i%4]
		}
		switch opcode {
		case 1:
			return string(text), nil
		case 8:
			return "", io.EOF
		}
	}
}

// send sends a text message.
func (ws *webSocket) send(text string) error {
	frame := []byte{0x81, byte(len(text))}
	if len(text) > 125 {
		frame = binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(len(text)))
	}
	_, err := ws.conn.Write(append(frame, text...))
	return err
}
