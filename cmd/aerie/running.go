package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
)

// running is a host in the foreground and the signals that it obeys.
//
//	opening --- opened ---> serving --- SIGTERM, SIGINT ---> draining ---> exit 0
//	   |                       |                                |
//	   | signal: exit 0        | the host ended: its error      | second signal: exit 128+n
type running struct {
	host    service
	log     *slog.Logger
	signals <-chan os.Signal
	stop    func()       // gives signals back to the system
	ready   func() error // called once the host is open
}

// run returns when the host has ended.
func (r *running) run(ctx context.Context) error {
	if ended, err := r.open(ctx); ended || err != nil {
		return errors.Join(err, r.host.Close())
	}
	if err := r.ready(); err != nil {
		r.log.Warn("start-up summary not printed", "reason", err)
	}
	sig, err := r.serve(ctx)
	if err != nil || sig == nil {
		return errors.Join(err, r.host.Close())
	}
	return r.drain(sig)
}

// open opens the host; ended says that a signal came before it was open.
func (r *running) open(ctx context.Context) (ended bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opened := make(chan error, 1)
	go func() { opened <- r.host.Open(ctx) }()
	for {
		select {
		case err := <-opened:
			if ended {
				return true, nil // it is to be closed, whatever became of it
			}
			return false, err
		case sig := <-r.signals:
			if sig == syscall.SIGHUP {
				continue // it reads its file just now
			}
			r.log.Info("ending before the start is complete", "signal", sig)
			ended = true
			cancel(fmt.Errorf("signal: %v", sig))
			r.stop() // one more ends the process, whatever Open does
		}
	}
}

// serve returns the signal that ends the host, or why the host has ended by
// itself. It obeys SIGHUP meanwhile.
func (r *running) serve(ctx context.Context) (os.Signal, error) {
	reloads, cancel := context.WithCancel(ctx)
	asked := make(chan struct{}, 1) // further ones coalesce
	var reloader sync.WaitGroup
	reloader.Go(func() { r.reload(reloads, asked) })
	defer reloader.Wait()
	defer cancel()
	for {
		select {
		case sig := <-r.signals:
			if sig != syscall.SIGHUP {
				return sig, nil
			}
			select {
			case asked <- struct{}{}:
			default:
			}
		case <-r.host.Done():
			return nil, r.host.Wait()
		case <-ctx.Done():
			return syscall.SIGTERM, nil
		}
	}
}

// reload carries out reloads until ctx ends.
func (r *running) reload(ctx context.Context, asked <-chan struct{}) {
	for {
		select {
		case <-asked:
		case <-ctx.Done():
			return
		}
		// The host logs what a reload has changed.
		if _, err := r.host.Reload(ctx); err != nil {
			r.log.Error("reload refused, going on unchanged", "reason", err)
		}
	}
}

// drain ends the host in order, or at once if a second signal comes.
func (r *running) drain(first os.Signal) error {
	r.log.Info("draining; a second signal ends at once", "signal", first)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	drained := make(chan error, 1)
	go func() { drained <- r.host.Shutdown(ctx) }()
	for {
		select {
		case err := <-drained:
			if err == nil {
				r.log.Info("ended")
			}
			return err
		case sig := <-r.signals:
			if sig == syscall.SIGHUP {
				continue
			}
			r.log.Warn("ending at once", "signal", sig)
			r.stop() // a third one is the system's
			cancel(fmt.Errorf("signal: %v", sig))
			if err := r.host.Close(); err != nil {
				r.log.Error("end", "reason", err)
			}
			<-drained // its error is that it was cut
			return exit{128 + number(sig)}
		}
	}
}

// number is what a shell adds to 128 for a process ended by the signal.
func number(sig os.Signal) int {
	if n, ok := sig.(syscall.Signal); ok {
		return int(n)
	}
	return 0
}
