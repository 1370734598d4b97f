//go:build !linux

package inproc

import (
	"context"
	"errors"

	"aerie/config"
)

// Adopt fails: only Linux lets a host prove a process that is not its child.
func (s *Starter) Adopt(context.Context, Record, *config.Pool) (*Worker, error) {
	return nil, errors.New("inproc: worker processes are adopted on Linux only")
}
