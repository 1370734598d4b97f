package proto

import (
	"crypto/rand"
	"encoding/base64"
)

// NewToken returns a generation's secret: 256 random bits, as text.
func NewToken() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
