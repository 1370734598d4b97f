// Package seqpacket sends messages and open descriptors between processes of
// one machine, over unix sockets of type SEQPACKET: message boundaries and
// order hold, and a descriptor arrives with the message that it was sent with.
// Linux has them; elsewhere Supported is false and everything fails with
// ErrUnsupported.
package seqpacket

import "errors"

// The errors that a caller branches on.
var (
	// ErrFull means that the socket, or the number of descriptors that are in
	// flight, is at its limit at this moment; nothing was sent.
	ErrFull = errors.New("seqpacket: no room to send")
	// ErrTruncated means that a descriptor was lost on its way in, because
	// this process is at its descriptor limit, or that a message was too long.
	ErrTruncated = errors.New("seqpacket: message or descriptors truncated")
	// ErrUnsupported means that this system has no such sockets.
	ErrUnsupported = errors.New("seqpacket: not on this system")
)
