//go:build !linux

package systemd

import (
	"context"
	"os"
)

// Take returns a Service that has nothing: this system has no such service manager.
func Take() (*Service, error) { return &Service{}, nil }

// Notify does nothing.
func (s *Service) Notify(...string) error { return nil }

// Reloading does nothing.
func (s *Service) Reloading() error { return nil }

// Store does nothing.
func (s *Service) Store(string, *os.File) error { return nil }

// Forget does nothing.
func (s *Service) Forget(string) error { return nil }

// KillWarning has nothing to warn of.
func KillWarning(context.Context) string { return "" }
