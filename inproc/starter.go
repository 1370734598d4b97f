package inproc

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"aerie/apppool"
	"aerie/config"
	"aerie/internal/h1"
	"aerie/internal/logfile"
	"aerie/internal/peer"
	"aerie/internal/process"
	"aerie/proto"
	"aerie/worker"
)

// Starter starts worker processes for in-process hosting. All fields are
// required. It is safe for concurrent use.
type Starter struct {
	Launcher  *process.Launcher
	Contain   func(*config.Pool) (*process.Contain, error)                    // as whom its processes run
	SocketDir func(*config.Pool, *process.User) (string, error)               // the pool's own folder below run_dir, that user's; it exists when this returns
	Log       func(pool string) (*logfile.File, error)                        // the pool's log; the worker's stdout and stderr
	AccessLog func() (*os.File, error)                                        // where the worker appends its access log; the caller keeps it
	Settings  func(w *Worker) (*worker.Settings, error)                       // what a worker is to serve by now
	Site      func(pool, path string) (b config.Binding, pathBase string)     // of the site and application of the pool that a path belongs to
	Env       func() []string                                                 // the host's environment as workers get it
	Ending    func() bool                                                     // whether the host is ending, so that it takes no connection back
	Groups    string                                                          // what the host's tree of control groups is called: see cgroup.Name
	HostAway  func() time.Duration                                            // how long a worker lives on without a host
	Epoch     uint64                                                          // of this start of the host: higher than at every start before
	Owner     Owner                                                           // takes connections that leave workers
	Owned     func(pool string, c proto.Owned) *Client                        // makes a connection known that an adopted worker has, or returns nil
	Started   func(pool string, generation int, token string) (forget func()) // makes the token known to the host service
	Running   func(w *Worker)                                                 // told of each worker that is ready
	Ended     func(w *Worker)                                                 // told when the process of a worker has ended, be it that it was ready or not
	Logger    *slog.Logger
}

var _ apppool.Starter = (*Starter)(nil)

// Start starts a worker process and returns when it is ready: configured,
// healthy, and with its hand-over socket open where the system has one.
func (s *Starter) Start(ctx context.Context, spec apppool.Spec) (apppool.Worker, error) {
	w := &Worker{starter: s, spec: spec, logger: s.Logger.With("pool", spec.Pool.Name, "generation", spec.Generation), startedAt: time.Now(), digest: apppool.Digest(spec.Pool), cleaned: make(chan struct{})}
	if err := s.start(ctx, w); err != nil {
		return nil, w.failed(ctx, err)
	}
	go w.reap()
	s.Running(w)
	if err := s.settle(ctx, w); err != nil {
		w.logger.Warn("settings that changed during the start", "error", err)
	}
	return w, nil
}

func (s *Starter) start(ctx context.Context, w *Worker) error {
	token := proto.NewToken()
	run, err := s.prepare(w, token)
	if err != nil {
		return err
	}
	w.run, w.forget = run, s.Started(w.spec.Pool.Name, w.spec.Generation, token)
	for _, f := range run.spec.ExtraFiles {
		defer func() { _ = f.Close() }() // the process has its own by then; nothing was written
	}
	if err := w.startPlugin(ctx, run); err != nil {
		return err
	}
	if err := w.claim(ctx, token); err != nil {
		return err
	}
	settings, err := s.Settings(w)
	if err != nil {
		return err
	}
	reply, err := w.configure(ctx, settings)
	if err != nil {
		return err
	}
	if err := w.attach(); err != nil {
		return err
	}
	if err := w.health(ctx); err != nil {
		return err
	}
	w.relaySocket, w.handoverSocket = reply.RelaySocket, reply.HandoverSocket
	if err := w.connect(nil); err != nil || w.link == nil {
		return err
	}
	select {
	case <-w.link.ready:
		return nil
	case <-w.link.closed:
		return errors.New("the worker closed its hand-over socket")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// claim proves host and worker process to each other.
func (w *Worker) claim(ctx context.Context, token string) error {
	r := proto.NewClaim(token, w.starter.Epoch)
	reply, err := w.control.Claim(ctx, r)
	switch {
	case err != nil:
		return fmt.Errorf("claim worker: %w", err)
	case reply.Refused != "":
		return fmt.Errorf("the worker process refuses this host: %s", reply.Refused)
	case !hmac.Equal(reply.Proof, proto.WorkerProof(token, r.Epoch, r.Nonce)):
		return errors.New("claim worker: it does not have the generation's token")
	case reply.Pool != w.Pool() || int(reply.Generation) != w.Generation():
		return fmt.Errorf("claim worker: it is generation %d of pool %q", reply.Generation, reply.Pool)
	}
	w.token, w.draining = token, reply.Draining
	return nil
}

// connect makes the ways on which requests and connections go to the worker.
// owned is for those that it has already.
func (w *Worker) connect(owned func(proto.Owned) *Client) (err error) {
	w.relay = &h1.Upstream{Dial: w.dialer(func() string { return w.relaySocket }), IdleTimeout: time.Minute}
	if w.handoverSocket == "" {
		return nil
	}
	g := greeting{path: w.handoverSocket, pid: w.Pid(), uid: w.uid(), epoch: w.starter.Epoch, token: w.token, owned: owned}
	if w.link, err = dialLink(g, w.starter.Owner, w.logger); err != nil {
		return err
	}
	w.tasks.Go(w.link.serve)
	return nil
}

// settle sends settings that have changed between the start of the process and
// the moment from which on it is told of changes.
func (s *Starter) settle(ctx context.Context, w *Worker) error {
	for {
		settings, err := s.Settings(w)
		if err != nil || reflect.DeepEqual(settings, w.settings.Load()) {
			return err
		}
		if err := w.Configure(ctx, settings); err != nil {
			return err
		}
	}
}

// prepare makes everything that the process is started with.
func (s *Starter) prepare(w *Worker, token string) (*pluginRunner, error) {
	p := w.spec.Pool
	contain, err := s.Contain(p)
	if err != nil {
		return nil, err
	}
	w.user = contain.User
	dir, err := s.SocketDir(p, w.user)
	if err != nil {
		return nil, err
	}
	w.socketDir = dir
	if err := w.makeControlDir(); err != nil {
		return nil, err
	}
	if w.log, err = s.Log(p.Name); err != nil {
		return nil, err
	}
	if w.logFrom, err = sizeOf(w.log.Path()); err != nil {
		return nil, err
	}
	access, err := s.AccessLog()
	if err != nil {
		return nil, err
	}
	own, err := w.spec.Program.Environment()
	if err != nil {
		return nil, err
	}
	env := process.Environment(s.Env(), contain.Environment(), process.List(own), []string{
		proto.EnvPool + "=" + p.Name,
		proto.EnvGeneration + "=" + strconv.Itoa(w.spec.Generation),
		proto.EnvSocketDir + "=" + dir,
		proto.EnvHostAway + "=" + s.HostAway().String(),
	})
	spec := process.Spec{
		Path: w.spec.Program.Process, Args: w.spec.Program.Args, Env: env, Dir: w.spec.Program.Dir,
		Stderr: w.log.File(), Contain: contain, DumpStacks: p.ShutdownTimeout > 0,
	}
	if err := handDown(&spec, w.log.File(), access, token); err != nil {
		return nil, err
	}
	return &pluginRunner{launcher: s.Launcher, log: w.log, spec: spec}, nil
}

// makeControlDir makes the folder in which go-plugin's server makes its socket,
// under a name that only it knows: go-plugin's own folder would have too long a
// path, and be the host's. The folder around it is the pool's user's, so it is
// not followed wherever its paths lead.
func (w *Worker) makeControlDir() error {
	root, err := os.OpenRoot(w.socketDir)
	if err != nil {
		return fmt.Errorf("folder of the control socket: %w", err)
	}
	defer func() { _ = root.Close() }() // nothing is buffered in it
	name := controlDirName(w.spec.Generation)
	w.controlDir = filepath.Join(w.socketDir, name)
	err = errors.Join(root.RemoveAll(name), root.Mkdir(name, 0o700))
	if err == nil && w.user != nil {
		err = root.Lchown(name, w.user.UID, w.user.GID)
	}
	if err != nil {
		return fmt.Errorf("folder of the control socket: %w", err)
	}
	return nil
}

// controlDirName is the name of a generation's folder in that of its pool.
func controlDirName(generation int) string { return "g" + strconv.Itoa(generation) }

// startPlugin has go-plugin start the process and connect to its control
// service.
func (w *Worker) startPlugin(ctx context.Context, run *pluginRunner) error {
	limit := time.Hour // go-plugin wants one; ctx is what counts
	if t, ok := ctx.Deadline(); ok {
		limit = time.Until(t)
	}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  proto.Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{proto.Version: {proto.PluginName: controlClient{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		SkipHostEnv:      true,
		StartTimeout:     limit,
		Logger:           hclog.NewNullLogger(), // what matters comes back as an error
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: w.socketDir},
		GRPCDialOptions:  append(w.dialOptions(run), proto.DialEpoch(w.starter.Epoch)...),
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
			if err := os.Remove(dir); err != nil { // go-plugin has made it for nobody: see makeControlDir
				return nil, fmt.Errorf("folder of go-plugin: %w", err)
			}
			run.prepare(cmd, w.controlDir)
			return run, nil
		},
	})
	stop := context.AfterFunc(ctx, func() { // go-plugin's Start knows only its own time-out
		if err := run.Kill(context.WithoutCancel(ctx)); err != nil {
			w.logger.Error("kill worker that is starting", "error", err)
		}
	})
	defer stop()
	rpc, err := client.Client()
	if err != nil {
		run.awaitSilent(ctx)
		return err
	}
	w.rpc = rpc
	w.controlSocket = run.address()
	raw, err := rpc.Dispense(proto.PluginName)
	if err != nil {
		return err
	}
	w.control = raw.(proto.ControlClient)
	return nil
}

// uid is the number of the user as whom the process has to answer on its sockets,
// or -1 if any may: a process of the host's own user may do all that the host may,
// and answer through whomever it likes.
func (w *Worker) uid() int {
	if w.user == nil {
		return -1
	}
	return w.user.UID
}

// dialer connects to the process's socket.
func (w *Worker) dialer(path func() string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		if w.user == nil {
			return h1.DialUnix(path())(ctx)
		}
		return peer.Dial(ctx, path(), w.user.UID)
	}
}

// dialOptions has the control service's connection made by dialer too, where
// that makes a difference.
func (w *Worker) dialOptions(run *pluginRunner) []grpc.DialOption {
	if w.user == nil {
		return nil
	}
	dial := w.dialer(run.address)
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) })}
}

// controlClient is the host's end of the control service.
type controlClient struct{ plugin.NetRPCUnsupportedPlugin }

var _ plugin.GRPCPlugin = controlClient{}

// GRPCServer fails: a host serves no plugin.
func (controlClient) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("inproc: not a worker")
}

// GRPCClient returns the proto.ControlClient.
func (controlClient) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return proto.NewControlClient(c), nil
}

func sizeOf(path string) (int64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("pool's log: %w", err)
	}
	return st.Size(), nil
}

// removeSockets removes what the process has left in its folder.
func (w *Worker) removeSockets() error {
	if w.socketDir == "" { // it did not come that far
		return nil
	}
	n := strconv.Itoa(w.spec.Generation)
	return errors.Join(
		os.RemoveAll(w.controlDir),
		ignoreMissing(os.Remove(filepath.Join(w.socketDir, "r"+n))),
		ignoreMissing(os.Remove(filepath.Join(w.socketDir, "h"+n))),
	)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
