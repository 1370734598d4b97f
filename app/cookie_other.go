//go:build !linux

package app

import "aerie/internal/seqpacket"

// cookieOf fails: only Linux hands connections over.
func cookieOf(int) (uint64, error) { return 0, seqpacket.ErrUnsupported }
