package proto

import "github.com/hashicorp/go-plugin"

// Version is the protocol that this build of Aerie speaks. A host also speaks
// Version-1, once there is one.
const Version = 1

// PluginName is the name under which the control service is dispensed.
const PluginName = "aerie"

// Handshake is go-plugin's check that the program was started by a host and
// was meant to be. It keeps nobody out; the generation's token does.
var Handshake = plugin.HandshakeConfig{
	MagicCookieKey:   EnvCookie,
	MagicCookieValue: "in-process",
}

// The environment of a worker process. The SDK removes all of it after reading,
// so that a child of the application does not take itself for a worker.
const (
	EnvPrefix     = "AERIE_"
	EnvCookie     = "AERIE_HOSTED"     // set by an in-process host
	EnvPool       = "AERIE_POOL"       // name of the pool
	EnvGeneration = "AERIE_GENERATION" // number of the generation
	EnvSocketDir  = "AERIE_SOCKET_DIR" // in-process: where the worker makes its sockets
	EnvToken      = "AERIE_TOKEN"      // out-of-process: the generation's token
	EnvSocket     = "AERIE_SOCKET"     // out-of-process: unix socket to listen on
	EnvPort       = "PORT"             // loopback port to listen on instead
	EnvHostAway   = "AERIE_HOST_AWAY"  // in-process: how long to live on without a host
	EnvLog        = "AERIE_LOG"        // in-process on Windows: path of the pool's log
	EnvAccessLog  = "AERIE_ACCESS_LOG" // in-process on Windows: path of the access log
)

// The descriptors that an in-process worker process inherits. All of them are
// marked close-on-exec as soon as it runs.
const (
	FDLog       = 3 // the pool's log, O_APPEND: becomes stdout and stderr
	FDAccessLog = 4 // the access log, O_APPEND; /dev/null when it is off
	FDToken     = 5 // a pipe with the generation's token
)
