package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"aerie/admin"
	"aerie/apppool"
	"aerie/config"
	"aerie/inproc"
	"aerie/internal/cgroup"
	"aerie/internal/logfile"
	"aerie/internal/process"
	"aerie/internal/systemd"
	"aerie/module/accesslog"
	"aerie/outproc"
	"aerie/worker"
)

// Options of a Host. The zero value is usable.
type Options struct {
	Logger   *slog.Logger      // nil discards
	Version  string            // of the binary, for status
	Launcher *process.Launcher // nil starts processes through this process's own binary
	Systemd  *systemd.Service  // nil without one; the host closes the sockets that it has
}

// Host is the host process. Open it once; Shutdown or Close ends it.
type Host struct {
	log       *slog.Logger
	opts      Options
	startedAt time.Time
	lock      *lock
	memory    *memory // nil until the lock is held
	adopted   adopted
	opened    bool // Open has succeeded; set before anybody else looks

	routes  atomic.Pointer[routes]        // in force
	next    atomic.Pointer[config.Config] // in force, or being put in force
	version atomic.Uint64                 // of next

	logs       logfile.Set
	accessFile *logfile.File
	access     *accesslog.Sink
	launcher   *process.Launcher
	groups     groups
	inproc     *inproc.Starter
	outproc    *outproc.Starter
	pools      *poolSet
	service    *service
	clients    *clients
	server     *worker.Server
	listeners  *listeners
	admin      *admin.Server
	ready      atomic.Bool // since the bindings answer

	life   context.Context // ends when the host begins to end
	finish context.CancelFunc
	hurry  context.Context // ends when what is left is to be cut
	cut    context.CancelFunc
	tasks  sync.WaitGroup

	reloading sync.Mutex // held by the reload that is under way
	ending    sync.Once
	ended     chan struct{} // closed when the host has ended
	endErr    error
}

// New makes a host of a configuration that Load has accepted. It does nothing
// yet.
func New(cfg *config.Config, opts Options) *Host {
	h := &Host{log: opts.Logger, opts: opts, startedAt: time.Now(), ended: make(chan struct{})}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.life, h.finish = context.WithCancel(context.Background())
	h.hurry, h.cut = context.WithCancel(context.Background())
	h.next.Store(cfg)
	h.version.Store(1)
	h.pools, h.clients = newPoolSet(), newClients()
	h.adopted = adopted{byPool: map[string][]apppool.Adopted{}, dirs: map[string]int{}}
	h.launcher = opts.Launcher
	if h.launcher == nil {
		h.launcher = &process.Launcher{}
	}
	return h
}

// Open takes the run folder, listens, starts the pools and answers. It returns
// when every address is open and every pool has been told to start; requests
// for a pool that is still starting wait for it. After an error the host is
// closed.
func (h *Host) Open(ctx context.Context) error {
	if err := h.open(ctx); err != nil {
		return errors.Join(err, h.Close())
	}
	return nil
}

func (h *Host) open(ctx context.Context) error {
	cfg := h.next.Load()
	left, err := h.prepare(cfg)
	if err != nil {
		return err
	}
	if err := h.openLogs(cfg); err != nil {
		return err
	}
	h.serve(cfg)
	h.starters()
	h.adopt(ctx, cfg, left)
	if err := h.removeLeftovers(cfg); err != nil {
		return err
	}
	for _, p := range cfg.Pools {
		h.newPool(p, h.adopted.byPool[p.Name])
	}
	r := h.buildRoutes(cfg, h.version.Load())
	h.routes.Store(r)
	h.server.SetTable(r.table)
	if err := h.listeners.sockets.receive(cfg.Addresses()); err != nil {
		return err
	}
	h.configureAdopted(ctx)
	if err := h.listeners.add(cfg.Addresses()); err != nil {
		return err
	}
	h.admin = admin.NewServer(h, h.log)
	if err := h.admin.Listen(cfg.Host.Admin); err != nil {
		return err
	}
	// From here on nothing fails. Until here a host that cannot open leaves the
	// worker processes that it has adopted to the next one.
	h.opened = true
	for _, p := range h.pools.all() {
		p.Open()
	}
	h.tasks.Go(func() {
		if err := h.admin.Serve(); err != nil && !errors.Is(err, http.ErrServerClosed) {
			h.log.Error("admin API", "error", err)
		}
	})
	h.tasks.Go(h.rotateLogs)
	h.tasks.Go(h.endStrays)
	for _, name := range h.adopted.stale {
		h.tasks.Go(func() { h.refreshPool(name) })
	}
	for _, p := range h.pools.all() {
		if startsNow(cfg.Pools[p.name]) {
			h.tasks.Go(func() { h.startPool(p) })
		}
	}
	h.tellReady()
	return nil
}

// startPool starts a pool with the host. The pool itself logs what happens and
// goes on trying, so a failure here is nobody else's business.
func (h *Host) startPool(p *pool) {
	if err := p.Start(h.life); err != nil && h.life.Err() == nil {
		h.log.Error("pool did not start", "pool", p.name, "error", err)
	}
}

// prepare makes the folders and takes the lock, so that only one host uses them. It
// returns what the host before has left.
func (h *Host) prepare(cfg *config.Config) ([]inproc.Record, error) {
	for dir, mode := range map[string]os.FileMode{
		cfg.Host.RunDir: 0o711, filepath.Join(cfg.Host.RunDir, "p"): 0o711,
		cfg.Host.StateDir: 0o755, logDir(cfg): 0o755,
	} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
	}
	var err error
	if h.lock, err = takeLock(filepath.Join(cfg.Host.RunDir, "lock")); err != nil {
		return nil, err
	}
	memory, left, problem, err := remember(cfg.Host.RunDir)
	if err != nil {
		return nil, err
	}
	if problem != nil {
		h.log.Warn("worker processes that the host before has left are not adopted", "error", problem)
	}
	h.memory = memory
	h.clients.begin(memory.epoch())
	h.service = newService(cfg.Host.RunDir, startID(h.startedAt))
	if err := h.groups.open(cfg.Host.RunDir, startID(h.startedAt)); err != nil {
		h.log.Warn("clear up control groups of hosts before", "error", err)
	}
	return left, nil
}

// startID tells one start of the host from those before it whose workers may
// still live, in few bytes.
func startID(t time.Time) string {
	const room = 36 * 36 * 36 * 36 * 36
	return strconv.FormatInt(t.UnixMilli()%room, 36)
}

// removeLeftovers removes the socket folders of hosts that have ended, but those of
// worker processes that were adopted. The others need theirs no more: they end by
// themselves.
func (h *Host) removeLeftovers(cfg *config.Config) error {
	root, err := os.OpenRoot(filepath.Join(cfg.Host.RunDir, "p"))
	if err != nil {
		return fmt.Errorf("socket folders: %w", err)
	}
	defer func() { _ = root.Close() }() // nothing is buffered in it
	d, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("socket folders: %w", err)
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("socket folders: %w", err)
	}
	for _, name := range names {
		if err := h.removeUnused(root, name); err != nil {
			return fmt.Errorf("remove leftover sockets: %w", err)
		}
	}
	return nil
}

// removeUnused removes those folders of a pool's folder that no adopted worker
// process uses, and itself if none is left.
func (h *Host) removeUnused(root *os.Root, pool string) error {
	h.adopted.mu.Lock()
	defer h.adopted.mu.Unlock()
	used := false
	for dir, n := range h.adopted.dirs {
		used = used || n > 0 && filepath.Dir(dir) == pool
	}
	if !used {
		return root.RemoveAll(pool)
	}
	starts, err := fs.ReadDir(root.FS(), pool)
	for _, start := range starts {
		if dir := filepath.Join(pool, start.Name()); h.adopted.dirs[dir] == 0 {
			err = errors.Join(err, root.RemoveAll(dir))
		}
	}
	return err
}

func logDir(cfg *config.Config) string { return filepath.Join(cfg.Host.StateDir, "logs") }

// serve makes the host's own HTTP server. Its concurrency is bounded by the
// pools, not here.
func (h *Host) serve(cfg *config.Config) {
	h.server = worker.NewServer(worker.Options{
		Limits: connLimits(cfg), Logger: h.log, Relayed: h.relayed, Placed: h.placed,
		Closed: func(c *worker.Conn, _ bool) { h.clients.end(c.Number()) },
	})
	h.service.server = h.server
	h.listeners = newListeners(h.log, h.accepted, h.opts.Systemd)
}

func (h *Host) starters() {
	log := func(pool string) (*logfile.File, error) { return h.logs.Open(pool + ".log") }
	h.inproc = &inproc.Starter{
		Launcher: h.launcher, Contain: h.contain, SocketDir: h.service.socketDir, Log: log,
		Groups:    cgroup.Name(h.next.Load().Host.RunDir),
		AccessLog: func() (*os.File, error) { return h.accessFile.File(), nil },
		Settings:  h.settingsOf, Site: h.siteOf, Env: workerEnvironment,
		Ending: func() bool { return h.life.Err() != nil }, HostAway: func() time.Duration { return h.next.Load().Host.HostAway },
		Owner: h, Owned: h.owned, Epoch: h.memory.epoch(),
		Started: h.service.started, Running: h.workerReady, Ended: h.workerEnded, Logger: h.log,
	}
	h.outproc = &outproc.Starter{
		Launcher: h.launcher, Contain: h.contain, SocketDir: h.service.socketDir, Log: log, Env: workerEnvironment, Site: h.siteOf,
		Trusted: func(a netip.Addr) bool { return h.routes.Load().trusts(a) }, Logger: h.log,
	}
}

// workerEnvironment is the host's environment without what is the host's own.
func workerEnvironment() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "AERIE_"), strings.HasPrefix(name, "PLUGIN_"), strings.HasPrefix(name, "LISTEN_"),
			name == "NOTIFY_SOCKET", name == "INVOCATION_ID", name == "WATCHDOG_USEC", name == "WATCHDOG_PID":
		default:
			env = append(env, kv)
		}
	}
	return env
}

// Done is closed when the host has ended.
func (h *Host) Done() <-chan struct{} { return h.ended }

// Wait returns when the host has ended, with what went wrong at its end.
func (h *Host) Wait() error {
	<-h.ended
	return h.endErr
}

// Shutdown ends the host in order: no new connections, requests in progress are
// finished, worker processes stopped. What is not finished within drain_timeout,
// or when ctx ends, is cut. It returns when everything has ended.
func (h *Host) Shutdown(ctx context.Context) error {
	h.ending.Do(func() {
		defer close(h.ended)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(h.hurry, cancel)()
		h.endErr = h.end(ctx)
	})
	<-h.ended
	return h.endErr
}

// drainTimeout is the longest of the pools.
func (h *Host) drainTimeout() time.Duration {
	longest := time.Duration(0)
	for _, p := range h.next.Load().Pools {
		longest = max(longest, p.DrainTimeout)
	}
	return longest
}

// Close ends the host at once, also while Shutdown runs.
func (h *Host) Close() error {
	h.cut()
	return h.Shutdown(context.Background())
}

func (h *Host) end(ctx context.Context) error {
	h.finish()
	h.reloading.Lock() // one that is under way ends with h.life, and no other one begins
	defer h.reloading.Unlock()
	h.tellStopping()
	var errs []error
	note := func(err error) {
		if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	}
	if h.listeners != nil {
		note(h.listeners.close())
		h.clients.close()
		h.listeners.wait()
	}
	note(h.drain(ctx))
	if h.admin != nil {
		note(h.admin.Shutdown(ctx))
	}
	if h.server != nil {
		note(h.server.Close())
	}
	h.tasks.Wait()
	for _, p := range h.pools.all() {
		note(h.service.close(p.name))
	}
	note(h.launcher.Close())
	note(h.groups.close())
	if h.access != nil {
		note(h.access.Close())
	}
	note(h.logs.Close())
	if h.memory != nil {
		note(h.memory.close(h.opened))
	}
	if h.lock != nil {
		note(h.lock.release())
	}
	return errors.Join(errs...)
}

// relayGrace is how long requests in the host's own server have at its end before
// in-process pools take no more of them.
const relayGrace = time.Second

// drain finishes what is in progress: at once in the worker processes that have
// connections of their own, and in the host's server; and when that has finished
// in the application servers that its requests are forwarded to. Each pool keeps
// to its own drain_timeout and shutdown_timeout.
func (h *Host) drain(ctx context.Context) error {
	var inProcess, others []*pool
	for _, p := range h.pools.all() {
		if p.Status().Hosting == config.InProcess {
			inProcess = append(inProcess, p)
		} else {
			others = append(others, p)
		}
	}
	if h.server != nil {
		// Requests that are relayed find no closed pool if they come soon.
		h.server.Finish()
		soon, cancel := context.WithTimeout(ctx, relayGrace)
		_ = h.server.Wait(soon) // the wait for all of them is below
		cancel()
	}
	workers := make(chan error, 1)
	go func() { workers <- closePools(ctx, inProcess) }()
	var err error
	if h.server != nil {
		limited, cancel := context.WithTimeoutCause(ctx, h.drainTimeout(), errors.New("drain_timeout is over"))
		defer cancel()
		if werr := h.server.Wait(limited); werr != nil {
			h.log.Warn("cutting what is left", "connections", h.server.Stats().Connections, "reason", werr)
			err = h.server.Close()
		}
	}
	return errors.Join(err, closePools(ctx, others), <-workers)
}

func (h *Host) now() time.Time { return time.Now() }
