package apppool

import (
	"testing"
	"time"

	"aerie/config"
)

func TestNextRestart(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		failures     int
		served       time.Duration
		delay, limit time.Duration
		wantFailures int
		want         time.Duration
	}{
		{0, 0, s, 8 * s, 1, s},
		{1, 0, s, 8 * s, 2, 2 * s},
		{3, 0, s, 8 * s, 4, 8 * s},
		{4, 0, s, 8 * s, 5, 8 * s},
		{1 << 40, 0, s, 8 * s, 1<<40 + 1, 8 * s}, // no overflow, no long loop
		{3, 8 * s, s, 8 * s, 4, 8 * s},           // not longer than the bound
		{3, 8*s + 1, s, 8 * s, 1, s},
		{0, 0, 9 * s, 8 * s, 1, 8 * s}, // never past the bound
		{1 << 40, 0, 0, 8 * s, 1<<40 + 1, 0},
		{2, 0, 3 * s, 8 * s, 3, 8 * s},
	} {
		n, d := nextRestart(tt.failures, tt.served, tt.delay, tt.limit)
		if n != tt.wantFailures || d != tt.want {
			t.Errorf("nextRestart(%d, %v, %v, %v) = %d, %v, want %d, %v", tt.failures, tt.served, tt.delay, tt.limit, n, d, tt.wantFailures, tt.want)
		}
	}
}

func TestNeedsGeneration(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*config.Pool)
		want   bool
	}{
		"nothing":          {func(*config.Pool) {}, false},
		"auto_start":       {func(c *config.Pool) { c.AutoStart = true }, false},
		"start":            {func(c *config.Pool) { c.Start = config.StartOnDemand }, false},
		"idle_timeout":     {func(c *config.Pool) { c.IdleTimeout++ }, false},
		"startup_timeout":  {func(c *config.Pool) { c.StartupTimeout++ }, false},
		"shutdown_timeout": {func(c *config.Pool) { c.ShutdownTimeout++ }, false},
		"drain_timeout":    {func(c *config.Pool) { c.DrainTimeout++ }, false},
		"max_draining":     {func(c *config.Pool) { c.MaxDraining++ }, false},
		"restart_delay":    {func(c *config.Pool) { c.RestartDelay++ }, false},
		"restart_max":      {func(c *config.Pool) { c.RestartDelayMax++ }, false},
		"queue_length":     {func(c *config.Pool) { c.QueueLength++ }, false},
		"queue_timeout":    {func(c *config.Pool) { c.QueueTimeout++ }, false},
		"failure":          {func(c *config.Pool) { c.Failure.MaxCrashes++; c.Failure.OnFailed = []string{"x"} }, false},
		"recycle":          {func(c *config.Pool) { c.Recycle.Requests++; c.Recycle.Overlap = false }, false},
		"health":           {func(c *config.Pool) { c.Health.Path = "/healthz" }, false},
		"max_concurrent":   {func(c *config.Pool) { c.MaxConcurrent++ }, true},
		"max_streams":      {func(c *config.Pool) { c.MaxStreams++ }, true},
		"stream_after":     {func(c *config.Pool) { c.StreamAfter++ }, true},
		"dir":              {func(c *config.Pool) { c.Dir = "/elsewhere" }, true},
		"process":          {func(c *config.Pool) { c.Program.Process = "/b" }, true},
		"args":             {func(c *config.Pool) { c.Program.Args = []string{"-v"} }, true},
		"env":              {func(c *config.Pool) { c.Program.Env = map[string]string{"A": "b"} }, true},
		"hosting":          {func(c *config.Pool) { c.Program.Hosting = config.OutOfProcess }, true},
	} {
		if got := needsGeneration(testConfig(), with(tt.change)); got != tt.want {
			t.Errorf("%s: needsGeneration = %v, want %v", name, got, tt.want)
		}
	}
}
