// Package proto is what a host and its worker processes say to each other:
//
//   - the control service (control.proto, gRPC over the go-plugin connection),
//   - the handshake and the environment of a worker process (handshake.go),
//   - the frames on the hand-over socket (frame.go),
//   - the record that travels with a relayed request (record.go).
//
// Host and application may be built at different times. The host speaks
// protocol Version and the one before it; a setting that a worker process does
// not know refuses the generation and is named.
package proto
