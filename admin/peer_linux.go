package admin

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// checkPeer refuses a connection from anybody but root and the host's own user.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	var peer *syscall.Ucred
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		peer, sockErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	if sockErr != nil {
		return fmt.Errorf("peer credentials: %w", sockErr)
	}
	if !allowed(peer.Uid, os.Geteuid()) {
		return fmt.Errorf("peer pid %d runs as uid %d, which is neither root nor the host's own user", peer.Pid, peer.Uid)
	}
	return nil
}

// allowed is the rule: root, or the user that the host runs as.
func allowed(peer uint32, own int) bool { return peer == 0 || int64(peer) == int64(own) }
