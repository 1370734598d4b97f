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

// Conn is a TCP connection. It is safe for concurrent use, as a *net.TCPConn is.
type Conn struct {
	local, remote netip.AddrPort

	joined atomic.Pointer[os.File] // once it has had to wait: it is in the poller
	mu     sync.Mutex              // guards below; held for system calls that do not wait
	fd     int                     // before joined is set; -1 after Close

	// The same socket once more, for what only package net can: to let the kernel
	// copy from files and other sockets. nil until that is asked for.
	copier                      *net.TCPConn
	readDeadline, writeDeadline time.Time // those in force, for copier
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
	if f := c.joined.Load(); f != nil {
		c.mu.Unlock()
		raw, err := f.SyscallConn()
		if err != nil {
			return net.ErrClosed
		}
		var done error
		if err := raw.Control(func(fd uintptr) { done = do(int(fd)) }); err != nil {
			return net.ErrClosed
		}
		return done
	}
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	return do(c.fd)
}

// join enters the connection into the poller.
func (c *Conn) join() (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.joinLocked()
}

func (c *Conn) joinLocked() (*os.File, error) {
	if f := c.joined.Load(); f != nil {
		return f, nil
	}
	if c.fd < 0 {
		return nil, net.ErrClosed
	}
	if err := unix.SetNonblock(c.fd, true); err != nil { // package os asks for it
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(c.fd), "tcp")
	c.fd = -1
	c.joined.Store(f)
	return f, nil
}

// failed is an error in the form in which package net has it.
func (c *Conn) failed(op string, err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = os.NewSyscallError(op, errno)
	} else if pe, ok := errors.AsType[*os.PathError](err); ok {
		err = pe.Err
	}
	if errors.Is(err, os.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// direct tries one read or write without the poller. With a file in return that is
// what to go on with; otherwise n and err are the outcome.
func (c *Conn) direct(op string, p []byte, call func(fd int, p []byte) (int, error)) (n int, f *os.File, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.joined.Load(); f != nil {
		return 0, f, nil
	}
	if c.fd < 0 {
		return 0, nil, c.failed(op, net.ErrClosed)
	}
	for {
		n, err = call(c.fd, p)
		switch err {
		case nil:
			return n, nil, nil
		case unix.EINTR:
		case unix.EAGAIN:
			if f, err = c.joinLocked(); err != nil {
				return 0, nil, c.failed(op, err)
			}
			return 0, f, nil
		default:
			return 0, nil, c.failed(op, err)
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
func (c *Conn) Read(p []byte) (n int, err error) {
	f := c.joined.Load()
	if f == nil {
		n, f, err = c.direct("read", p, receive)
		if f == nil {
			if n == 0 && err == nil && len(p) > 0 {
				err = io.EOF
			}
			return n, err
		}
	}
	n, err = f.Read(p)
	if err != nil && err != io.EOF {
		err = c.failed("read", err)
	}
	return n, err
}

// Write writes as a net.Conn does.
func (c *Conn) Write(p []byte) (n int, err error) {
	f := c.joined.Load()
	if f == nil {
		n, f, err = c.direct("write", p, send)
		if f == nil && (err != nil || n == len(p)) {
			return n, err
		}
		if f == nil { // there is no room for all of it
			if f, err = c.join(); err != nil {
				return n, c.failed("write", err)
			}
		}
	}
	more, err := f.Write(p[n:])
	if err != nil {
		err = c.failed("write", err)
	}
	return n + more, err
}

// ReadFrom writes what r has. The kernel does the copying where it can (sendfile,
// splice).
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	from := r
	if lr, ok := r.(*io.LimitedReader); ok {
		from = lr.R
	}
	if _, ok := from.(syscall.Conn); ok {
		if t, err := c.copying(); err == nil { // else there is no descriptor for it
			return t.ReadFrom(r)
		}
	}
	return io.Copy(struct{ io.Writer }{c}, r)
}

// copying returns the socket as package net knows it.
func (c *Conn) copying() (*net.TCPConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.copier != nil {
		return c.copier, nil
	}
	f, err := c.joinLocked()
	if err != nil {
		return nil, err
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	t, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errors.New("not a TCP connection"), conn.Close())
	}
	err = errors.Join(t.SetReadDeadline(c.readDeadline), t.SetWriteDeadline(c.writeDeadline))
	c.copier = t
	return t, err
}

// Close closes the descriptor.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, fd := c.joined.Load(), c.fd
	if f == nil && fd < 0 {
		return c.failed("close", net.ErrClosed)
	}
	c.fd = -1
	var err error
	if f != nil {
		err = f.Close()
	} else {
		err = unix.Close(fd)
	}
	if err != nil {
		err = c.failed("close", err)
	}
	if c.copier != nil {
		err = errors.Join(err, c.copier.Close())
		c.copier = nil
	}
	return err
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
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(&t, &t) }

// SetReadDeadline sets the deadline of reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(&t, nil) }

// SetWriteDeadline sets the deadline of writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(nil, &t) }

func (c *Conn) setDeadlines(read, write *time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, err := c.joinLocked()
	if err != nil {
		return c.failed("set", err)
	}
	if read != nil {
		c.readDeadline = *read
		err = f.SetReadDeadline(*read)
		if c.copier != nil {
			err = errors.Join(err, c.copier.SetReadDeadline(*read))
		}
	}
	if write != nil {
		c.writeDeadline = *write
		err = errors.Join(err, f.SetWriteDeadline(*write))
		if c.copier != nil {
			err = errors.Join(err, c.copier.SetWriteDeadline(*write))
		}
	}
	if err != nil {
		return c.failed("set", err)
	}
	return nil
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
	f, err := r.c.join()
	if err != nil {
		return nil, err
	}
	return f.SyscallConn()
}
