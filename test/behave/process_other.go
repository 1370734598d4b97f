//go:build !linux

package behave

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

var signals = map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": os.Interrupt, "KILL": os.Kill}

// memory knows what the Go runtime has from the system: enough to see a growth.
func memory(bool) (Memory, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Memory{RSS: int64(m.Sys - m.HeapReleased), Peak: int64(m.Sys)}, nil
}

func calls() (IO, error) { return IO{}, errors.ErrUnsupported }

// sleeper is only for tests of Linux.
func sleeper() (pid int, err error) { return 0, errors.ErrUnsupported }
