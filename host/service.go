package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"aerie/proto"
	"aerie/worker"
)

// service is the host's end of what worker processes ask of it: one socket per
// pool, in the pool's own folder, on which they relay requests for sites of
// other pools. A worker proves its generation by the token that only it was
// given, and is believed only the number of a connection that it was handed.
type service struct {
	dir string // run_dir/p
	id  string // of this start of the host: sockets of different starts do not meet

	mu        sync.Mutex        // guards below
	pools     map[string]string // token -> pool
	listeners map[string]net.Listener
}

func newService(runDir, id string) *service {
	return &service{dir: filepath.Join(runDir, "p"), id: id, pools: map[string]string{}, listeners: map[string]net.Listener{}}
}

// poolDir is the folder of a pool's sockets. Its name is short because the path
// of a socket may have 100 bytes.
func (s *service) poolDir(pool string) string {
	sum := sha256.Sum256([]byte(pool))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:4]), s.id)
}

// path is the socket on which the pool's workers reach the host.
func (s *service) path(pool string) string { return filepath.Join(s.poolDir(pool), "host") }

// socketDir makes the pool's folder.
func (s *service) socketDir(pool string) (string, error) {
	dir := s.poolDir(pool)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("folder of the pool's sockets: %w", err)
	}
	return dir, nil
}

// open listens for the pool's workers; srv serves what they relay.
func (s *service) open(pool string, srv *worker.Server) error {
	if _, err := s.socketDir(pool); err != nil {
		return err
	}
	l, err := net.Listen("unix", s.path(pool))
	if err != nil {
		return fmt.Errorf("socket for the workers of pool %s: %w", pool, err)
	}
	if err := os.Chmod(s.path(pool), 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	s.mu.Lock()
	s.listeners[pool] = l
	s.mu.Unlock()
	return srv.Listen(l, worker.Source{Relay: true})
}

// close ends the pool's socket and removes its folder.
func (s *service) close(pool string) error {
	s.mu.Lock()
	l := s.listeners[pool]
	delete(s.listeners, pool)
	s.mu.Unlock()
	var err error
	if l != nil {
		if err = l.Close(); errors.Is(err, net.ErrClosed) {
			err = nil
		}
	}
	return errors.Join(err, os.RemoveAll(s.poolDir(pool)))
}

// started makes a generation's token known until forget is called.
func (s *service) started(pool string, _ int, token string) (forget func()) {
	s.mu.Lock()
	s.pools[token] = pool
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		delete(s.pools, token)
		s.mu.Unlock()
	}
}

func (s *service) poolOf(token string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pools[token]
}

// relayed verifies the record of a request that a worker relays. Of what it
// says only the connection's number counts: the addresses are the host's own
// knowledge.
func (h *Host) relayed(_ *worker.Conn, header http.Header) (proto.Record, error) {
	pool := ""
	rec, err := proto.TakeRecordOf(header, func(token string) bool {
		pool = h.service.poolOf(token)
		return pool != ""
	})
	if err != nil {
		return proto.Record{}, err
	}
	c := h.clients.find(rec.Conn)
	if c == nil || h.clients.poolOf(c) != pool {
		return proto.Record{}, fmt.Errorf("%w: connection %d is not the worker's", proto.ErrRecord, rec.Conn)
	}
	h.clients.noteMixed(c.Remote.Addr(), h.now())
	rec.Remote, rec.Local, rec.Hop = c.Remote, c.Local, 1
	rec.Trusted = h.routes.Load().trusts(c.Remote.Addr())
	return rec, nil
}
