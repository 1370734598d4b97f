// Package inproc is in-process hosting: it starts the application as a worker
// process over hashicorp/go-plugin, hands it clients' connections, relays
// requests to it where a connection cannot be handed over, and takes
// connections back.
//
// go-plugin starts the process, negotiates the protocol version and carries the
// control service (gRPC). It never carries a request. Its way to end a process
// is not used: a worker is stopped by our own call, and killed with its whole
// process group.
package inproc
