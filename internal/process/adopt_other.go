//go:build !linux

package process

import "errors"

// errNoAdoption is why a process that is not a child cannot be taken over here.
var errNoAdoption = errors.New("process: only Linux names a process beyond its number")

// StartTime fails: only Linux has it in this form.
func StartTime(int) (uint64, error) { return 0, errNoAdoption }

// BootID fails: only Linux has it.
func BootID() (string, error) { return "", errNoAdoption }

// Adopt fails: only Linux has descriptors of processes.
func Adopt(int, uint64, Held) (*Process, error) { return nil, errNoAdoption }

type adoption struct{}

func (*adoption) kill() error { return errNoAdoption }
