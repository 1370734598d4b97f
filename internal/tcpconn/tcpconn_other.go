//go:build !linux

package tcpconn

import (
	"errors"
	"net"
	"net/netip"
	"os"
)

// Listener accepts connections.
type Listener struct{ *net.TCPListener }

// NewListener returns a Listener on the socket of l, which is closed with it.
func NewListener(l *net.TCPListener) (*Listener, error) { return &Listener{l}, nil }

// Accept waits for a connection, which gets keep-alive probes.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true}) // fails only on a closed connection, and whoever reads it sees that
	return c, nil
}

// FromDescriptor returns the connection of a socket. It takes the descriptor
// over; the caller closes the connection.
func FromDescriptor(fd int, _, _ netip.AddrPort) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "tcp")
	c, err := net.FileConn(f)
	return c, errors.Join(err, f.Close())
}

// ErrWait is the error of a look at a connection on which nothing has come.
var ErrWait = errors.New("tcpconn: nothing has come yet")
