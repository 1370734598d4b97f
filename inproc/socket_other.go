//go:build !linux

package inproc

import "net"

// Without SEQPACKET sockets no connection is handed over: the relay serves.

func cookieOf(net.Conn) (uint64, error)                 { return 0, ErrNotTaken }
func consumed(net.Conn) (uint64, error)                 { return 0, ErrNotTaken }
func withDescriptor(net.Conn, func(fd int) error) error { return ErrNotTaken }
func connOf(int, *Client) (net.Conn, error)             { return nil, ErrNotTaken }
func closeFDs([]int)                                    {}
