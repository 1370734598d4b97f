package proto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// The hand-over socket is a unix socket of type SEQPACKET that the worker
// process listens on: message boundaries hold, order holds, and descriptors
// travel with the message that they belong to.
//
//	host                                   worker
//	  | --- hello (epoch, token) -----------> |
//	  | <-- owned (connections) ------------- |   those of hosts before; the last of these frames says so
//	  | <-- report (credit) ----------------- |   so many slots are free
//	  | --- conn (number, addresses) + fd --> |   only against a credit
//	  | <-- report (credit, taken, closed) -- |   taken: the host closes its copies;
//	  |                                       |   closed: the connections have ended
//	  | --- drain --------------------------> |   nothing overtakes it
//	  | <-- back (number, unread) + fd ------ |   an idle connection returns
//	  | --- logs + 2 fds -------------------> |   after a rotation

// FrameType is the first byte of a frame.
type FrameType byte

// The frames.
const (
	FrameHello  FrameType = 'H' // to the worker: the host's epoch and the generation's token
	FrameConn   FrameType = 'C' // to the worker: one connection, one descriptor
	FrameDrain  FrameType = 'D' // to the worker: no connection comes after this
	FrameLogs   FrameType = 'L' // to the worker: two descriptors, as FDLog and FDAccessLog
	FrameOwned  FrameType = 'O' // to the host, after hello: connections that the worker has
	FrameReport FrameType = 'R' // to the host: what has happened since the last one
	FrameBack   FrameType = 'B' // to the host: one connection, one descriptor
)

// MaxFrame is the size of the longest frame in bytes.
const MaxFrame = 4096

// MaxNumbers is how many connection numbers a report holds, taken and closed ones
// together.
const MaxNumbers = (MaxFrame - 1 - 4 - 2) / 8

// MaxPrefix is how many bytes, already read from a connection, travel with its
// descriptor: what net/http reads ahead at most.
const MaxPrefix = 3

// ErrFrame is the error of a frame that cannot be what it says it is.
var ErrFrame = errors.New("proto: malformed hand-over frame")

// Frame is one message on the hand-over socket. Which fields count depends on
// its type.
type Frame struct {
	Type    FrameType
	Epoch   uint64         // hello: of the host
	Token   string         // hello
	Number  uint64         // conn, back
	Resumed bool           // conn: it waits between two requests
	Local   netip.AddrPort // conn: the address that the client connected to
	Remote  netip.AddrPort // conn: the client's address
	Prefix  []byte         // conn, back: bytes to be read before those in the socket
	Credit  uint32         // report: so many more connections may be sent
	Taken   []uint64       // report: these have arrived
	Closed  []uint64       // report: these have ended
	Owned   []Owned        // owned
	Last    bool           // owned: no such frame follows
}

// Append appends the frame's wire form to b.
func (f *Frame) Append(b []byte) []byte {
	b = append(b, byte(f.Type))
	switch f.Type {
	case FrameHello:
		b = binary.BigEndian.AppendUint64(b, f.Epoch)
		b = append(b, f.Token...)
	case FrameOwned:
		b = f.appendOwned(b)
	case FrameConn, FrameBack:
		b = binary.BigEndian.AppendUint64(b, f.Number)
		resumed := byte(0)
		if f.Resumed {
			resumed = 1
		}
		b = append(b, resumed)
		if f.Type == FrameConn {
			b = appendAddr(appendAddr(b, f.Local), f.Remote)
		}
		b = append(b, f.Prefix...)
	case FrameReport:
		b = binary.BigEndian.AppendUint32(b, f.Credit)
		b = binary.BigEndian.AppendUint16(b, uint16(len(f.Taken)))
		for _, n := range f.Taken {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		for _, n := range f.Closed {
			b = binary.BigEndian.AppendUint64(b, n)
		}
	}
	return b
}

// ParseFrame reads a frame. The result does not share memory with b.
func ParseFrame(b []byte) (Frame, error) {
	if len(b) == 0 {
		return Frame{}, fmt.Errorf("%w: empty", ErrFrame)
	}
	f, b := Frame{Type: FrameType(b[0])}, b[1:]
	ok := true
	switch f.Type {
	case FrameHello:
		if ok = len(b) >= 8; ok {
			f.Epoch, f.Token = binary.BigEndian.Uint64(b), string(b[8:])
		}
	case FrameOwned:
		ok = f.parseOwned(b)
	case FrameConn, FrameBack:
		ok = f.parseConn(b)
	case FrameReport:
		ok = f.parseReport(b)
	case FrameDrain, FrameLogs:
		ok = len(b) == 0
	default:
		return Frame{}, fmt.Errorf("%w: type %q", ErrFrame, byte(f.Type))
	}
	if !ok {
		return Frame{}, fmt.Errorf("%w: type %q of %d bytes", ErrFrame, byte(f.Type), len(b)+1)
	}
	return f, nil
}

func (f *Frame) parseConn(b []byte) bool {
	if len(b) < 9 {
		return false
	}
	f.Number, f.Resumed = binary.BigEndian.Uint64(b), b[8] == 1
	b = b[9:]
	if f.Type == FrameConn {
		var ok bool
		if f.Local, b, ok = cutAddr(b); !ok {
			return false
		}
		if f.Remote, b, ok = cutAddr(b); !ok {
			return false
		}
	}
	if len(b) > 0 {
		f.Prefix = append(f.Prefix, b...)
	}
	return len(b) <= MaxPrefix
}

// appendAddr appends an address as its length and netip's binary form. One that
// is longer, for the name of its zone, is left out: the zone is of no use to
// another process.
func appendAddr(b []byte, a netip.AddrPort) []byte {
	at := len(b)
	b = append(b, 0)
	b, err := a.AppendBinary(b)
	if n := len(b) - at - 1; err == nil && n <= 0xff {
		b[at] = byte(n)
		return b
	}
	return appendAddr(b[:at], netip.AddrPortFrom(a.Addr().WithZone(""), a.Port()))
}

// cutAddr takes an address off the front of b.
func cutAddr(b []byte) (a netip.AddrPort, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return a, nil, false
	}
	n := 1 + int(b[0])
	return a, b[n:], a.UnmarshalBinary(b[1:n]) == nil
}

func (f *Frame) parseReport(b []byte) bool {
	if len(b) < 6 || (len(b)-6)%8 != 0 || (len(b)-6)/8 > MaxNumbers {
		return false
	}
	f.Credit = binary.BigEndian.Uint32(b)
	taken := int(binary.BigEndian.Uint16(b[4:]))
	if b = b[6:]; taken > len(b)/8 {
		return false
	}
	numbers := make([]uint64, len(b)/8)
	for i := range numbers {
		numbers[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	f.Taken, f.Closed = numbers[:taken:taken], numbers[taken:]
	return true
}

// Descriptors is how many descriptors must come with the frame.
func (f *Frame) Descriptors() int {
	switch f.Type {
	case FrameConn, FrameBack:
		return 1
	case FrameLogs:
		return 2
	default:
		return 0
	}
}
