package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"aerie/internal/rawhttp"
	"aerie/internal/usage"
)

// What sleeping pools are measured with, and the limits.
const (
	sleepers       = 500
	sleeperMemory  = 100 // KiB of the host's memory for one of them
	sleeperWakes   = 10  // first requests of each mode
	sleeperPenalty = 20  // ms that a first request may take beyond the application's own start
	sleeperCalm    = 2 * time.Second
	aloneTick      = 500 * time.Microsecond // between two looks whether a program listens
)

// sleeping measures what pools cost that nobody asks for anything, and what the
// first request to one costs.
func (b *bench) sleeping(ctx context.Context, s *stage) ([]figure, error) {
	one, err := b.asleep(ctx, s, 1, 0)
	if err != nil {
		return nil, err
	}
	all, err := b.asleep(ctx, s, sleepers, sleeperWakes)
	if err != nil {
		return nil, err
	}
	few := fmt.Sprintf("%d pools on demand: ", sleepers)
	memory := newFigure(few+"memory of the host, for one of them", "KiB", sleeperMemory,
		float64(all.memory-one.memory)/1024/(sleepers-1))
	memory.Note = fmt.Sprintf("resident memory of the host: %.1f MiB with one pool, %.1f MiB with %d", mib(one.memory), mib(all.memory), sleepers)
	start := newFigure(few+"start of the host", "ms", 0, ms(all.start))
	start.Note = fmt.Sprintf("%.1f ms with one pool", ms(one.start))
	figures := []figure{memory, start}
	for _, hosting := range hostings() {
		w := all.wakes[hosting]
		f := newFigure("first request to a sleeping pool, "+hosting+", beyond the application's own start", "ms", sleeperPenalty, w.beyond...)
		f.Note = fmt.Sprintf("first request: median %.1f ms; the same from the program alone: %.1f ms", spreadOf(w.first).Median, spreadOf(w.alone).Median)
		figures = append(figures, f)
	}
	return figures, nil
}

func hostings() []string { return []string{"inprocess", "outofprocess"} }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// wakes are first requests of one mode, in ms.
type wakes struct{ first, alone, beyond []float64 }

// slept is what was measured of a host with sleeping pools.
type slept struct {
	start  time.Duration // until it answers
	memory int64         // resident bytes, at rest
	wakes  map[string]wakes
}

// asleep runs a host with n pools, looks at it when it has come to rest, and then
// sends that many pools of each mode their first request.
func (b *bench) asleep(ctx context.Context, s *stage, n, wake int) (out slept, err error) {
	b.say("%d pools on demand", n)
	addr, err := freeAddress()
	if err != nil {
		return out, err
	}
	name := fmt.Sprintf("asleep%d", n)
	sites, err := s.sleepingSites(addr, name, n)
	if err != nil {
		return out, err
	}
	began := time.Now()
	p, err := s.startHost(ctx, name, sites)
	if err != nil {
		return out, err
	}
	defer p.stop()
	out.start = time.Since(began)
	if err := wait(ctx, sleeperCalm); err != nil {
		return out, err
	}
	u, err := usage.Of(p.cmd.Process.Pid)
	if err != nil {
		return out, fmt.Errorf("memory of the host: %w", err)
	}
	out.memory, out.wakes = u.RSS, map[string]wakes{}
	for i := range wake * len(hostings()) {
		hosting := hostings()[i%len(hostings())]
		if err := b.wakeOne(ctx, s, &target{addr: addr, host: sleeper(i), proc: p}, out.wakes, hosting); err != nil {
			return out, fmt.Errorf("%s: %w\n%s", hosting, err, p.out.tail())
		}
	}
	return out, nil
}

// wakeOne takes the time of the program's own start and, directly after it, of the
// first request to a pool that runs the same program.
func (b *bench) wakeOne(ctx context.Context, s *stage, t *target, to map[string]wakes, hosting string) error {
	alone, err := s.aloneStart(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	c, err := rawhttp.Dial(t.addr)
	if err != nil {
		return err
	}
	_, err = exchange(c, t, keepAlive)
	first := time.Since(began)
	if err = errors.Join(err, c.Close()); err != nil {
		return err
	}
	w := to[hosting]
	w.first, w.alone, w.beyond = append(w.first, ms(first)), append(w.alone, ms(alone)), append(w.beyond, ms(first-alone))
	to[hosting] = w
	return nil
}

// aloneStart starts the application as a server of its own, and returns how long
// that took to its first answer.
func (s *stage) aloneStart(ctx context.Context) (took time.Duration, err error) {
	addr, err := freeAddress()
	if err != nil {
		return 0, err
	}
	_, port, _ := strings.Cut(addr, ":")
	p := newProcess(s.dir, s.bin("hello"))
	p.cmd.Env = append(os.Environ(), "PORT="+port)
	began := time.Now()
	if err := p.launch(); err != nil {
		return 0, err
	}
	defer p.stop()
	t := &target{addr: addr, proc: p}
	tick := time.NewTicker(aloneTick)
	defer tick.Stop()
	for {
		if c, err := rawhttp.Dial(addr); err == nil {
			_, err := exchange(c, t, keepAlive)
			return time.Since(began), errors.Join(err, c.Close())
		}
		select {
		case <-tick.C:
		case <-p.done:
			return 0, p.alive()
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// sleepingSites are n sites of one address with a pool each, every other one
// out-of-process. It deploys their program.
func (s *stage) sleepingSites(addr, folder string, n int) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "[host]\nhost_away = \"1s\"\npools_dir = \"../pools-%s\"\n[host.log]\naccess = false\n", folder)
	_, port, _ := strings.Cut(addr, ":")
	for i := range n {
		dir := filepath.Join(s.dir, "pools-"+folder, fmt.Sprintf("p%d", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		if err := os.Link(s.bin("hello"), filepath.Join(dir, "hello")); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, `
[[sites]]
name     = "p%d"
bindings = ["http://%s:%s"]
apps     = [{ pool = "p%d", process = "hello", hosting = %q }]
[pools.p%d]
start = "on_demand"
`, i, sleeper(i), port, i, hostings()[i%2], i)
	}
	return b.String(), nil
}

func sleeper(i int) string { return fmt.Sprintf("p%d.test", i) }

// wait waits, unless ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
