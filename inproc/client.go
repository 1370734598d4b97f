package inproc

import (
	"errors"
	"net"
	"net/netip"
)

// Client is a client's connection that the host hands over to a worker process
// and may get back. It belongs to one goroutine or one worker at a time.
type Client struct {
	Conn    net.Conn       // the host's descriptor; nil while only the worker process has one
	Number  uint64         // the host's number of the connection, for its whole life
	Prefix  []byte         // bytes to be read before those in the socket, 3 at most
	Resumed bool           // it waits between two requests
	Local   netip.AddrPort // the address that the client connected to
	Remote  netip.AddrPort // the client's address
	Refused bool           // a worker process could not take it

	cookie   uint64 // the kernel's name of the socket; 0 while the host has a descriptor of it
	taken    bool   // the worker has said that it has the connection; guarded by the link's mu
	told     bool   // all that is known of it is what a worker process has said of a connection that a host before gave it
	consumed uint64 // bytes that were read from it before it was handed over
}

// ErrNotTaken is the error of a hand-over that did not happen: the worker has
// no free slot, its socket is full, or it is draining. The connection still
// belongs to the caller.
var ErrNotTaken = errors.New("inproc: connection not handed over")
