package main

import (
	"log/slog"

	"aerie/config"
	"aerie/host"
	"aerie/internal/systemd"
)

var _ service = (*host.Host)(nil)

// newHost makes the host that the verb run runs.
func newHost(cfg *config.Config, log *slog.Logger, manager *systemd.Service) service {
	return host.New(cfg, host.Options{Logger: log, Version: thisBuild().Version, Systemd: manager})
}
