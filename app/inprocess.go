package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"aerie/internal/h1"
	"aerie/module"
	"aerie/module/accesslog"
	"aerie/proto"
	"aerie/worker"
)

// inProcess is a worker process: the server that holds the application, the
// control service through which its host steers it, and the link over which
// connections come.
//
//	main goroutine:  run -- waits for stop ------------------------------> stop hook, return
//	go-plugin:       serves Control                    (the host's calls)
//	away:            attached? -> waits for the host to come back ----> stop
//	link:            accepts the host's hand-over connection, reads frames
type inProcess struct {
	opts       Options
	env        pluginEnvironment
	pool       string
	generation int
	dir        string
	token      string
	hostAway   time.Duration
	logger     *slog.Logger
	server     *worker.Server
	stdio      stdio
	access     *accesslog.Sink
	accessFile *os.File // what access writes to; the link's once it is open
	link       *link
	host       obedience

	configuring sync.Mutex   // held while settings are put in force; guards below
	wayBack     *h1.Upstream // to the host, for requests for other sites; nil if it has no socket for them
	wayBackTo   string       // its path

	heapFloor []byte // see newHeapFloor

	configured chan struct{} // closed by the first Configure that is accepted
	relayAddr  string
	attached   chan int // +1 and -1, as hosts come and go
	stop       chan time.Duration
	stopping   atomic.Bool   // stop was asked for
	draining   atomic.Bool   // a drain was asked for
	gone       chan struct{} // closed when run ends
}

func runInProcess(o Options, env map[string]string) error {
	p, err := newInProcess(o, env)
	if err != nil {
		return err
	}
	if err := o.start(context.Background()); err != nil {
		return fmt.Errorf("start hook: %w", err)
	}
	return p.run()
}

func newInProcess(o Options, env map[string]string) (*inProcess, error) {
	generation, err := strconv.Atoi(env[proto.EnvGeneration])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", proto.EnvGeneration, err)
	}
	away, err := time.ParseDuration(env[proto.EnvHostAway])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", proto.EnvHostAway, err)
	}
	inherited, err := inherit(env)
	if err != nil {
		return nil, err
	}
	log := logger().With("pool", env[proto.EnvPool], "generation", generation)
	p := &inProcess{
		opts: o, env: takePluginEnvironment(), pool: env[proto.EnvPool], generation: generation, dir: env[proto.EnvSocketDir],
		token: inherited.token, hostAway: away, logger: log,
		stdio:      ownStdio(),
		access:     accesslog.NewSink(inherited.accessLog, log),
		accessFile: inherited.accessLog,
		heapFloor:  newHeapFloor(),
		configured: make(chan struct{}),
		attached:   make(chan int),
		stop:       make(chan time.Duration, 1),
		gone:       make(chan struct{}),
	}
	p.link = newLink(p, inherited.log)
	return p, nil
}

// newHeapFloor is memory that is never touched, so it takes no room in RAM, but
// counts as heap in use. The garbage collector runs when the heap has doubled,
// and that of a small application would double, with the control service's
// memory to be scanned each time, every few hundred requests. Whoever bounds the
// memory by GOMEMLIMIT gets no floor.
func newHeapFloor() []byte {
	if os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, 16<<20)
}

// run serves until it is told to stop.
func (p *inProcess) run() error {
	defer close(p.gone)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM) // before go-plugin, which only eats SIGINT
	defer signal.Stop(signals)

	if err := p.env.set(); err != nil {
		return err
	}
	controls := make(chan *grpc.Server, 1)
	served := make(chan struct{})
	go func() {
		defer close(served)
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig:  proto.Handshake,
			VersionedPlugins: map[int]plugin.PluginSet{proto.Version: {proto.PluginName: &controlPlugin{p: p}}},
			Logger:           hclog.NewNullLogger(), // the host reads the same from its own end
			GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
				control := grpc.NewServer(append(opts, proto.ServeEpoch(p.host.obeys)...)...)
				controls <- control
				return control
			},
		})
	}()
	// Until the host has configured this process its stdout is the pipe on
	// which go-plugin's handshake goes; Configure makes it the log.
	away := make(chan struct{})
	go func() { defer close(away); p.watchHost() }()

	limit := stopGrace
	select {
	case limit = <-p.stop:
	case <-signals:
	case <-served:
		return errors.New("the control service ended")
	}
	end, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := p.finish(end)
	err = errors.Join(err, p.access.Close())
	// The host hangs up when it has the answer to Stop. One that did not ask
	// for the stop does not.
	control := <-controls
	defer time.AfterFunc(hangUpLimit, control.Stop).Stop()
	control.GracefulStop()
	<-served
	return err
}

// hangUpLimit is how long a process that is done waits for its host to hang up.
const hangUpLimit = 250 * time.Millisecond

// finish lets what runs come to its end, and then runs the stop hook.
func (p *inProcess) finish(ctx context.Context) error {
	select {
	case <-p.configured:
	default:
		return p.opts.stop(ctx)
	}
	p.server.Finish()
	err := p.server.Wait(ctx)
	return errors.Join(err, p.link.close(), p.server.Close(), p.opts.stop(ctx))
}

// watchHost stops the process when no host has been attached for hostAway.
func (p *inProcess) watchHost() {
	hosts := 0
	timer := time.NewTimer(p.hostAway)
	defer timer.Stop()
	for {
		select {
		case n := <-p.attached:
			hosts += n
			if hosts > 0 {
				timer.Stop()
			} else if !p.stopping.Load() {
				p.logger.Warn("the host is gone", "stop_in", p.hostAway)
				timer.Reset(p.hostAway)
			}
		case <-timer.C:
			p.logger.Warn("stopping: no host for host_away")
			p.requestStop(stopGrace)
			return
		case <-p.gone:
			return
		}
	}
}

func (p *inProcess) requestStop(limit time.Duration) {
	p.stopping.Store(true)
	select {
	case p.stop <- limit:
	default: // it is stopping
	}
}

// configure puts settings in force; the first time it also makes the server
// and its sockets.
func (p *inProcess) configure(s *worker.Settings) error {
	p.configuring.Lock()
	defer p.configuring.Unlock()
	select {
	case <-p.configured:
	default:
		if err := p.open(s); err != nil {
			return err
		}
		close(p.configured)
	}
	p.findHost(s.HostSocket)
	p.server.SetLimits(s.Limits)
	p.server.SetConcurrency(s.Concurrency)
	p.server.SetTable(worker.NewTable(worker.TableOptions{
		Sites: s.Sites, Trusted: s.Trusted, Head: s.Head, Logger: p.logger,
		App:     p.application,
		Modules: func(site *worker.Site, path string) []module.Module { return p.modules(s, site.Name, path) },
		Default: worker.Foreign(p.wayBack, p.token),
	}))
	return nil
}

// findHost has requests for other sites go to the host's socket at path; each
// start of a host has one of its own.
func (p *inProcess) findHost(path string) {
	if path == p.wayBackTo {
		return
	}
	if p.wayBack != nil {
		p.wayBack.CloseIdle() // requests that are on their way end by themselves
	}
	p.wayBack, p.wayBackTo = nil, path
	if path != "" {
		p.wayBack = &h1.Upstream{Dial: h1.DialUnix(path)}
	}
}

func (p *inProcess) application(_ *worker.Site, path string) http.Handler {
	return p.server.Bounded(worker.StripPath(path, p.opts.Handler))
}

func (p *inProcess) modules(s *worker.Settings, site, path string) []module.Module {
	if !s.AccessLog {
		return nil
	}
	return []module.Module{accesslog.New(accesslog.Options{
		Site: site, App: path, Pool: p.pool, Hosting: "inprocess", Generation: p.generation, Sink: p.access, Via: via,
	})}
}

// useAccessLog goes on with f, which takes the place of a rotated file.
func (p *inProcess) useAccessLog(f *os.File) error {
	old := p.accessFile
	p.accessFile = f
	return errors.Join(p.access.Reopen(f), old.Close())
}

func via(r *http.Request) string {
	if worker.OriginOf(r).Relayed {
		return "relay"
	}
	return "handover"
}

// open makes the server, the relay socket and, where there is hand-over, the
// hand-over socket.
func (p *inProcess) open(s *worker.Settings) error {
	opts := worker.Options{
		Limits: s.Limits, Concurrency: s.Concurrency, Logger: p.logger,
		Relayed: func(_ *worker.Conn, h http.Header) (proto.Record, error) { return proto.TakeRecord(h, p.token) },
		Closing: p.link.connClosing,
		Closed:  p.link.connClosed,
	}
	if p.link.possible() {
		opts.HandBack = p.link.handBack
	}
	p.server = worker.NewServer(opts)
	p.relayAddr = filepath.Join(p.dir, "r"+strconv.Itoa(p.generation))
	l, err := net.Listen("unix", p.relayAddr)
	if err != nil {
		return fmt.Errorf("listen on relay socket: %w", err)
	}
	if err := p.server.Listen(l, worker.Source{Relay: true}); err != nil {
		return err
	}
	return p.link.open(filepath.Join(p.dir, "h"+strconv.Itoa(p.generation)))
}

// inherited is what the host passes by descriptor.
type inherited struct {
	log       *os.File
	accessLog *os.File
	token     string
}

// readToken reads the generation's token, a line, and closes the pipe.
func readToken(f *os.File) (string, error) {
	b, err := io.ReadAll(io.LimitReader(f, 1024))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	token := string(bytes.TrimSpace(b))
	if len(token) < 32 {
		return "", errors.New("read token: the host sent none")
	}
	return token, nil
}
