package config

import (
	"net/netip"
	"os"
	"time"
)

// Config is a whole sites.toml, decoded over the defaults and validated. It is
// immutable once Load has returned it; every path in it is absolute.
type Config struct {
	Path  string           // the file it was read from, absolute
	Dir   string           // the folder of that file: what relative paths are relative to
	Host  Host             // [host]
	Pools map[string]*Pool // [pools.NAME], by name
	Sites []*Site          // [[sites]], in the order of the file

	places places // for Warnings
}

// Host is the [host] table: what belongs to the host process and to every
// connection before its site is known.
type Host struct {
	RunDir         string         // sockets and the lock
	StateDir       string         // logs and state; survives a reboot
	PoolsDir       string         // one folder per pool
	TrustedProxies []netip.Prefix // who may set X-Forwarded-*
	Admin          string         // "unix:/abs/path": where the admin API listens
	HostAway       time.Duration  // how long in-process workers live on without a host
	Limits         HostLimits     // [host.limits]
	Log            HostLog        // [host.log]
}

// HostLimits is the [host.limits] table: limits that hold before the site of a
// request is known, so they are one for all sites.
type HostLimits struct {
	MaxRequestLine int64         // bytes of the request line; past it 414 (Kestrel MaxRequestLineSize)
	MaxHeaderSize  int64         // bytes of all header fields; past it 431 (Kestrel MaxRequestHeadersTotalSize)
	MaxHeaderCount int           // header fields; past it 431 (Kestrel MaxRequestHeaderCount)
	HeaderTimeout  time.Duration // for a whole request head, from its first byte; past it 408 (Kestrel RequestHeadersTimeout)
	IdleTimeout    time.Duration // between requests of a keep-alive connection (Kestrel KeepAliveTimeout)
	MaxConnections int           // open client connections of the whole host; 0 is no limit
}

// HostLog is the [host.log] table.
type HostLog struct {
	Access   bool  // write the access log, state_dir/logs/access.log
	MaxSize  int64 // bytes after which a log file is rotated
	MaxFiles int   // rotated files kept of each log
}

// Pool is a [pools.NAME] table: worker processes with one lifecycle.
type Pool struct {
	Name            string
	Dir             string        // PoolsDir/Name: where the app's binaries lie
	AutoStart       bool          // start with the host; otherwise by `aerie pool start`
	Start           Start         // when its process starts, if it starts by itself (IIS startMode)
	IdleTimeout     time.Duration // without a request, after which the process is stopped until the next one; 0 is never (IIS idleTimeout)
	StartupTimeout  time.Duration // from process start to ready (ANCM startupTimeLimit)
	ShutdownTimeout time.Duration // from the polite stop to the kill (ANCM shutdownTimeLimit)
	DrainTimeout    time.Duration // for requests and connections of a replaced generation
	MaxDraining     int           // old generations that may drain at once; the oldest is cut
	RestartDelay    time.Duration // back-off after the first crash; doubles with each further one
	RestartDelayMax time.Duration // bound of that back-off
	QueueLength     int           // requests and connections that wait for the pool; past it 503 QueueFull
	QueueTimeout    time.Duration // how long one of them waits
	MaxConcurrent   int           // requests that run at once in each worker process; 0 is no limit
	MaxStreams      int           // upgraded and long-streaming requests beside those, in each worker process
	StreamAfter     time.Duration // a request that runs for longer counts as a stream
	Failure         Failure       // [pools.NAME.failure]
	Recycle         Recycle       // [pools.NAME.recycle]
	Health          Health        // [pools.NAME.health]

	Identity Identity   // [pools.NAME.identity]
	Limits   PoolLimits // [pools.NAME.limits]

	Program *Program // what the pool runs, from the apps that name it; nil when none does
}

// Start says when the process of a pool starts.
type Start string

// The values of Start.
const (
	StartAlways   Start = "always"    // with the host
	StartOnDemand Start = "on_demand" // with the first request
)

// Failure is the [pools.NAME.failure] table: when the host gives a pool up (IIS
// rapid-fail protection). A failure is a worker process that ends by itself, or
// one that does not become ready while no other one serves.
type Failure struct {
	MaxCrashes   int           // failures within Window after which the pool is failed; 0 never gives up (IIS rapidFailProtectionMaxCrashes)
	Window       time.Duration // slides (IIS rapidFailProtectionInterval)
	SecondChance time.Duration // after which a failed pool is started once more by itself; 0 never
	OnFailed     []string      // command that is run when the pool fails, the program absolute; empty runs none (IIS autoShutdownExe)
}

// Recycle is the [pools.NAME.recycle] table: when a pool's worker process is
// replaced without having been asked for (IIS recycling). A trigger that is zero
// or empty is off.
type Recycle struct {
	Overlap       bool          // the new process starts beside the old one; otherwise when that is gone (IIS disallowOverlappingRotation)
	Interval      time.Duration // age of the process (IIS periodicRestart time)
	Schedule      []TimeOfDay   // every day at these times (IIS periodicRestart schedule)
	Requests      int           // answered by the process (IIS periodicRestart requests)
	Memory        int64         // bytes of its memory that lie in RAM
	PrivateMemory int64         // bytes that are its own, swapped ones included (IIS periodicRestart privateMemory)
	CPU           int           // percent of one CPU that it uses on average over CPUWindow (IIS cpu limit)
	CPUWindow     time.Duration // (IIS cpu resetInterval)
	Jitter        time.Duration // up to which Interval and Schedule are put off at random, so that pools do not recycle at once
	Spacing       time.Duration // least time between two automatic recycles, whatever their reason
}

// Health is the [pools.NAME.health] table: when a pool's worker process is
// replaced because it does not work.
type Health struct {
	Path           string        // that a healthy application answers with 200 to 399; "" asks the SDK's own check of an in-process one
	Interval       time.Duration // between two checks; 0 makes none once the process serves (IIS pingInterval)
	Timeout        time.Duration // of one check (IIS pingResponseTime)
	UnhealthyAfter int           // checks that fail in a row
	HangTimeout    time.Duration // for which all slots are taken and no request ends; 0 is no matter
}

// TimeOfDay is a time of day in a time zone.
type TimeOfDay struct {
	Hour, Minute int
	Zone         *time.Location // never nil; time.Local if the file names none
}

// Identity is the [pools.NAME.identity] table: as whom the pool's worker
// processes run, and what they may do (IIS processModel.identityType).
type Identity struct {
	User         string       // name or number; "" is the host's own user
	Group        string       // name or number; "" is the user's own group
	Groups       []string     // supplementary groups beside those that the system gives the user
	Umask        os.FileMode  // of new files
	NoNewPrivs   bool         // set-user-ID programs and file capabilities give the process nothing
	Capabilities Capabilities // what is left of root's privileges
}

// PoolLimits is the [pools.NAME.limits] table: what each of the pool's worker
// processes may use, together with all that it starts. Zero is no limit.
type PoolLimits struct {
	CPU          float64 // CPUs: 1.5 is one and a half all the time (IIS cpu.limit with action Throttle)
	Memory       int64   // bytes, swap included; past it the kernel ends the process
	Processes    int     // processes and threads
	CPUs         CPUSet  // on which CPUs it may run; none is all (IIS smpProcessorAffinityMask)
	OpenFiles    Rlimit  // descriptors
	CoreSize     Rlimit  // bytes of a core file
	LockedMemory Rlimit  // bytes that are kept in RAM
	Required     bool    // a limit that cannot be set keeps the pool from starting
}

// Capabilities says which of root's privileges (capabilities(7)) a worker
// process may have.
type Capabilities string

// The values of Capabilities.
const (
	CapabilitiesAuto Capabilities = "auto" // none with a user of the pool's own; without one those of the host's user, but not what the host was given besides
	CapabilitiesNone Capabilities = "none" // none, and no way to gain any
	CapabilitiesHost Capabilities = "host" // those that the kernel leaves the process with
)

// DropsCapabilities says whether a worker process is to have no capability.
func (i *Identity) DropsCapabilities() bool {
	return i.Capabilities == CapabilitiesNone || i.Capabilities == CapabilitiesAuto && i.User != ""
}

// Program is what a pool runs: the keys on which all apps of a pool agree.
type Program struct {
	Process  string            // the executable: relative to the pool's folder as written, absolute here
	Args     []string          // its arguments
	Dir      string            // its working directory: relative to the pool's folder as written, absolute here
	Env      map[string]string // added to its environment
	EnvFiles []string          // files of more of it, absolute; read at each start, see Environment
	Hosting  Hosting           // who serves the client's connection
}

// Hosting is the one word that says how an app is hosted.
type Hosting string

// The hosting modes.
const (
	InProcess    Hosting = "inprocess"    // the worker process is handed the client's connection
	OutOfProcess Hosting = "outofprocess" // the host forwards requests to the child's own server
)

// Site is one [[sites]] entry.
type Site struct {
	Name     string
	Bindings []Binding
	Handover bool       // handover = "auto" is true, "never" is false
	Limits   SiteLimits // [sites.limits]
	Apps     []*App     // at least one; sorted by descending path length
}

// Binding is one address, port and host name on which a site answers, written
// "scheme://host:port".
type Binding struct {
	Text   string     // as written
	Scheme string     // "http"
	Host   string     // lower case; "" is any host, "*.example.org" any name below example.org
	Listen Listen     // on which local addresses
	IP     netip.Addr // with Listen == ListenIP: that address
	Port   uint16
}

// Listen says on which local addresses a binding answers.
type Listen int

// The values of Listen.
const (
	ListenAny      Listen = iota // every address of the machine
	ListenLoopback               // 127.0.0.1 and ::1: names under "localhost" (RFC 6761, 6.3)
	ListenIP                     // one address: bindings whose host is an IP address
)

// SiteLimits is the [sites.limits] table.
type SiteLimits struct {
	MaxBody                  int64         // bytes of a request body; past it 413 (IIS maxAllowedContentLength); 0 is no limit
	MaxURL                   int           // bytes of the request target's path; past it 414 (IIS maxUrl)
	MaxQuery                 int           // bytes of its query; past it 414 (IIS maxQueryString)
	MinBodyRate              int64         // bytes/s a client must send a body with (Kestrel MinRequestBodyDataRate); 0 is no limit
	MinResponseRate          int64         // bytes/s a client must take a response with (Kestrel MinResponseDataRate); 0 is no limit
	RateGrace                time.Duration // before the two rates count
	MaxConnections           int           // of the site (IIS maxConnections); 0 is no limit
	MaxConnectionsPerAddress int           // of the site, from one client address; 0 is no limit
}

// App is one [[sites.apps]] entry: a path of a site, and the pool that answers it.
type App struct {
	Path string // "/" or "/shop": no trailing slash
	Pool *Pool  // the pool whose program answers
}
