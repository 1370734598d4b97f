package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"aerie/admin"
	"aerie/config"
)

// completionTime bounds how long the shell's completion waits for the host.
const completionTime = 500 * time.Millisecond

func (c *cli) poolVerb() *cobra.Command {
	pool := &cobra.Command{
		Use:   "pool",
		Short: "Start, stop or recycle an application pool, or look into its queue",
		Long:  "Start, stop or recycle an application pool of the running host, or show who waits for it.",
		Example: `  aerie pool stop shop
  aerie pool start shop
  aerie pool recycle shop
  aerie pool queue shop`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, fmt.Errorf("unknown action %q: it is start, stop, recycle or queue", args[0]))
			}
			return usage(cmd, errors.New("name the action: start, stop, recycle or queue"))
		},
	}
	pool.AddCommand(
		c.actionVerb(admin.Start, "Start a pool",
			`Start a pool that is stopped or has failed, and wait until it is ready. If it
does not start, the reason and the last lines that its program printed are shown.`),
		c.actionVerb(admin.Stop, "Stop a pool",
			`Stop a pool: what it has begun is finished within its time limits, then its
processes end. Its requests are answered with 503 until it is started again.`),
		c.actionVerb(admin.Recycle, "Replace a pool's processes by new ones",
			`Replace a pool's processes by new ones without losing a request: the new ones
take over when they are ready. If they do not start, the old ones go on.`),
		c.queueVerb(),
	)
	return pool
}

func (c *cli) actionVerb(action admin.Action, short, long string) *cobra.Command {
	return c.jsonFlag(&cobra.Command{
		Use:   string(action) + " NAME",
		Short: short,
		Long:  long,
		Example: fmt.Sprintf(`  aerie pool %[1]s shop
  aerie pool %[1]s shop --json`, action),
		Args:              onePool,
		ValidArgsFunction: c.completePool,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.pool(cmd.Context(), args[0], action) },
	})
}

// completePool completes the one argument of a verb that takes the name of a pool.
func (c *cli) completePool(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.poolNames(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
}

// onePool is the rule of a verb that takes the name of a pool.
func onePool(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage(cmd, errors.New("name one pool"))
	}
	return nil
}

func (c *cli) pool(ctx context.Context, name string, action admin.Action) error {
	host, _, err := c.client()
	if err != nil {
		return err
	}
	defer host.Close()
	p, err := host.Pool(ctx, name, action)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(p)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "pool %s: %s, generation %d", p.Name, p.State, p.Generation)
	for _, w := range p.Workers {
		if w.Generation == p.Generation {
			fmt.Fprintf(&b, ", pid %d", w.Pid)
		}
	}
	return c.print(b.String() + "\n")
}

// poolNames are the pools of the running host or, if none runs, of sites.toml.
func (c *cli) poolNames(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	if host, _, err := c.client(); err == nil {
		defer host.Close()
		if status, err := host.Status(ctx); err == nil {
			var names []string
			for _, p := range status.Pools {
				names = append(names, p.Name)
			}
			return names
		}
	}
	cfg, err := config.Load(c.config)
	if err != nil {
		return nil // completion has no way to say so
	}
	return slices.Sorted(maps.Keys(cfg.Pools))
}
