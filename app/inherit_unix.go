//go:build unix

package app

import (
	"os"
	"syscall"

	"aerie/proto"
)

// inherit takes the descriptors that the host passes, and keeps them from this
// program's own children.
func inherit(map[string]string) (inherited, error) {
	for _, fd := range []int{proto.FDLog, proto.FDAccessLog, proto.FDToken} {
		syscall.CloseOnExec(fd)
	}
	token, err := readToken(os.NewFile(proto.FDToken, "token"))
	return inherited{
		log:       os.NewFile(proto.FDLog, "log"),
		accessLog: os.NewFile(proto.FDAccessLog, "access log"),
		token:     token,
	}, err
}
