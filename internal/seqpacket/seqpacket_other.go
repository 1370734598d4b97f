//go:build !linux

package seqpacket

import "context"

// Supported says whether this system has SEQPACKET sockets.
const Supported = false

// Listener accepts connections on a path.
type Listener struct{}

// Listen fails with ErrUnsupported.
func Listen(string) (*Listener, error) { return nil, ErrUnsupported }

// Accept fails with ErrUnsupported.
func (*Listener) Accept() (*Conn, error) { return nil, ErrUnsupported }

// Close does nothing.
func (*Listener) Close() error { return nil }

// Conn is a connection.
type Conn struct{}

// Dial fails with ErrUnsupported.
func Dial(string) (*Conn, error) { return nil, ErrUnsupported }

// DialUser fails with ErrUnsupported.
func DialUser(string, int) (*Conn, error) { return nil, ErrUnsupported }

// PeerPID fails with ErrUnsupported.
func (*Conn) PeerPID() (int, error) { return 0, ErrUnsupported }

// Send fails with ErrUnsupported.
func (*Conn) Send([]byte, ...int) error { return ErrUnsupported }

// SendContext fails with ErrUnsupported.
func (*Conn) SendContext(context.Context, []byte, ...int) error { return ErrUnsupported }

// TrySend fails with ErrUnsupported.
func (*Conn) TrySend([]byte, ...int) error { return ErrUnsupported }

// Recv fails with ErrUnsupported.
func (*Conn) Recv([]byte) (int, []int, error) { return 0, nil, ErrUnsupported }

// Close does nothing.
func (*Conn) Close() error { return nil }
