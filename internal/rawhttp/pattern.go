package rawhttp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Pattern fills p with the bytes that stand at offset off of the endless test
// pattern. No two of its parts are alike, so bytes that are lost, doubled or
// swapped show.
func Pattern(p []byte, off int64) {
	var word [8]byte
	for len(p) > 0 {
		binary.LittleEndian.PutUint64(word[:], (uint64(off/8)+1)*0x9E3779B97F4A7C15)
		n := copy(p, word[off%8:])
		p, off = p[n:], off+int64(n)
	}
}

// PatternReader returns a reader of the first n bytes of the pattern.
func PatternReader(n int64) io.Reader { return &patternReader{n: n} }

type patternReader struct{ off, n int64 }

func (r *patternReader) Read(p []byte) (int, error) {
	if r.off == r.n {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.n-r.off)]
	Pattern(p, r.off)
	r.off += int64(len(p))
	return len(p), nil
}

// PatternChecker is a writer that takes nothing but the pattern, from its start.
type PatternChecker struct {
	N    int64 // bytes taken
	want []byte
}

// Write compares p with what stands next in the pattern.
func (c *PatternChecker) Write(p []byte) (int, error) {
	c.want = append(c.want[:0], p...)
	Pattern(c.want, c.N)
	if !bytes.Equal(c.want, p) {
		for i := range p {
			if p[i] != c.want[i] {
				return i, fmt.Errorf("byte %d is %#x, want %#x", c.N+int64(i), p[i], c.want[i])
			}
		}
	}
	c.N += int64(len(p))
	return len(p), nil
}
