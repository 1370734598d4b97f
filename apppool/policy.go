package apppool

import (
	"reflect"
	"time"

	"aerie/config"
)

// nextRestart decides about the restart after a failure. failures is the count of
// failures in a row before this one, served how long the generation had been
// ready: 0 for a start that did not succeed. It returns the new count and how
// long to wait.
func nextRestart(failures int, served, delay, limit time.Duration) (int, time.Duration) {
	if served > limit {
		failures = 0
	}
	wait := delay
	for i := 0; i < failures && wait > 0 && wait < limit; i++ {
		wait *= 2
	}
	return failures + 1, min(wait, limit)
}

// needsGeneration says whether a pool that runs with the settings was has to start
// a new generation to run with the settings is.
func needsGeneration(was, is *config.Pool) bool {
	return !reflect.DeepEqual(workerSettings(*was), workerSettings(*is))
}

// overlaps says whether a generation with the settings is, or with the same ones
// if that is nil, may run beside one with the settings was.
func overlaps(was, is *config.Pool) bool {
	return was.Recycle.Overlap && (is == nil || is.Recycle.Overlap)
}

// workerSettings leaves in c what only a start can tell a worker process, by
// clearing what the pool applies itself. A setting that is not named here is a
// worker's, so that a new one can at worst recycle a pool without need.
func workerSettings(c config.Pool) config.Pool {
	c.AutoStart, c.Start, c.IdleTimeout = false, "", 0
	c.StartupTimeout, c.ShutdownTimeout, c.DrainTimeout = 0, 0, 0
	c.MaxDraining = 0
	c.RestartDelay, c.RestartDelayMax = 0, 0
	c.QueueLength, c.QueueTimeout = 0, 0
	c.Failure, c.Recycle, c.Health = config.Failure{}, config.Recycle{}, config.Health{}
	return c
}

// changeReason says in a log line's words why a pool with the settings was starts
// a new generation with the settings is.
func changeReason(was, is *config.Pool) string {
	if was.Program != nil && is.Program != nil && was.Program.Hosting != is.Program.Hosting {
		return "hosting changed from " + string(was.Program.Hosting) + " to " + string(is.Program.Hosting)
	}
	return "configuration changed"
}
