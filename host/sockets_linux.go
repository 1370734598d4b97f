package host

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// inspect asks the kernel where a socket is bound and whether it listens. The
// error says what it is if it is not a TCP socket.
func inspect(f *os.File) (at local, listens bool, err error) {
	err = withDescriptor(f, func(fd int) error {
		var err error
		at, listens, err = inspectDescriptor(fd)
		return err
	})
	return at, listens, err
}

func inspectDescriptor(fd int) (local, bool, error) {
	option := func(level, name int) int {
		v, err := unix.GetsockoptInt(fd, level, name)
		if err != nil {
			return -1 // of no socket, or a kind that does not have it
		}
		return v
	}
	protocol := option(unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if option(unix.SOL_SOCKET, unix.SO_TYPE) != unix.SOCK_STREAM || protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_MPTCP {
		return local{}, false, errors.New("it is not a TCP socket")
	}
	listens := option(unix.SOL_SOCKET, unix.SO_ACCEPTCONN) == 1
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return local{}, false, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return local{addr: netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))}, listens, nil
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			addr = addr.WithZone(fmt.Sprint(sa.ZoneId))
		}
		dual := addr.IsUnspecified() && option(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY) == 0
		return local{netip.AddrPortFrom(addr, uint16(sa.Port)), dual}, listens, nil
	}
	return local{}, false, errors.New("it is not a socket of IPv4 or IPv6")
}

// shutdown has a socket listen no more, whoever else has a copy of it: its
// address can be listened on anew at once. One that does not listen is left as it is.
func shutdown(f *os.File) error {
	return withDescriptor(f, func(fd int) error {
		if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil && err != syscall.ENOTCONN {
			return os.NewSyscallError("shutdown", err)
		}
		return nil
	})
}

func withDescriptor(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	return errors.Join(raw.Control(func(fd uintptr) { done = do(int(fd)) }), done)
}
