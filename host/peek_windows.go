package host

import "syscall"

// peek decides nothing: connections are not handed over on Windows.
func peek(syscall.Conn) (host string, begun bool, err error) { return "", false, errPeekUnusual }

// awaitBytes waits for nothing: connections do not come back on Windows.
func awaitBytes(syscall.Conn) error { return nil }

// discard does nothing: what is not peeked at is read by the server.
func discard(syscall.Conn) {}
