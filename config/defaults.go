package config

import "time"

// Sizes, as sites.toml counts them.
const (
	mb  = 1000 * 1000
	kib = 1 << 10
	mib = 1 << 20
)

// DefaultHost is what [host] holds when the file says nothing. Its paths are
// relative, as they would be written; Load makes them absolute. Admin is empty:
// it follows run_dir.
func DefaultHost() Host {
	return Host{
		RunDir:   "run",
		StateDir: "state",
		PoolsDir: "pools",
		HostAway: 60 * time.Second,
		Limits: HostLimits{
			MaxRequestLine: 8 * kib,
			MaxHeaderSize:  32 * kib,
			MaxHeaderCount: 100,
			HeaderTimeout:  30 * time.Second,
			IdleTimeout:    130 * time.Second,
		},
		Log: HostLog{Access: true, MaxSize: 64 * mib, MaxFiles: 5},
	}
}

// DefaultPool is what [pools.NAME] holds when the file says nothing, and what
// a pool without a table of its own is.
func DefaultPool(name string) *Pool {
	return &Pool{
		Name:            name,
		AutoStart:       true,
		Start:           StartAlways,
		StartupTimeout:  2 * time.Minute,
		ShutdownTimeout: 10 * time.Second,
		DrainTimeout:    30 * time.Second,
		MaxDraining:     3,
		RestartDelay:    500 * time.Millisecond,
		RestartDelayMax: 30 * time.Second,
		QueueLength:     1000,
		QueueTimeout:    30 * time.Second,
		MaxConcurrent:   5000,
		MaxStreams:      10000,
		StreamAfter:     30 * time.Second,
		Failure:         Failure{MaxCrashes: 10, Window: 5 * time.Minute, SecondChance: 5 * time.Minute},
		Recycle:         Recycle{Overlap: true, CPUWindow: 5 * time.Minute, Jitter: time.Minute, Spacing: time.Minute},
		Health:          Health{Interval: 30 * time.Second, Timeout: 10 * time.Second, UnhealthyAfter: 3},
		Identity:        Identity{Umask: 0o022, NoNewPrivs: true, Capabilities: CapabilitiesAuto},
		Limits:          PoolLimits{Required: true},
	}
}

// DefaultSite is what a [[sites]] entry holds when the file says nothing.
func DefaultSite() *Site {
	return &Site{
		Handover: true,
		Limits: SiteLimits{
			MaxBody:         30 * mb,
			MaxURL:          4 * kib,
			MaxQuery:        2 * kib,
			MinBodyRate:     240,
			MinResponseRate: 240,
			RateGrace:       5 * time.Second,
		},
	}
}

// DefaultApp is what a [[sites.apps]] entry holds when the file says nothing.
func DefaultApp() *App { return &App{Path: "/"} }
