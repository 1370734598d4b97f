package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"aerie/proto"
	"aerie/worker"
)

// runAlone serves on PORT, or 8080, of every address.
func runAlone(o Options) error {
	addr := ":" + cmp.Or(os.Getenv(proto.EnvPort), "8080")
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	fmt.Fprintf(os.Stderr, "serving on http://%s\n", l.Addr())
	return serve(o, l, worker.Source{}, nil)
}

// runOutOfProcess serves on the socket that the host names, or on PORT of the
// loopback address where there is no socket. Only the host knows the token, so
// a request without it is refused.
func runOutOfProcess(o Options, env map[string]string) error {
	l, err := listenForHost(env)
	if err != nil {
		return err
	}
	token := env[proto.EnvToken]
	return serve(o, l, worker.Source{Relay: true}, func(_ *worker.Conn, h http.Header) (proto.Record, error) {
		return proto.TakeRecord(h, token)
	})
}

func listenForHost(env map[string]string) (net.Listener, error) {
	if path := env[proto.EnvSocket]; path != "" {
		l, err := net.Listen("unix", path)
		if err != nil {
			return nil, fmt.Errorf("listen on the host's socket: %w", err)
		}
		return l, nil
	}
	addr := net.JoinHostPort("127.0.0.1", os.Getenv(proto.EnvPort))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// serve is the life of a program that is its own HTTP server. The limits of
// sites are the host's to keep; alone there are those of worker.AloneLimits.
func serve(o Options, l net.Listener, from worker.Source, relayed func(*worker.Conn, http.Header) (proto.Record, error)) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	if err := o.start(ctx); err != nil {
		return errors.Join(fmt.Errorf("start hook: %w", err), l.Close())
	}
	limits := worker.Limits{HeaderTimeout: 30 * time.Second, IdleTimeout: 130 * time.Second} // Kestrel's
	s := worker.NewServer(worker.Options{Limits: limits, Logger: logger(), Relayed: relayed})
	s.SetTable(worker.OneApplication(s.Bounded(underRecordPath(o.Handler)), logger()))
	if err := s.Listen(l, from); err != nil {
		return err
	}
	<-ctx.Done()
	cancel() // a second signal ends the program at once
	s.Finish()
	end, done := context.WithTimeout(context.Background(), stopGrace)
	defer done()
	err := s.Wait(end)
	return errors.Join(err, s.Close(), o.stop(end))
}

// underRecordPath strips the application's path, which the record names, so
// that the handler sees the same path in every hosting mode.
func underRecordPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		worker.StripPath(worker.OriginOf(r).PathBase, next).ServeHTTP(w, r)
	})
}
