//go:build !linux

package admin

import "net"

// checkPeer leaves the decision to the socket's mode: only Linux tells who connects.
func checkPeer(*net.UnixConn) error { return nil }
