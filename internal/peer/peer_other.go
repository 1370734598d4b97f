//go:build !linux

package peer

import (
	"errors"
	"net"
)

// UID fails with errors.ErrUnsupported.
func UID(net.Conn) (int, error) { return 0, errors.ErrUnsupported }
