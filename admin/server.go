package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// maxSocketPath is the longest path that a unix socket can have on every
// platform (104 bytes on macOS), with a little left.
const maxSocketPath = 100

// Server serves the admin API. Its methods are safe for concurrent use.
type Server struct {
	host Host
	log  *slog.Logger
	http http.Server

	// The orders of clients run under base, not under their requests: one
	// that was begun is finished although its client went away.
	base context.Context
	stop context.CancelCauseFunc

	mu       sync.Mutex // guards below
	listener net.Listener
	closed   bool
	calls    sync.WaitGroup // requests that a handler is running for; Add only while !closed
}

// NewServer returns a server for host that does not listen yet.
func NewServer(host Host, log *slog.Logger) *Server {
	base, stop := context.WithCancelCause(context.Background())
	s := &Server{host: host, log: log, base: base, stop: stop}
	s.http = http.Server{
		Handler:           s.counted(s.routes()),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return s
}

// Listen creates the socket, mode 0600, at addr: a path, which may be written
// with "unix:" before it. Missing folders are made with mode 0711. A socket on
// which nobody answers any more is replaced; one on which somebody does, or a
// file of another kind, is an error and stays.
func (s *Server) Listen(addr string) error {
	path := socketPath(addr)
	if len(path) > maxSocketPath {
		return fmt.Errorf("admin socket %s: a socket's path may have %d bytes, this one has %d", path, maxSocketPath, len(path))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return http.ErrServerClosed
	}
	if s.listener != nil {
		return fmt.Errorf("admin socket %s: the server listens on %s already", path, s.listener.Addr())
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return fmt.Errorf("admin socket %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	// Whoever connects between the two calls is still met by the peer check.
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("admin socket: %w", err), l.Close())
	}
	s.listener = &guarded{UnixListener: l.(*net.UnixListener), log: s.log}
	return nil
}

// removeStale removes the socket that a killed host has left at path.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is not a socket; it is not removed")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		return errors.Join(errors.New("another host answers on it"), conn.Close())
	case refused(err):
		return os.Remove(path)
	default:
		return fmt.Errorf("cannot tell whether another host answers on it: %w", err)
	}
}

// Serve answers requests until Shutdown or Close and then returns
// http.ErrServerClosed. Listen must have succeeded before.
func (s *Server) Serve() error {
	s.mu.Lock()
	l, closed := s.listener, s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return http.ErrServerClosed
	case l == nil:
		return errors.New("admin: Serve before Listen")
	}
	return s.http.Serve(l)
}

// Shutdown takes no more requests and removes the socket, then waits for the
// orders that run, until ctx ends: then it is Close and the error is the cause
// of ctx. Repeatable.
func (s *Server) Shutdown(ctx context.Context) error {
	var err error
	if e := s.http.Shutdown(ctx); e != nil {
		err = e
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	return errors.Join(err, s.Close())
}

// Close takes no more requests, removes the socket, ends the context of the
// orders that run, and returns when the host has answered them. Repeatable.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop(http.ErrServerClosed)
	err := errors.Join(s.http.Close(), s.closeListener())
	s.calls.Wait()
	return err
}

// closeListener closes the socket, which also removes it: the HTTP server does
// not know a listener that Serve was never called for. It comes after the HTTP
// server's own end, so that Serve knows why Accept fails.
func (s *Server) closeListener() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// counted lets Close wait for handlers, which http.Server.Close does not.
func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			s.fail(w, &Error{Status: http.StatusServiceUnavailable, Message: ErrUnavailable.Error()})
			return
		}
		s.calls.Add(1)
		s.mu.Unlock()
		defer s.calls.Done()
		next.ServeHTTP(w, r)
	})
}

// guarded is a listener that only accepts connections of root and of the
// host's own user, where the kernel tells who connects.
type guarded struct {
	*net.UnixListener
	log *slog.Logger
}

// Accept returns the next connection of somebody who may use the API.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if err := checkPeer(conn); err != nil {
			g.log.Warn("admin connection refused", "reason", err)
			_ = conn.Close() // refused either way
			continue
		}
		return conn, nil
	}
}

func socketPath(addr string) string { return strings.TrimPrefix(addr, "unix:") }
