package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"aerie/admin"
	"aerie/internal/rawhttp"
)

// What the neighbours of a crash loop are measured with.
const (
	neighbours      = 19
	neighbourConns  = 2                      // to each
	neighbourPause  = 20 * time.Millisecond  // between two requests on one connection, on average
	crashLoopDelay  = 100 * time.Millisecond // between two starts of the pool that crashes
	crashLoopRounds = 6
	crashLoopSpan   = time.Second // of one measurement
	crashLoopLeast  = 3           // starts of that pool in this span: fewer are no crash loop
)

// crashLoop measures the p99 of 19 pools while a 20th one crashes ten times a
// second, over their p99 in calm, and the same of calm over calm, which is what
// the machine does by itself: in each round one directly after the other.
func (b *bench) crashLoop(ctx context.Context, s *stage) (_ []figure, err error) {
	b.say("%d pools beside one that crash-loops", neighbours)
	targets, p, err := s.startNeighbours(ctx)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	client := admin.NewClient(filepath.Join(s.dir, "neighbours", "run", "admin.sock"))
	defer client.Close()
	var loop, calm []float64
	if _, err := p99(ctx, targets, crashLoopSpan); err != nil { // warms up
		return nil, fmt.Errorf("%w\n%s", err, p.out.tail())
	}
	for range min(crashLoopRounds, b.rounds) {
		before, err := p99(ctx, targets, crashLoopSpan)
		if err != nil {
			return nil, err
		}
		beside, err := besideCrashes(ctx, client, targets)
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, p.out.tail())
		}
		after, err := p99(ctx, targets, crashLoopSpan)
		if err != nil {
			return nil, err
		}
		loop = append(loop, float64(beside)/float64(before))
		calm = append(calm, float64(after)/float64(before))
	}
	noise := newFigure(fmt.Sprintf("p99 of %d pools in calm, over the same a moment before: the noise", neighbours), "times", 0, calm...)
	f := newFigure(fmt.Sprintf("p99 of %d pools beside one that crashes 10 times a second, over calm", neighbours), "times", noise.Value.Max, loop...)
	f.Note = "the limit is the greatest ratio of calm over calm in this run"
	return []figure{f, noise}, nil
}

// besideCrashes is p99 while the pool runs whose program does not get up. It is an
// error if that was not tried again and again.
func besideCrashes(ctx context.Context, c *admin.Client, targets []*target) (time.Duration, error) {
	if _, err := c.Pool(ctx, "crash", admin.Start); err == nil {
		return 0, errors.New("the pool that is to crash runs")
	}
	first, err := generation(ctx, c)
	if err != nil {
		return 0, err
	}
	took, err := p99(ctx, targets, crashLoopSpan)
	if err != nil {
		return 0, err
	}
	last, err := generation(ctx, c)
	if err == nil && last-first < crashLoopLeast {
		err = fmt.Errorf("the pool that is to crash was started only %d times", last-first)
	}
	if err != nil {
		return 0, err
	}
	_, err = c.Pool(ctx, "crash", admin.Stop)
	return took, err
}

// generation is the number of starts of the pool that crashes.
func generation(ctx context.Context, c *admin.Client) (int, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return 0, err
	}
	for _, p := range status.Pools {
		if p.Name == "crash" {
			return p.Generation, nil
		}
	}
	return 0, errors.New("there is no pool that is to crash")
}

// startNeighbours starts a host with the pools, each on an address of its own.
func (s *stage) startNeighbours(ctx context.Context) ([]*target, *process, error) {
	var b strings.Builder
	b.WriteString("[host]\nhost_away = \"1s\"\npools_dir = \"../pools-neighbours\"\n[host.log]\naccess = false\n")
	site := func(name, process string) (string, error) {
		addr, err := freeAddress()
		fmt.Fprintf(&b, "\n[[sites]]\nname = %q\nbindings = [\"http://%s\"]\napps = [{ pool = %q, process = %q, hosting = \"inprocess\" }]\n", name, addr, name, process)
		return addr, err
	}
	var targets []*target
	for i := range neighbours {
		name := fmt.Sprintf("n%d", i)
		addr, err := site(name, "hello")
		if err != nil {
			return nil, nil, err
		}
		targets = append(targets, &target{addr: addr})
		dir := filepath.Join(s.dir, "pools-neighbours", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, nil, err
		}
		if err := os.Link(s.bin("hello"), filepath.Join(dir, "hello")); err != nil {
			return nil, nil, err
		}
	}
	if _, err := site("crash", "false"); err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(&b, "[pools.crash]\nauto_start = false\nrestart_delay = %q\nrestart_delay_max = %q\nfailure = { max_crashes = 0 }\n", crashLoopDelay, crashLoopDelay)
	if err := os.MkdirAll(filepath.Join(s.dir, "pools-neighbours", "crash"), 0o755); err != nil {
		return nil, nil, err
	}
	p, err := s.startHost(ctx, "neighbours", b.String())
	for _, t := range targets {
		t.proc = p
	}
	return targets, p, err
}

// p99 sends requests to all targets for that long and returns the 99th percentile
// of the times to their answers, every byte of which is looked at.
func p99(ctx context.Context, targets []*target, span time.Duration) (time.Duration, error) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards all and errs
		all  []time.Duration
		errs []error
	)
	end := time.Now().Add(span)
	for _, t := range targets {
		for range neighbourConns {
			wg.Go(func() {
				took, err := latencies(ctx, t, end)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, took...)
				if err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", t.url(), err))
				}
			})
		}
	}
	wg.Wait()
	if len(errs) > 0 {
		return 0, fmt.Errorf("%d of %d connections: %w", len(errs), len(targets)*neighbourConns, errs[0])
	}
	slices.Sort(all)
	return all[len(all)*99/100], nil
}

// latencies sends requests on one connection, with pauses, until end.
func latencies(ctx context.Context, t *target, end time.Time) (took []time.Duration, err error) {
	c, err := rawhttp.Dial(t.addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	c.Limit = wrkTimeout
	for first := true; first || time.Now().Before(end); first = false {
		began := time.Now()
		if _, err := exchange(c, t, keepAlive); err != nil {
			return took, err
		}
		took = append(took, time.Since(began))
		if err := wait(ctx, rand.N(2*neighbourPause)); err != nil {
			return took, err
		}
	}
	return took, nil
}
