//go:build !linux

package host

import "syscall"

// deferAccept does nothing: only Linux can wait for a connection's first bytes.
func deferAccept(_, _ string, _ syscall.RawConn) error { return nil }
