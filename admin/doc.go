// Package admin is the API by which an operator speaks with a running host:
// JSON over HTTP on a unix socket that only root and the host's own user may
// use. The server knows the host by the interface Host alone; Client is its
// other end, and both speak the same types.
//
//	GET  /v1/status                  Status
//	POST /v1/reload                  Reload
//	POST /v1/pools/{name}/{action}   PoolStatus
//
// Every answer that is not a success carries an Error.
package admin
