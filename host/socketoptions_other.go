//go:build !linux

package host

import "syscall"

// socketOptions does nothing: only Linux can wait for a connection's first bytes,
// and elsewhere each connection gets its options by itself.
func socketOptions(_, _ string, _ syscall.RawConn) error { return nil }
