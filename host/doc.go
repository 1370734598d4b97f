// Package host is the host process: it owns the ports, knows the sites, keeps
// the pools, and is the only place where the parts of Aerie meet at run time.
//
// The way of a connection:
//
//	listener -> peek (peek.go): whose is it, by its first bytes, none consumed
//	   |
//	   +-- its site lives wholly in one in-process pool -> handed over (clients.go)
//	   +-- anything else -> the host's own HTTP server (worker.Server)
//	                           -> routing table (routes.go) -> forward or relay
package host
