//go:build unix

package app

import (
	"crypto/subtle"
	"syscall"
)

// connectionSlots is how many connections this process can take: its
// descriptor limit less what everything else may need.
func connectionSlots() uint32 {
	const reserve = 256
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil || r.Cur >= maxConnections {
		return maxConnections
	}
	return uint32(max(r.Cur, reserve+1) - reserve)
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = syscall.Close(fd) // nothing was written to it here
	}
}

func sameToken(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
