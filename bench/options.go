package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// options are what the command line says.
type options struct {
	rounds  int
	seconds int           // of one measurement
	limit   time.Duration // of the whole run; rounds are left out to keep it
	out     string        // file for the JSON; "" for none
}

// errUsage is a command line that was found wrong, and explained.
var errUsage = errors.New("usage")

// parseOptions reads the command line. The error is flag.ErrHelp, or errUsage;
// both were printed to stderr.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	quick := f.Bool("quick", false, "shorter and coarser: 5 rounds of 1 s, at most 90 s")
	f.IntVar(&o.rounds, "rounds", 8, "how often each ratio is taken")
	f.IntVar(&o.seconds, "seconds", 2, "`length` of one measurement; each ratio takes two")
	f.DurationVar(&o.limit, "limit", 4*time.Minute, "of the whole run; rounds are left out to keep it")
	f.StringVar(&o.out, "out", filepath.Join("docs", "performance", "bench.json"), "`file` for the result as JSON, from the root of the module; none if empty")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage
	}
	if *quick {
		o.quick(f)
	}
	if f.NArg() > 0 || o.rounds < 1 || o.seconds < 1 || o.limit <= 0 {
		fmt.Fprintln(stderr, "bench: flags only; -rounds, -seconds and -limit are at least 1")
		return o, errUsage
	}
	return o, nil
}

// quick changes the defaults of what was not given.
func (o *options) quick(f *flag.FlagSet) {
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["rounds"] {
		o.rounds = 5
	}
	if !given["seconds"] {
		o.seconds = 1
	}
	if !given["limit"] {
		o.limit = 90 * time.Second
	}
}
