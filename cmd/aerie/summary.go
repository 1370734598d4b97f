package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"aerie/config"
)

// summary says what a host that has just started serves.
func summary(cfg *config.Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s, pid %d\n\n", thisBuild(), shorten(cfg.Path), os.Getpid())
	sites := [][]string{{"SITE", "URL", "HOSTING", "POOL"}}
	for _, site := range cfg.Sites {
		name := site.Name
		for _, binding := range site.Bindings {
			for _, app := range slices.Backward(site.Apps) { // the shortest path first
				sites = append(sites, []string{name, address(binding) + app.Path, string(app.Pool.Program.Hosting), app.Pool.Name})
				name = ""
			}
		}
	}
	b.WriteString(table(sites) + "\n")
	pools := [][]string{{"POOL", "PROGRAM", "START"}}
	for _, name := range slices.Sorted(maps.Keys(cfg.Pools)) {
		pool := cfg.Pools[name]
		program, start := "-", "with the host"
		if pool.Program != nil {
			program = strings.Join(append([]string{shorten(pool.Program.Process)}, pool.Program.Args...), " ")
		}
		if pool.Start == config.StartOnDemand {
			start = "with the first request"
		}
		if !pool.AutoStart {
			start = "aerie pool start " + name
		}
		pools = append(pools, []string{name, oneLine(program), start})
	}
	b.WriteString(table(pools) + "\n")
	fmt.Fprintf(&b, "Logs are in %s. Ctrl-C drains and ends.\n", shorten(filepath.Join(cfg.Host.StateDir, "logs")))
	return b.String()
}

// address is a binding as one can type it into a browser.
func address(b config.Binding) string {
	if b.Host == "" {
		return fmt.Sprintf("%s://localhost:%d", b.Scheme, b.Port)
	}
	return b.Text
}
