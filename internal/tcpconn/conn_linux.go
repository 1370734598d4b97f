package tcpconn

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a TCP connection. It is safe for concurrent use, as a *net.TCPConn is,
// which it becomes at the first call that has to wait.
type Conn struct {
	local, remote netip.AddrPort

	joined atomic.Pointer[net.TCPConn] // set once
	mu     sync.Mutex                  // guards below; held for system calls that do not wait
	fd     int                         // before joined is set; -1 after Close
}

// FromDescriptor returns the connection of a socket whose addresses are known. It
// takes the descriptor over; the caller closes the connection.
func FromDescriptor(fd int, local, remote netip.AddrPort) (net.Conn, error) {
	return &Conn{fd: fd, local: local, remote: remote}, nil
}

// ErrWait is the error of Peek when nothing has come.
var ErrWait = errors.New("tcpconn: nothing has come yet")

// Peek reads what has come without taking it out of the socket. It never waits:
// ErrWait, or 0 and nil if the client has closed its side.
func (c *Conn) Peek(p []byte) (int, error) {
	var n int
	err := c.control(func(fd int) (err error) {
		for {
			n, _, err = unix.Recvfrom(fd, p, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return err
			}
		}
	})
	switch {
	case errors.Is(err, unix.EAGAIN):
		return 0, ErrWait
	case err != nil:
		return 0, c.failed("peek", err)
	}
	return n, nil
}

// control calls do with the descriptor, which stays open as long as it runs. do
// must not wait.
func (c *Conn) control(do func(fd int) error) error {
	c.mu.Lock()
	if t := c.joined.Load(); t != nil {
		c.mu.Unlock()
		raw, err := t.SyscallConn()
		if err != nil {
			return err
		}
		var done error
		if err := raw.Control(func(fd uintptr) { done = do(int(fd)) }); err != nil {
			return err
		}
		return done
	}
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	return do(c.fd)
}

// join makes the connection the poller's.
func (c *Conn) join() (*net.TCPConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.joined.Load(); t != nil {
		return t, nil
	}
	if c.fd < 0 {
		return nil, net.ErrClosed
	}
	return c.joinLocked()
}

func (c *Conn) joinLocked() (*net.TCPConn, error) {
	f := os.NewFile(uintptr(c.fd), "tcp")
	conn, err := net.FileConn(f) // of a descriptor of its own
	c.fd = -1
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	t, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errors.New("not a TCP connection"), conn.Close())
	}
	c.joined.Store(t)
	return t, nil
}

// failed is an error in the form in which package net has it.
func (c *Conn) failed(op string, err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// direct tries one read or write without the poller. With a connection in return
// that is the one to go on with; otherwise n and err are the outcome.
func (c *Conn) direct(op string, p []byte, call func(fd int, p []byte) (int, error)) (n int, err error, t *net.TCPConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.joined.Load(); t != nil {
		return 0, nil, t
	}
	if c.fd < 0 {
		return 0, c.failed(op, net.ErrClosed), nil
	}
	for {
		n, err = call(c.fd, p)
		switch err {
		case nil:
			return n, nil, nil
		case unix.EINTR:
		case unix.EAGAIN:
			if t, err = c.joinLocked(); err != nil {
				return 0, c.failed(op, err), nil
			}
			return 0, nil, t
		default:
			return 0, c.failed(op, err), nil
		}
	}
}

// The flag is for sockets whose other owners have them in blocking mode.

func receive(fd int, p []byte) (int, error) {
	n, _, err := unix.Recvfrom(fd, p, unix.MSG_DONTWAIT)
	return n, err
}

func send(fd int, p []byte) (int, error) {
	return unix.SendmsgN(fd, p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// Read reads as a net.Conn does.
func (c *Conn) Read(p []byte) (int, error) {
	t := c.joined.Load()
	if t == nil {
		var n int
		var err error
		n, err, t = c.direct("read", p, receive)
		if t == nil {
			if n == 0 && err == nil && len(p) > 0 {
				err = io.EOF
			}
			return n, err
		}
	}
	return t.Read(p)
}

// Write writes as a net.Conn does.
func (c *Conn) Write(p []byte) (int, error) {
	t := c.joined.Load()
	n := 0
	if t == nil {
		var err error
		n, err, t = c.direct("write", p, send)
		if t == nil && (err != nil || n == len(p)) {
			return n, err
		}
		if t == nil {
			if t, err = c.join(); err != nil { // there is no room for all of it
				return n, c.failed("write", err)
			}
		}
	}
	more, err := t.Write(p[n:])
	return n + more, err
}

// ReadFrom writes what r has, by sendfile or splice where the kernel can.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	t, err := c.join()
	if err != nil {
		return 0, c.failed("write", err)
	}
	return t.ReadFrom(r)
}

// Close closes the descriptor.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.joined.Load(); t != nil {
		return t.Close()
	}
	if c.fd < 0 {
		return c.failed("close", net.ErrClosed)
	}
	fd := c.fd
	c.fd = -1
	if err := unix.Close(fd); err != nil {
		return c.failed("close", err)
	}
	return nil
}

// CloseWrite shuts down the sending side.
func (c *Conn) CloseWrite() error {
	if err := c.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) }); err != nil {
		return c.failed("shutdown", err)
	}
	return nil
}

// LocalAddr is the address that the client connected to, a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr is the client's address, a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadline(t, (*net.TCPConn).SetDeadline)
}

// SetReadDeadline sets the deadline of reads.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(t, (*net.TCPConn).SetReadDeadline)
}

// SetWriteDeadline sets the deadline of writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(t, (*net.TCPConn).SetWriteDeadline)
}

func (c *Conn) setDeadline(t time.Time, set func(*net.TCPConn, time.Time) error) error {
	conn, err := c.join()
	if err != nil {
		return c.failed("set", err)
	}
	return set(conn, t)
}

// SyscallConn returns a raw connection. Its Control does not make the connection
// join the poller; Read and Write do.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return rawConn{c}, nil }

type rawConn struct{ c *Conn }

func (r rawConn) Control(f func(fd uintptr)) error {
	return r.c.control(func(fd int) error {
		f(uintptr(fd))
		return nil
	})
}

func (r rawConn) Read(f func(fd uintptr) bool) error {
	raw, err := r.wait()
	if err != nil {
		return err
	}
	return raw.Read(f)
}

func (r rawConn) Write(f func(fd uintptr) bool) error {
	raw, err := r.wait()
	if err != nil {
		return err
	}
	return raw.Write(f)
}

func (r rawConn) wait() (syscall.RawConn, error) {
	t, err := r.c.join()
	if err != nil {
		return nil, err
	}
	return t.SyscallConn()
}
