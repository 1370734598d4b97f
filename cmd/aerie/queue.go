package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"aerie/admin"
)

func (c *cli) queueVerb() *cobra.Command {
	return c.jsonFlag(&cobra.Command{
		Use:   "queue NAME",
		Short: "Show who waits for a pool",
		Long: `Show the requests and connections that wait for a pool, the first one first: in the
host, while no process serves, or for one of the pool's max_concurrent slots. A
connection whose request has not been read yet shows "-".`,
		Example: `  aerie pool queue shop
  aerie pool queue shop --json`,
		Args:              onePool,
		ValidArgsFunction: c.completePool,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.queue(cmd.Context(), args[0]) },
	})
}

func (c *cli) queue(ctx context.Context, name string) error {
	host, _, err := c.client()
	if err != nil {
		return err
	}
	defer host.Close()
	q, err := host.Queue(ctx, name)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(q)
	}
	return c.print(queueText(q, time.Now()))
}

// queueText is a queue as people read it.
func queueText(q admin.Queue, now time.Time) string {
	if len(q.Waiting) == 0 {
		return fmt.Sprintf("nobody waits for pool %s\n", q.Pool)
	}
	rows := [][]string{{"WAITS IN", "FOR", "CLIENT", "REQUEST"}}
	for _, w := range q.Waiting {
		where := "host"
		if w.Pid > 0 {
			where = "process " + strconv.Itoa(w.Pid)
		}
		rows = append(rows, []string{where, now.Sub(w.Since).Round(time.Millisecond).String(), orDash(w.Client), orDash(oneLine(w.Request))})
	}
	return table(rows)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
