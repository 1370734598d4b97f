package proto

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

// fullOwned is as much as one frame holds, with the longest addresses there are.
func fullOwned() []Owned {
	var out []Owned
	for i := range uint64(MaxOwned) {
		out = append(out, Owned{Number: i, Cookie: ^i,
			Local: netip.MustParseAddrPort("[2001:db8::1]:443"), Remote: netip.MustParseAddrPort("192.0.2.1:5")})
	}
	for i := range out {
		out[i].Remote = netip.MustParseAddrPort("[2001:db8::2]:65535")
	}
	return out
}

func TestMalformedOwned(t *testing.T) {
	good := (&Frame{Type: FrameOwned, Owned: fullOwned()[:1]}).Append(nil)
	for name, b := range map[string][]byte{
		"nothing": {'O'},
		"flag":    {'O', 2},
		"cut":     good[:len(good)-1],
		"more":    append(bytes.Clone(good), 0),
	} {
		if f, err := ParseFrame(b); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

func TestProofs(t *testing.T) {
	c := NewClaim("token", 7)
	if len(c.Nonce) != 32 || !bytes.Equal(c.Proof, HostProof("token", 7, c.Nonce)) {
		t.Errorf("claim %v", c)
	}
	for name, other := range map[string][]byte{
		"token":  HostProof("other", 7, c.Nonce),
		"epoch":  HostProof("token", 8, c.Nonce),
		"nonce":  HostProof("token", 7, make([]byte, 32)),
		"worker": WorkerProof("token", 7, c.Nonce),
	} {
		if bytes.Equal(c.Proof, other) {
			t.Errorf("the proof does not depend on: %s", name)
		}
	}
}
