package systemd

import (
	"context"
	"time"
)

// Watch feeds the service manager's watchdog (WatchdogSec=) until ctx ends: at
// half of its time, when alive has returned nil. alive is given a quarter of that
// time. If it returns an error, failed gets it, nothing is sent, and alive is asked
// again soon; failed also gets the error of a message that could not be sent.
// Without a watchdog Watch returns at once.
func (s *Service) Watch(ctx context.Context, alive func(context.Context) error, failed func(error)) {
	if s == nil || s.watchdog == 0 {
		return
	}
	watch(ctx, s.watchdog, alive, func() error { return s.Notify("WATCHDOG=1") }, failed)
}

func watch(ctx context.Context, limit time.Duration, alive func(context.Context) error, ping func() error, failed func(error)) {
	for {
		wait := limit / 2
		asked := time.Now()
		err := ask(ctx, limit/4, alive)
		if err == nil {
			err = ping()
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			failed(err)
			wait = limit / 10
		} else {
			wait -= time.Since(asked) // what the answer took is not added to it
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func ask(ctx context.Context, limit time.Duration, alive func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return alive(ctx)
}
