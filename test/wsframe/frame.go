// Package wsframe reads and writes the frames of RFC 6455, both ends of them,
// for tests of upgraded connections.
package wsframe

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
)

// Op is the opcode of a frame.
type Op byte

// The opcodes.
const (
	Continuation Op = 0
	Text         Op = 1
	Binary       Op = 2
	Close        Op = 8
	Ping         Op = 9
	Pong         Op = 10
)

const maxPayload = 16 << 20

// Frame is one frame. A client's frames are masked, a server's are not.
type Frame struct {
	Fin     bool
	Op      Op
	Masked  bool
	Payload []byte // unmasked
}

// Accept is the value of Sec-WebSocket-Accept for a key.
func Accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Read reads one frame and unmasks it. A payload of more than 16 MiB is an error.
func Read(r io.Reader) (Frame, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return Frame{}, err
	}
	if b[0]&0x70 != 0 {
		return Frame{}, fmt.Errorf("wsframe: reserved bits in %#x", b[0])
	}
	f := Frame{Fin: b[0]&0x80 != 0, Op: Op(b[0] & 0x0f), Masked: b[1]&0x80 != 0}
	n := uint64(b[1] & 0x7f)
	size := map[uint64]int{126: 2, 127: 8}[n]
	if size > 0 {
		if _, err := io.ReadFull(r, b[8-size:]); err != nil {
			return Frame{}, err
		}
		clear(b[:8-size])
		n = binary.BigEndian.Uint64(b[:])
	}
	if n > maxPayload {
		return Frame{}, fmt.Errorf("wsframe: payload of %d bytes", n)
	}
	var mask [4]byte
	if f.Masked {
		if _, err := io.ReadFull(r, mask[:]); err != nil {
			return Frame{}, err
		}
	}
	f.Payload = make([]byte, n)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return Frame{}, err
	}
	for i := range f.Payload {
		f.Payload[i] ^= mask[i%4]
	}
	return f, nil
}

// mask masks the frames that tests send: it need not be a secret there.
var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// Write writes one frame with one call of w.
func Write(w io.Writer, f Frame) error {
	b := []byte{byte(f.Op), 0}
	if f.Fin {
		b[0] |= 0x80
	}
	switch n := len(f.Payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if f.Masked {
		b[1] |= 0x80
		b = append(b, mask[:]...)
	}
	head := len(b)
	b = append(b, f.Payload...)
	if f.Masked {
		for i := range f.Payload {
			b[head+i] ^= mask[i%4]
		}
	}
	_, err := w.Write(b)
	return err
}
