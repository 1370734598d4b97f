package app

import "os"

// stdio stands for the process's own stdout and stderr.
type stdio struct{}

func ownStdio() stdio { return stdio{} }

// use makes f this process's stdout and stderr, as far as Go code goes.
func (stdio) use(f *os.File) error {
	os.Stdout, os.Stderr = f, f
	return nil
}
