//go:build !linux

package inproc

import "net"

// Without SEQPACKET sockets no connection is handed over: the relay serves.

func identify(*Client) error                            { return ErrNotTaken }
func withDescriptor(net.Conn, func(fd int) error) error { return ErrNotTaken }
func connOf(int, uint64) (net.Conn, error)              { return nil, ErrNotTaken }
func closeFDs([]int)                                    {}
