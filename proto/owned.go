package proto

import (
	"encoding/binary"
	"net/netip"
)

// Owned is a connection that a worker process was given by a host before, as it
// tells the next one of it.
type Owned struct {
	Number uint64         // that the host before gave it
	Cookie uint64         // the kernel's name of its socket
	Local  netip.AddrPort // the address that the client connected to
	Remote netip.AddrPort // the client's address
}

// maxOwned is the most bytes that one of them takes in a frame: two numbers, and
// two addresses of 1 + 16 + 2 bytes, for a zone is not sent.
const maxOwned = 8 + 8 + 2*19

// MaxOwned is how many of them a frame holds.
const MaxOwned = (MaxFrame - 1 - 1) / maxOwned

func (f *Frame) appendOwned(b []byte) []byte {
	last := byte(0)
	if f.Last {
		last = 1
	}
	b = append(b, last)
	for _, o := range f.Owned {
		b = binary.BigEndian.AppendUint64(b, o.Number)
		b = binary.BigEndian.AppendUint64(b, o.Cookie)
		b = appendAddr(appendAddr(b, unzoned(o.Local)), unzoned(o.Remote))
	}
	return b
}

func unzoned(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().WithZone(""), a.Port())
}

func (f *Frame) parseOwned(b []byte) bool {
	if len(b) == 0 || b[0] > 1 {
		return false
	}
	f.Last = b[0] == 1
	for b = b[1:]; len(b) > 0; {
		if len(b) < 16 || len(f.Owned) == MaxOwned {
			return false
		}
		o := Owned{Number: binary.BigEndian.Uint64(b), Cookie: binary.BigEndian.Uint64(b[8:])}
		var ok bool
		if o.Local, b, ok = cutAddr(b[16:]); !ok {
			return false
		}
		if o.Remote, b, ok = cutAddr(b); !ok || o.Local != unzoned(o.Local) || o.Remote != unzoned(o.Remote) {
			return false
		}
		f.Owned = append(f.Owned, o)
	}
	return true
}
