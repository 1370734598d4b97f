// Package worker runs requests. The same code serves in the host and inside
// every worker process: an HTTP server over connections from any source, a
// router from host name and path to an application, the limits of hosts and
// sites, and a bounded number of requests that run at once.
//
// net/http parses and writes HTTP. What this package adds to a connection
// stands in conn.go: it knows at every moment whether a connection waits
// between requests, and only there, on the connection's own goroutine, can it
// be given back to the host without a byte or a request being lost.
//
// Time-outs and data rates are watched by one heartbeat per server, which
// wakes while there are connections, instead of by timers of each connection.
package worker
