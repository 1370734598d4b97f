package main

import (
	"log/slog"

	"aerie/config"
	"aerie/host"
)

var _ service = (*host.Host)(nil)

// newHost makes the host that the verb run runs.
func newHost(cfg *config.Config, log *slog.Logger) service {
	return host.New(cfg, host.Options{Logger: log, Version: thisBuild().Version})
}
