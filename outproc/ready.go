package outproc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	readyPoll    = 10 * time.Millisecond  // longest time between two looks: nothing tells the host that a foreign program listens
	readyFirst   = time.Millisecond       // the shortest
	readyConnect = 500 * time.Millisecond // for one connection
	strangerSeen = 3                      // looks in a row after which a stranger is believed to be one
)

var (
	errEnded     = errors.New("the process ended before it listened on AERIE_SOCKET or PORT")
	errPortTaken = errors.New("the port belongs to another process")
)

// address is where a worker listens.
type address struct{ network, address string }

// awaitReady waits until the process accepts a connection on its socket or its
// port. The error is errEnded, errPortTaken, or the cause of ctx.
func (w *Worker) awaitReady(ctx context.Context) (address, error) {
	port := strconv.Itoa(w.port)
	choice := []address{
		{"unix", w.socket},
		{"tcp", net.JoinHostPort("127.0.0.1", port)},
		{"tcp", net.JoinHostPort("::1", port)}, // to some programs "localhost" is this
	}
	began := time.Now()
	look := time.NewTimer(readyFirst)
	defer look.Stop()
	strangers := 0
	for {
		select {
		case <-w.proc.Done():
			return address{}, errEnded
		case <-ctx.Done():
			return address{}, context.Cause(ctx)
		case <-look.C:
		}
		look.Reset(nextLook(time.Since(began)))
		a, ok := accepting(ctx, choice)
		if !ok {
			strangers = 0
			continue
		}
		if a.network == "unix" { // in a folder that nobody else can enter
			return a, nil
		}
		own, err := ownsPort(w.proc.Pid(), w.port)
		if err != nil {
			return address{}, fmt.Errorf("find the owner of port %d: %w", w.port, err)
		}
		if own {
			return a, nil
		}
		// While processes come and go, one look at them may miss the owner.
		if strangers++; strangers == strangerSeen {
			return address{}, fmt.Errorf("PORT %d: %w", w.port, errPortTaken)
		}
		look.Reset(readyPoll)
	}
}

// nextLook is how long to wait for the next look at a program that has been
// starting for that long: a fraction of it, so that a program which starts fast is
// not kept waiting, and one that does not is not looked at all the time.
func nextLook(elapsed time.Duration) time.Duration {
	return min(max(elapsed/8, readyFirst), readyPoll)
}

// accepting returns the first address that accepts a connection.
func accepting(ctx context.Context, choice []address) (address, bool) {
	d := net.Dialer{Timeout: readyConnect}
	for _, a := range choice {
		if c, err := d.DialContext(ctx, a.network, a.address); err == nil {
			_ = c.Close() // nothing was sent on it
			return a, true
		}
	}
	return address{}, false
}

// saysPortTaken reports whether the last words of a program are that somebody
// else has its port, in the words of libuv, Go, Python, Java, .NET and libc.
func saysPortTaken(output []string) bool {
	for _, line := range output {
		line = strings.ToLower(line)
		if strings.Contains(line, "eaddrinuse") || strings.Contains(line, "address already in use") {
			return true
		}
	}
	return false
}
