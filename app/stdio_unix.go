//go:build unix

package app

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// stdio are the process's own stdout and stderr. They are kept because go-plugin
// puts pipes in their place, which block when their reader is gone, and an
// *os.File that nobody refers to any more closes its descriptor.
type stdio struct{ out, err *os.File }

func ownStdio() stdio { return stdio{os.Stdout, os.Stderr} }

// use makes f this process's stdout and stderr, and closes f: the descriptors,
// so that runtime panics and C code write there too, and Go's variables.
func (s stdio) use(f *os.File) error {
	fd := int(f.Fd())
	if err := errors.Join(dup2(fd, 1), dup2(fd, 2)); err != nil {
		return err
	}
	if os.Stdout != s.out || os.Stderr != s.err { // the first time; later the application is reading them
		os.Stdout, os.Stderr = s.out, s.err
	}
	return f.Close()
}

func dup2(from, to int) error { return os.NewSyscallError("dup2", unix.Dup2(from, to)) }
