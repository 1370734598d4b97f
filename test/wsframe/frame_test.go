package wsframe

import (
	"bytes"
	"testing"
)

// The examples of RFC 6455, 1.3 and 5.7.
func TestExamplesOfTheRFC(t *testing.T) {
	if got := Accept("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("accept %q", got)
	}
	for _, test := range []struct {
		wire  []byte
		frame Frame
	}{
		{[]byte{0x81, 0x05, 'H', 'e', 'l', 'l', 'o'}, Frame{true, Text, false, []byte("Hello")}},
		{[]byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}, Frame{true, Text, true, []byte("Hello")}},
		{[]byte{0x01, 0x03, 'H', 'e', 'l'}, Frame{false, Text, false, []byte("Hel")}},
		{[]byte{0x80, 0x02, 'l', 'o'}, Frame{true, Continuation, false, []byte("lo")}},
		{append([]byte{0x82, 0x7e, 0x01, 0x00}, make([]byte, 256)...), Frame{true, Binary, false, make([]byte, 256)}},
		{append([]byte{0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0}, make([]byte, 65536)...), Frame{true, Binary, false, make([]byte, 65536)}},
	} {
		got, err := Read(bytes.NewReader(test.wire))
		if err != nil || got.Fin != test.frame.Fin || got.Op != test.frame.Op || got.Masked != test.frame.Masked || !bytes.Equal(got.Payload, test.frame.Payload) {
			t.Errorf("read %x: %+v %v", test.wire[:4], got, err)
		}
		var b bytes.Buffer
		if err := Write(&b, test.frame); err != nil || !bytes.Equal(b.Bytes(), test.wire) {
			t.Errorf("write %x, want %x", b.Bytes()[:4], test.wire[:4])
		}
	}
}

func TestBadFrames(t *testing.T) {
	for name, wire := range map[string][]byte{
		"reserved bit": {0xc1, 0x00},
		"too large":    {0x82, 0x7f, 1, 0, 0, 0, 0, 0, 0, 0},
		"cut short":    {0x81, 0x05, 'H'},
		"no mask":      {0x81, 0x85, 0x37},
	} {
		if f, err := Read(bytes.NewReader(wire)); err == nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
}
