package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"aerie/admin"
)

func (c *cli) statusVerb() *cobra.Command {
	return c.jsonFlag(&cobra.Command{
		Use:   "status",
		Short: "Show the sites and pools of the running host",
		Long: `Show the sites and pools of the running host: where each site answers, how each
app is hosted, and of each pool its state, generation, worker processes, requests,
connections, memory and what last happened to it. A pool that does not run is
shown with the last lines that it printed.`,
		Example: `  aerie status
  aerie status --json | jq '.pools[] | select(.state != "running")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.status(cmd.Context()) },
	})
}

func (c *cli) status(ctx context.Context) error {
	host, _, err := c.client()
	if err != nil {
		return err
	}
	defer host.Close()
	status, err := host.Status(ctx)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(status)
	}
	return c.print(statusText(status, time.Now()))
}

// statusText is the status for people.
func statusText(s admin.Status, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "aerie %s, pid %d, up %s, %s\n", s.Version, s.Pid, span(now.Sub(s.StartedAt)), count(s.Connections, "connection"))
	fmt.Fprintf(&b, "%s (version %d)\n\n", s.Config, s.ConfigVersion)
	b.WriteString(siteTable(s.Sites))
	b.WriteString("\n")
	b.WriteString(poolTable(s.Pools))
	for _, p := range s.Pools {
		b.WriteString(lastOutput(p))
		b.WriteString(nextStart(p, now))
	}
	return b.String()
}

func siteTable(sites []admin.SiteStatus) string {
	rows := [][]string{{"SITE", "URL", "HOSTING", "POOL", "CONNS"}}
	for _, site := range sites {
		name, conns := site.Name, strconv.Itoa(site.Connections)
		apps := slices.SortedFunc(slices.Values(site.Apps), func(a, b admin.AppStatus) int { return strings.Compare(a.Path, b.Path) })
		for _, binding := range site.Bindings {
			for _, app := range apps {
				rows = append(rows, []string{name, binding + app.Path, app.Hosting, app.Pool, conns})
				name, conns = "", "" // once for each site
			}
		}
	}
	return table(rows)
}

func poolTable(pools []admin.PoolStatus) string {
	rows := [][]string{{"POOL", "HOSTING", "STATE", "GEN", "PID", "REQUESTS", "ACTIVE", "CONNS", "QUEUED", "MEMORY", "CRASHES", "RECYCLES", "LAST REASON"}}
	for _, p := range pools {
		first := admin.WorkerStatus{}
		workers := slices.Clone(p.Workers)
		slices.SortStableFunc(workers, func(a, b admin.WorkerStatus) int { return b.Generation - a.Generation })
		if len(workers) > 0 {
			first, workers = workers[0], workers[1:]
		}
		rows = append(rows, slices.Concat([]string{p.Name, p.Hosting, p.State, strconv.Itoa(p.Generation)}, figures(first, strconv.Itoa(p.Queued)),
			[]string{strconv.Itoa(p.Crashes), strconv.Itoa(p.Recycles), oneLine(p.LastReason)}))
		for _, w := range workers {
			rows = append(rows, slices.Concat([]string{"", "", w.State, strconv.Itoa(w.Generation)}, figures(w, "")))
		}
	}
	return table(rows)
}

// figures are the columns of a worker process, or of none.
func figures(w admin.WorkerStatus, queued string) []string {
	if w.Pid == 0 {
		return []string{"-", "-", "-", "-", queued, "-"}
	}
	return []string{strconv.Itoa(w.Pid), strconv.FormatUint(w.Requests, 10), strconv.Itoa(w.Active), strconv.Itoa(w.Connections), queued, size(w.RSSBytes)}
}

// lastOutput is what a pool's program printed before it ended or was refused. It
// goes with the last reason: a pool that runs may have refused a new release.
func lastOutput(p admin.PoolStatus) string {
	if len(p.LastOutput) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s last printed:\n", p.Name)
	for _, line := range p.LastOutput {
		fmt.Fprintf(&b, "  | %s\n", oneLine(line))
	}
	return b.String()
}

// nextStart is when a pool that has failed is started again.
func nextStart(p admin.PoolStatus, now time.Time) string {
	if p.RetryAt.IsZero() {
		return ""
	}
	return fmt.Sprintf("\n%s: next start in %s\n", p.Name, span(p.RetryAt.Sub(now)))
}

func oneLine(s string) string { return clean(strings.NewReplacer("\n", " ", "\t", " ").Replace(s)) }

// table aligns rows; the first is the head.
func table(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // a strings.Builder takes everything
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// size is a number of bytes as people read it.
func size(n int64) string {
	const mib = 1 << 20
	switch {
	case n <= 0:
		return "-"
	case n < 10*mib:
		return fmt.Sprintf("%.1f MiB", float64(n)/mib)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n/mib)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// span is a duration in its two largest units.
func span(d time.Duration) string {
	s := int(d.Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", max(s, 0))
	case s < 3600:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd%dh", s/86400, s%86400/3600)
}
