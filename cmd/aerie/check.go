package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"aerie/config"
	"aerie/host"
	"aerie/internal/systemd"
)

// finding is one line of `aerie check --json`.
type finding struct {
	Severity string `json:"severity"` // "problem" or "warning"
	config.Problem
}

func (c *cli) checkVerb() *cobra.Command {
	return c.jsonFlag(&cobra.Command{
		Use:   "check",
		Short: "Check sites.toml and print everything that is wrong with it",
		Long: `Check sites.toml and print everything that is wrong with it, all at once, each
with its line and key. A warning is doubtful, or keeps one pool from starting,
but does not stop the host.

The host applies the same rules when it starts and when it reloads. The exit
code is 0 if there is no problem, with or without warnings.`,
		Example: `  aerie check
  aerie check -c /srv/sites.toml
  aerie check --json | jq '.[] | select(.severity == "problem")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.check(cmd.Context()) },
	})
}

func (c *cli) check(ctx context.Context) error {
	cfg, err := config.Load(c.config)
	problems, invalid := errors.AsType[*config.Problems](err)
	if err != nil && !invalid {
		return err
	}
	findings := []finding{}
	if invalid {
		for _, p := range problems.List {
			findings = append(findings, finding{"problem", p})
		}
	} else {
		for _, p := range append(cfg.Warnings(), host.Check(cfg)...) {
			findings = append(findings, finding{"warning", p})
		}
		if w := systemd.KillWarning(ctx); w != "" {
			findings = append(findings, finding{"warning", config.Problem{File: c.config, Message: w}})
		}
	}
	if c.json {
		err = c.printJSON(findings)
	} else {
		err = c.printFindings(cfg, findings)
	}
	if err == nil && invalid {
		err = exit{exitFailure}
	}
	return err
}

// printFindings prints for people: findings to stderr, a clean bill to stdout.
func (c *cli) printFindings(cfg *config.Config, findings []finding) error {
	for _, f := range findings {
		line := f.String()
		if f.Severity == "warning" {
			line = "warning: " + line
		}
		if _, err := fmt.Fprintln(c.stderr, clean(line)); err != nil {
			return err
		}
	}
	if cfg == nil {
		_, err := fmt.Fprintf(c.stderr, "aerie: %s in %s\n", count(len(findings), "problem"), c.config)
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "%s is valid: %s, %s\n", c.config, count(len(cfg.Sites), "site"), count(len(cfg.Pools), "pool"))
	return err
}

// count is "1 site" or "2 sites".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
