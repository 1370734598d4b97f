package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// ErrStranger is the error of a connection to a process of another user than
// was expected.
var ErrStranger = errors.New("peer: the other end is another user's process")

// Check returns an error that wraps ErrStranger unless the process at the other
// end of the unix connection c runs as user uid. Where the system does not tell,
// nobody is a stranger.
func Check(c net.Conn, uid int) error {
	got, err := UID(c)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("user of the peer: %w", err)
	}
	if got != uid {
		return fmt.Errorf("%w: it runs as %d, not as %d", ErrStranger, got, uid)
	}
	return nil
}

// Dial connects to the unix socket at path, on which a process of user uid must
// listen.
func Dial(ctx context.Context, path string, uid int) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := Check(c, uid); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Only returns l with all connections closed that are not from processes of user
// uid or of this process's own.
func Only(l net.Listener, uid int) net.Listener { return &only{l, uid} }

type only struct {
	net.Listener
	uid int
}

// Accept waits for the next connection of the user.
func (l *only) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if Check(c, l.uid) == nil || Check(c, os.Geteuid()) == nil {
			return c, nil
		}
		_ = c.Close() // nothing was read or written
	}
}
