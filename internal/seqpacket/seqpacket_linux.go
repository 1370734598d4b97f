package seqpacket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"aerie/internal/peer"
)

// Supported says whether this system has SEQPACKET sockets.
const Supported = true

// Listener accepts connections on a path.
type Listener struct{ l *net.UnixListener }

// Listen makes a socket at path. Close removes it.
func Listen(path string) (*Listener, error) {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("listen on hand-over socket: %w", err)
	}
	return &Listener{l}, nil
}

// Accept waits for a connection. After Close the error is net.ErrClosed.
func (l *Listener) Accept() (*Conn, error) {
	c, err := l.l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return newConn(c)
}

// Close ends Accept and removes the socket.
func (l *Listener) Close() error { return l.l.Close() }

// Conn is a connection. One goroutine may receive and any number may send.
type Conn struct {
	c   *net.UnixConn
	raw syscall.RawConn
	oob []byte
}

// Dial connects to the socket at path.
func Dial(path string) (*Conn, error) {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return newConn(c)
}

// DialUser is Dial that refuses a socket on which a process of another user than
// uid listens; -1 is any user.
func DialUser(path string, uid int) (*Conn, error) {
	c, err := Dial(path)
	if err != nil || uid < 0 {
		return c, err
	}
	if err := peer.Check(c.c, uid); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func newConn(c *net.UnixConn) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &Conn{c: c, raw: raw, oob: make([]byte, unix.CmsgSpace(4*4))}, nil
}

// PeerPID is the process that connected, or for the end that has connected the
// one that listens, as the kernel noted it when the connection was made.
func (c *Conn) PeerPID() (int, error) {
	var cred *unix.Ucred
	var err error
	if cerr := c.raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil {
		return 0, cerr
	}
	if err != nil {
		return 0, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	return int(cred.Pid), nil
}

// Send sends a message with descriptors, and waits for room if there is none.
// The descriptors stay open here.
func (c *Conn) Send(msg []byte, fds ...int) error {
	_, _, err := c.c.WriteMsgUnix(msg, rights(fds), nil)
	return err
}

// SendContext is Send that waits no longer than until ctx ends; then the error is
// the cause of ctx, and nothing can be sent on the connection any more.
func (c *Conn) SendContext(ctx context.Context, msg []byte, fds ...int) error {
	stop := context.AfterFunc(ctx, func() { _ = c.c.SetWriteDeadline(time.Unix(1, 0)) }) // fails only when closed
	defer stop()
	if err := c.Send(msg, fds...); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

// TrySend is Send that never waits: ErrFull if it would have to.
func (c *Conn) TrySend(msg []byte, fds ...int) error {
	var err error
	oob := rights(fds)
	if werr := c.raw.Write(func(fd uintptr) bool {
		err = unix.Sendmsg(int(fd), msg, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return true
	}); werr != nil {
		return werr
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ETOOMANYREFS) || errors.Is(err, unix.ENOBUFS) {
		return ErrFull
	}
	return err
}

func rights(fds []int) []byte {
	if len(fds) == 0 {
		return nil
	}
	return unix.UnixRights(fds...)
}

// Recv waits for a message. The descriptors that came with it are the caller's
// to close and are marked close-on-exec. io.EOF when the other end is closed,
// which is also what its process's death looks like.
func (c *Conn) Recv(buf []byte) (n int, fds []int, err error) {
	n, oobn, flags, _, err := c.c.ReadMsgUnix(buf, c.oob)
	if errors.Is(err, unix.ECONNRESET) {
		// The kernel says so, once, if the other end was closed before it had
		// read everything. What it had sent before is still here.
		n, oobn, flags, _, err = c.c.ReadMsgUnix(buf, c.oob)
	}
	if err != nil {
		return 0, nil, err
	}
	if oobn > 0 {
		fds, err = parseRights(c.oob[:oobn])
	}
	if err == nil && flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 {
		err = ErrTruncated
	}
	if err == nil && n == 0 && len(fds) == 0 {
		err = io.EOF
	}
	return n, fds, err
}

func parseRights(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var fds []int
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // another kind of control message
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.c.Close() }
