package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (c *cli) reloadVerb() *cobra.Command {
	return c.jsonFlag(&cobra.Command{
		Use:   "reload",
		Short: "Have the running host read its sites.toml again",
		Long: `Have the running host read its sites.toml again and apply what differs. Apps and
sites that are the same notice nothing. If anything is wrong with the file, the
host refuses it, says why, and goes on unchanged.`,
		Example: `  aerie reload
  aerie check && aerie reload
  aerie reload -c /srv/sites.toml --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.reload(cmd.Context()) },
	})
}

func (c *cli) reload(ctx context.Context) error {
	host, file, err := c.client()
	if err != nil {
		return err
	}
	defer host.Close()
	status, err := host.Status(ctx)
	if err != nil {
		return err
	}
	if !sameFile(status.Config, file) {
		return fmt.Errorf("the running host reads %s, not %s: use -c %s, or start another host with another run_dir",
			status.Config, file, status.Config)
	}
	done, err := host.Reload(ctx)
	if err != nil {
		return fmt.Errorf("reload refused, the host goes on unchanged: %w", err)
	}
	if c.json {
		return c.printJSON(done)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s is in force (version %d)", c.config, done.ConfigVersion)
	if len(done.Changes) == 0 {
		b.WriteString("; nothing has changed")
	}
	b.WriteString("\n")
	for _, change := range done.Changes {
		fmt.Fprintf(&b, "  %s\n", clean(change))
	}
	return c.print(b.String())
}
