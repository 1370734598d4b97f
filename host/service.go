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

	"aerie/config"
	"aerie/internal/peer"
	"aerie/internal/process"
	"aerie/module"
	"aerie/proto"
	"aerie/worker"
)

// service is the host's end of what worker processes ask of it: one socket per
// pool, in the pool's own folder, on which they relay requests for sites of
// other pools. The folder and the socket are the pool's user's, and nobody else's
// but root's. A worker proves its generation by the token that only it was
// given, and is believed only the number of a connection that it was handed.
type service struct {
	dir    string         // run_dir/p
	id     string         // of this start of the host: sockets of different starts do not meet
	server *worker.Server // answers what workers relay; set before the first folder

	making sync.Mutex // held while a folder is made

	mu      sync.Mutex         // guards below
	pools   map[string]string  // token -> pool
	folders map[string]*folder // by path
}

// folder is the folder of a pool's sockets. A pool whose user changes gets
// another one: worker processes of the old user may still drain in the first.
type folder struct {
	pool     string
	user     string // of the pool, as sites.toml names it
	uid      int    // whose it is
	listener net.Listener
}

func newService(runDir, id string) *service {
	return &service{dir: filepath.Join(runDir, "p"), id: id, pools: map[string]string{}, folders: map[string]*folder{}}
}

// poolDir is the folder of a pool's sockets. Its name is short because the path
// of a socket may have 100 bytes.
func (s *service) poolDir(p *config.Pool) string {
	sum := sha256.Sum256([]byte(p.Name + "\x00" + p.Identity.User))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:4]), s.id)
}

// hostSocket is the name of the host's socket in the folder of a pool.
const hostSocket = "host"

// pathFor is the socket on which a worker process of the pool reaches the host: the
// one beside its own sockets, or, if a host before has made those, one that its user
// may use; "" if there is none.
func (s *service) pathFor(dir, pool string, uid int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.folders[dir] != nil {
		return filepath.Join(dir, hostSocket)
	}
	for dir, f := range s.folders {
		if f.pool == pool && f.uid == uid {
			return filepath.Join(dir, hostSocket)
		}
	}
	return ""
}

// socketDir makes the pool's folder, for user or, if that is nil, for the host's
// own, and listens in it for the pool's workers, unless that is done already.
func (s *service) socketDir(p *config.Pool, user *process.User) (string, error) {
	s.making.Lock()
	defer s.making.Unlock()
	dir, uid, gid := s.poolDir(p), os.Geteuid(), os.Getegid()
	if user != nil {
		uid, gid = user.UID, user.GID
	}
	s.mu.Lock()
	f := s.folders[dir]
	s.mu.Unlock()
	if f != nil && f.uid != uid {
		return "", fmt.Errorf("user %q has become another one, number %d instead of %d: restart the host", p.Identity.User, uid, f.uid)
	}
	if f != nil {
		return dir, nil
	}
	l, err := s.makeFolder(dir, uid, gid)
	if err != nil {
		return "", fmt.Errorf("folder of the pool's sockets: %w", err)
	}
	s.mu.Lock()
	s.folders[dir] = &folder{pool: p.Name, user: p.Identity.User, uid: uid, listener: l}
	s.mu.Unlock()
	return dir, s.server.Listen(peer.Only(l, uid), worker.Source{Relay: true})
}

// makeFolder makes the folder dir with the host's socket in it. The folder above
// it stays the host's, so that the pool's user cannot put another one in its
// place; the folder itself is given away last, so that nobody has been in it
// before.
func (s *service) makeFolder(dir string, uid, gid int) (net.Listener, error) {
	above := filepath.Dir(dir)
	if err := os.MkdirAll(above, 0o711); err != nil {
		return nil, err
	}
	if err := os.Chmod(above, 0o711); err != nil { // whatever the host's umask
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, hostSocket)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	err = os.Chmod(path, 0o600)
	if err == nil && uid != os.Geteuid() {
		err = errors.Join(os.Chown(path, uid, gid), os.Chown(dir, uid, gid))
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.RemoveAll(dir))
	}
	return l, nil
}

// close ends the pool's sockets and removes its folders.
func (s *service) close(pool string) error {
	s.mu.Lock()
	gone := map[string]*folder{}
	for dir, f := range s.folders {
		if f.pool == pool {
			gone[dir] = f
			delete(s.folders, dir)
		}
	}
	s.mu.Unlock()
	var errs []error
	for dir, f := range gone {
		if err := f.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// userAt is the user, as sites.toml names it, of the pool whose workers connect to
// the socket at path.
func (s *service) userAt(path string) (user string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folders[filepath.Dir(path)]
	if f == nil {
		return "", false
	}
	return f.user, true
}

// ofOneUser is next for a pool, without the requests that a worker of another user
// relays: that one has read them, and what it relays it may have made up. The
// client is told to ask on a connection of its own (421, RFC 9110, 15.5.20), which
// the host keeps, because it has noted that the client's connections are for
// several pools.
func (h *Host) ofOneUser(p *config.Pool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o := worker.OriginOf(r); o.Relayed {
			if user, ok := h.service.userAt(o.Conn.LocalAddr().String()); !ok || user != p.Identity.User {
				worker.Fail(w, module.Problem{Status: http.StatusMisdirectedRequest, Reason: "relayed by a worker of another user than pool " + p.Name + " has"})
				return
			}
		}
		next.ServeHTTP(w, r)
	})
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
