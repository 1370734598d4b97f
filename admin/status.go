package admin

import (
	"context"
	"time"
)

// Host is what the admin API needs of the host process.
type Host interface {
	// Status is a snapshot; it does not block.
	Status() Status
	// Reload reads the host's own sites.toml again and applies what differs.
	// A refused reload changes nothing and the error says why.
	Reload(ctx context.Context) (Reload, error)
	// Pool carries out action on the named pool and returns when it is done,
	// or has not succeeded. ErrUnknownPool if there is no such pool.
	Pool(ctx context.Context, name string, action Action) (PoolStatus, error)
	// Queue tells who waits for the named pool. ErrUnknownPool if there is no
	// such pool.
	Queue(ctx context.Context, name string) (Queue, error)
}

// Action is what an operator can ask of a pool.
type Action string

// The actions.
const (
	Start   Action = "start"
	Stop    Action = "stop"
	Recycle Action = "recycle"
)

// Status is what `aerie status --json` prints.
type Status struct {
	Version       string       `json:"version"`
	Pid           int          `json:"pid"`
	StartedAt     time.Time    `json:"started_at"`
	Config        string       `json:"config"`         // path of sites.toml
	ConfigVersion uint64       `json:"config_version"` // grows with each accepted reload
	Connections   int          `json:"connections"`    // open client connections, handed-over ones included
	Sites         []SiteStatus `json:"sites"`
	Pools         []PoolStatus `json:"pools"`
}

// SiteStatus is one site.
type SiteStatus struct {
	Name        string      `json:"name"`
	Bindings    []string    `json:"bindings"`
	Connections int         `json:"connections"`
	Apps        []AppStatus `json:"apps"`
}

// AppStatus is one application of a site.
type AppStatus struct {
	Path    string `json:"path"`
	Pool    string `json:"pool"`
	Hosting string `json:"hosting"`
}

// PoolStatus is one application pool.
type PoolStatus struct {
	Name       string         `json:"name"`
	Hosting    string         `json:"hosting"`
	State      string         `json:"state"`
	Generation int            `json:"generation"`
	Queued     int            `json:"queued"`
	Crashes    int            `json:"crashes"`
	Recycles   int            `json:"recycles"`
	LastReason string         `json:"last_reason"`
	LastOutput []string       `json:"last_output,omitempty"` // the last lines printed by what did not start or crashed
	RetryAt    time.Time      `json:"retry_at,omitzero"`     // when the next start is due, in a back-off or before a second chance
	Workers    []WorkerStatus `json:"workers"`
}

// WorkerStatus is one worker process.
type WorkerStatus struct {
	Pid         int       `json:"pid"`
	Generation  int       `json:"generation"`
	State       string    `json:"state"` // "starting", "running", "draining"
	Requests    uint64    `json:"requests"`
	Active      int       `json:"active"`
	Connections int       `json:"connections"`
	RSSBytes    int64     `json:"rss_bytes"`
	StartedAt   time.Time `json:"started_at"`
}

// Queue is who waits for a pool: in the host, for a worker process, or in a worker
// process, for one of its max_concurrent slots.
type Queue struct {
	Pool    string   `json:"pool"`
	Length  int      `json:"queue_length"` // how many may wait
	Waiting []Waiter `json:"waiting"`      // the first 1000 of the host and of each process, the first one first
}

// Waiter is one who waits.
type Waiter struct {
	Pid     int       `json:"pid,omitempty"` // of the worker process; 0 in the host
	Since   time.Time `json:"since"`
	Client  string    `json:"client"`
	Request string    `json:"request"` // method and target; "" of a connection whose request has not been read
}

// Reload is what an accepted reload changed, one line each.
type Reload struct {
	ConfigVersion uint64   `json:"config_version"`
	Changes       []string `json:"changes"`
}
