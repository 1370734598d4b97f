package suite

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"aerie/internal/rawhttp"
	"aerie/test/wsframe"
)

// upgrades are the tests of connections that stop being HTTP.
func (s *suite) upgrades() []test {
	return []test{
		{"WebSocket echo", s.webSocket, ""},
		{"WebSocket rules", s.webSocketRules, ""},
		{"WebSocket client goes", s.webSocketGone, ""},
		{"hijack", s.hijack, ""},
	}
}

const wsKey = "dGhlIHNhbXBsZSBub25jZQ=="

func (s *suite) wsHead() []byte {
	return s.head("GET", "/ws", "Connection: keep-alive, Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+wsKey)
}

// frame is the wire form of a client's frame.
func frame(t *testing.T, f wsframe.Frame) []byte {
	t.Helper()
	f.Masked = true
	var b bytes.Buffer
	if err := wsframe.Write(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// switched reads the 101 of the handshake.
func switched(t *testing.T, c *rawhttp.Conn) {
	t.Helper()
	r := readHead(t, c, 101)
	if r.Header.Value("Sec-WebSocket-Accept") != wsframe.Accept(wsKey) || r.Header.Value("Upgrade") != "websocket" {
		t.Fatalf("handshake: %q", r.Header)
	}
}

// expectFrame reads a frame of the server.
func expectFrame(t *testing.T, c *rawhttp.Conn, want wsframe.Frame) {
	t.Helper()
	got, err := wsframe.Read(c)
	if err != nil {
		t.Fatal(err)
	}
	if got.Masked || got.Fin != want.Fin || got.Op != want.Op || !bytes.Equal(got.Payload, want.Payload) {
		t.Fatalf("frame fin=%v op=%d of %d bytes, want fin=%v op=%d of %d: %.80q",
			got.Fin, got.Op, len(got.Payload), want.Fin, want.Op, len(want.Payload), got.Payload)
	}
}

func (s *suite) webSocket(t *testing.T) {
	c := s.dial(t)
	hello := wsframe.Frame{Fin: true, Op: wsframe.Text, Payload: []byte("hello")}
	// The first frame is in the segment of the handshake.
	send(t, c, append(s.wsHead(), frame(t, hello)...))
	switched(t, c)
	expectFrame(t, c, hello)
	big := make([]byte, 300_000)
	rawhttp.Pattern(big, 0)
	for _, f := range []wsframe.Frame{
		hello,
		{Fin: true, Op: wsframe.Binary, Payload: big[:126]},
		{Fin: true, Op: wsframe.Binary, Payload: big},
		{Fin: false, Op: wsframe.Text, Payload: []byte("in ")},
		{Fin: true, Op: wsframe.Continuation, Payload: []byte("parts")},
		{Fin: true, Op: wsframe.Text},
	} {
		wire := frame(t, f)
		send(t, c, wire[:1], wire[1:len(wire)/2], wire[len(wire)/2:])
		expectFrame(t, c, f)
	}
	ping := wsframe.Frame{Fin: true, Op: wsframe.Ping, Payload: []byte("are you there")}
	send(t, c, frame(t, ping))
	ping.Op = wsframe.Pong
	expectFrame(t, c, ping)
	bye := wsframe.Frame{Fin: true, Op: wsframe.Close, Payload: []byte{0x03, 0xe8}}
	send(t, c, frame(t, bye))
	expectFrame(t, c, bye)
	ends(t, c)
}

func (s *suite) webSocketRules(t *testing.T) {
	c := s.dial(t)
	send(t, c, s.wsHead())
	switched(t, c)
	send(t, c, []byte{0x81, 0x01, 'x'}) // not masked
	expectFrame(t, c, wsframe.Frame{Fin: true, Op: wsframe.Close, Payload: []byte{0x03, 0xea}})
	ends(t, c)
	c = s.dial(t)
	send(t, c, s.head("GET", "/ws"))
	read(t, c, "GET", 400)
	s.usable(t, c)
}

// webSocketGone: the app's end of an upgraded connection ends with the client's.
func (s *suite) webSocketGone(t *testing.T) {
	c := s.dial(t)
	send(t, c, s.wsHead())
	switched(t, c)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	ends(t, c)
}

func (s *suite) hijack(t *testing.T) {
	c := s.dial(t)
	send(t, c, append(s.head("GET", "/hijack", "Connection: Upgrade", "Upgrade: raw"), "one\n"...))
	if r := readHead(t, c, 101); r.Header.Value("Upgrade") != "raw" {
		t.Errorf("%q", r.Header)
	}
	expectRaw(t, c, "echo: one\n")
	send(t, c, []byte("t"), []byte("wo\nthree\n"))
	expectRaw(t, c, "echo: two\necho: three\n")
	send(t, c, []byte("bye\n"))
	expectRaw(t, c, "echo: bye\n")
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func expectRaw(t *testing.T, c *rawhttp.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("%q %v, want %q", got, err, want)
	}
}
