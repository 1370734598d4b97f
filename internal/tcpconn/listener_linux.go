package tcpconn

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener accepts connections that have not joined the poller. Options of the
// socket that Linux passes on to accepted ones (TCP_NODELAY, SO_KEEPALIVE) are the listener's
// to set.
type Listener struct {
	file  *os.File // since a net.Listener does not let others wait on its descriptor
	raw   syscall.RawConn
	addr  net.Addr
	local netip.AddrPort // of every connection; the zero value if that differs

	closed atomic.Bool
}

// NewListener returns a Listener on the socket of l, and closes l.
func NewListener(l *net.TCPListener) (*Listener, error) {
	file, err := l.File()
	if err = errors.Join(err, l.Close()); err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	out := &Listener{file: file, raw: raw, addr: l.Addr()}
	if a, ok := out.addr.(*net.TCPAddr); ok {
		if local := unmapped(a.AddrPort()); !local.Addr().IsUnspecified() {
			out.local = local
		}
	}
	return out, nil
}

// Accept waits for a connection, a *Conn. Its error is net.ErrClosed, wrapped,
// after Close.
func (l *Listener) Accept() (net.Conn, error) {
	var fd int
	var remote unix.Sockaddr
	var failed error
	err := l.raw.Read(func(listener uintptr) bool {
		for {
			fd, remote, failed = unix.Accept4(int(listener), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			switch failed {
			case unix.EINTR, unix.ECONNABORTED: // the client left while it waited
				continue
			case unix.EAGAIN:
				return false
			}
			return true
		}
	})
	if err != nil && l.closed.Load() {
		err = net.ErrClosed
	}
	if err == nil {
		err = os.NewSyscallError("accept4", failed)
	}
	if err != nil {
		return nil, l.failed(err)
	}
	local := l.local
	if !local.IsValid() {
		sa, err := unix.Getsockname(fd)
		if err != nil {
			_ = unix.Close(fd) // nobody was told of it
			return nil, l.failed(os.NewSyscallError("getsockname", err))
		}
		local = addrPort(sa)
	}
	return &Conn{fd: fd, local: local, remote: addrPort(remote)}, nil
}

func (l *Listener) failed(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: err}
}

// Close closes the socket and ends Accept.
func (l *Listener) Close() error {
	l.closed.Store(true)
	return l.file.Close()
}

// Addr is the address that the socket listens on.
func (l *Listener) Addr() net.Addr { return l.addr }

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			addr = addr.WithZone(zone(int(sa.ZoneId)))
		}
		return unmapped(netip.AddrPortFrom(addr, uint16(sa.Port)))
	}
	return netip.AddrPort{}
}

func zone(index int) string {
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return strconv.Itoa(index)
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
