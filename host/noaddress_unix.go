//go:build unix

package host

import (
	"errors"
	"syscall"
)

// isNoAddress reports whether a listen failed because the machine does not have
// the address.
func isNoAddress(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}
