// Package outproc is out-of-process hosting: the application runs as its own
// server in a child process, and the host forwards requests to it. Any program
// in any language will do; what it needs to know stands in its environment:
//
//	PORT              a free loopback port: listen on 127.0.0.1:PORT, or
//	AERIE_SOCKET      listen on this unix socket, which is faster and private
//	HOST              127.0.0.1
//	AERIE_MODE        "outofprocess"
//	AERIE_POOL        name of the pool
//	AERIE_GENERATION  number of the generation
//	AERIE_TOKEN       the generation's secret, which the host shows with each request
//
// These win over the program's own env from sites.toml, and that over the
// host's environment.
//
// A worker is ready as soon as the socket or the port accepts a connection,
// whichever is first. Connections to the port are made only while the process
// is alive; that the port is really its own, and not a stranger's who came
// first, is checked at the start (on Linux).
package outproc
