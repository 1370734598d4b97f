package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"aerie/admin"
	"aerie/config"
	"aerie/internal/process"
	"aerie/internal/systemd"
)

// service is what the verb run needs of a host.
type service interface {
	// Open binds the sites, starts the admin API and the pools.
	Open(context.Context) error
	// Done is closed when the host has ended.
	Done() <-chan struct{}
	// Wait returns why the host has ended, once it has.
	Wait() error
	// Shutdown drains and ends the host.
	Shutdown(context.Context) error
	// Close ends the host now.
	Close() error
	// Reload applies the host's sites.toml as it is now.
	Reload(context.Context) (admin.Reload, error)
}

func (c *cli) runVerb() *cobra.Command {
	var log logOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the host in the foreground",
		Long: `Run the host in the foreground until SIGTERM or SIGINT (Ctrl-C): then it takes no
more connections, finishes what it has begun, and exits with code 0. A second
signal ends it at once, with code 143 or 130. SIGHUP reloads sites.toml.

Under systemd it takes over the sockets that it is passed, and tells when it is
ready, reloads and stops; there are unit files in dist/systemd.

What the host itself has to say goes to stderr; requests go to access.log and
what the apps print to a file for each pool, all in state_dir/logs.`,
		Example: `  aerie run
  aerie run -c /srv/sites.toml --log-format json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := log.logger(c.stderr)
			if err != nil {
				return usage(cmd, err)
			}
			return c.runHost(cmd.Context(), logger)
		},
	}
	cmd.Flags().StringVar(&log.format, "log-format", "text", "`format` of the log: text or json")
	cmd.Flags().StringVar(&log.level, "log-level", "info", "lowest `level` that is logged: debug, info, warn or error")
	return cmd
}

// runHost runs the host until it is told to end.
func (c *cli) runHost(ctx context.Context, log *slog.Logger) error {
	manager, err := systemd.Take()
	if err != nil {
		return err
	}
	cfg, err := config.Load(c.config)
	if problems, ok := errors.AsType[*config.Problems](err); ok {
		findings := make([]finding, len(problems.List))
		for i, p := range problems.List {
			findings[i] = finding{"problem", p}
		}
		return errors.Join(c.printFindings(nil, findings), exit{exitFailure})
	}
	if err != nil {
		return err
	}
	if err := process.HideMemory(); err != nil { // keys and tokens are in it
		return err
	}
	for _, w := range cfg.Warnings() {
		log.Warn(w.String())
	}
	if w := systemd.KillWarning(ctx); w != "" {
		log.Warn(w)
	}
	// From here on signals are the host's: one that comes while it starts ends
	// it in order.
	signals, stop := c.signals()
	defer stop()
	r := &running{host: c.newHost(cfg, log, manager), log: log, signals: signals, stop: stop, ready: func() error { return c.print(summary(cfg)) }}
	return r.run(ctx)
}
