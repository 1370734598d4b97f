// Package app is Aerie's SDK: it makes one binary of an http.Handler that runs
// in every hosting mode.
//
//	func main() {
//		http.HandleFunc("/", hello)
//		if err := app.Run(http.DefaultServeMux); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// Started by an Aerie host in-process, the program is a worker process: it is
// handed the clients' connections. Started by a host out-of-process, it is an
// HTTP server on the socket or port that the host names. Started from a shell
// it is an HTTP server on PORT, or 8080. The handler sees the same request in
// all three: the client's address, the address it connected to, the request
// target as sent.
package app

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"aerie/proto"
	"aerie/worker"
)

// Options are an application with hooks. Handler nil is http.DefaultServeMux.
type Options struct {
	Handler http.Handler

	// Start runs before the first request. Its error ends the program and is
	// the reason that the host gives for the failed start.
	Start func(ctx context.Context) error

	// Stop runs after the last request. ctx ends when the host's
	// shutdown_timeout does.
	Stop func(ctx context.Context) error

	// Health tells whether the application can serve. In-process, the host asks
	// it at the start, where an error refuses the generation, and then every 30 s,
	// where three in a row have it replaced: [pools.NAME.health] says otherwise.
	// An application that only waits for something it needs, and that a new
	// process would not help, should say that it is healthy.
	Health func(ctx context.Context) error
}

// Run serves handler until the program is told to stop, by its host or by
// SIGTERM or SIGINT, and then returns nil. It is Options{Handler: handler}.Run().
func Run(handler http.Handler) error { return Options{Handler: handler}.Run() }

// Run serves until the program is told to stop and then returns nil, or the
// error that made serving impossible. Requests in progress are finished first.
// It may be called once.
func (o Options) Run() error {
	if o.Handler == nil {
		o.Handler = http.DefaultServeMux
	}
	env := takeEnvironment()
	switch {
	case env[proto.EnvCookie] != "":
		return runInProcess(o, env)
	case env[proto.EnvToken] != "":
		return runOutOfProcess(o, env)
	default:
		return runAlone(o)
	}
}

// PathBase is the path of the application in its site, "" at the root: what was
// taken off the front of r.URL.Path. Links that a page makes begin with it.
func PathBase(r *http.Request) string { return worker.PathBase(r) }

// stopGrace bounds what a program without a host does after it was told to
// stop: the requests in progress and the stop hook.
const stopGrace = 30 * time.Second

func (o *Options) start(ctx context.Context) error {
	if o.Start == nil {
		return nil
	}
	return o.Start(ctx)
}

func (o *Options) stop(ctx context.Context) error {
	if o.Stop == nil {
		return nil
	}
	return o.Stop(ctx)
}

func (o *Options) health(ctx context.Context) error {
	if o.Health == nil {
		return nil
	}
	return o.Health(ctx)
}

// logger writes to the real stderr, which the host makes the pool's log.
func logger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }
