package host

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"aerie/admin"
	"aerie/internal/process"
	"aerie/worker"
)

// refreshLimit bounds what status waits for figures of worker processes that
// do not answer; it then shows the last that are known.
const refreshLimit = 250 * time.Millisecond

// Status implements admin.Host.
func (h *Host) Status() admin.Status {
	h.refresh()
	r := h.routes.Load()
	open, bySite := h.clients.figures()
	s := admin.Status{
		Version: h.opts.Version, Pid: os.Getpid(), StartedAt: h.startedAt,
		Config: r.cfg.Path, ConfigVersion: r.version, Connections: open,
		Sites: []admin.SiteStatus{}, Pools: []admin.PoolStatus{},
	}
	for _, site := range r.cfg.Sites {
		st := admin.SiteStatus{Name: site.Name, Connections: bySite[site.Name], Bindings: []string{}, Apps: []admin.AppStatus{}}
		for _, b := range site.Bindings {
			st.Bindings = append(st.Bindings, b.Text)
		}
		for _, a := range site.Apps {
			st.Apps = append(st.Apps, admin.AppStatus{Path: a.Path, Pool: a.Pool.Name, Hosting: string(a.Pool.Program.Hosting)})
		}
		s.Sites = append(s.Sites, st)
	}
	for _, p := range h.pools.all() {
		s.Pools = append(s.Pools, poolStatus(p))
	}
	return s
}

// refresh asks all in-process workers for their figures at once.
func (h *Host) refresh() {
	ctx, cancel := context.WithTimeout(h.life, refreshLimit)
	defer cancel()
	var wg sync.WaitGroup
	for w := range h.pools.inProcess() {
		wg.Go(func() {
			if err := w.Refresh(ctx); err != nil && !w.Ended() {
				h.log.Debug("figures of worker", "pid", w.Pid(), "error", err)
			}
		})
	}
	wg.Wait()
}

// mostWaiters is how many are shown of each queue.
const mostWaiters = 1000

// Queue implements admin.Host. A worker process that does not answer is an error:
// half a queue is none.
func (h *Host) Queue(ctx context.Context, name string) (admin.Queue, error) {
	p, cfg := h.pools.find(name), h.routes.Load().cfg.Pools[name]
	if p == nil || cfg == nil {
		return admin.Queue{}, admin.ErrUnknownPool
	}
	q := admin.Queue{Pool: name, Length: cfg.QueueLength}
	waiters := p.Waiters()
	for _, w := range waiters[:min(len(waiters), mostWaiters)] {
		q.Waiting = append(q.Waiting, admin.Waiter{Since: w.Since, Client: w.Client, Request: w.Request})
	}
	add := func(pid int, list []worker.Waiter) {
		for _, w := range list {
			q.Waiting = append(q.Waiting, admin.Waiter{Pid: pid, Since: w.Since, Client: w.Client, Request: w.Request})
		}
	}
	add(0, p.gate.Waiters(mostWaiters))
	ctx, cancel := context.WithTimeout(ctx, refreshLimit)
	defer cancel()
	for w := range h.pools.inProcess() {
		if w.Pool() != name {
			continue
		}
		list, err := w.Waiters(ctx, mostWaiters)
		if err != nil && !w.Ended() {
			return q, fmt.Errorf("process %d: %w", w.Pid(), err)
		}
		add(w.Pid(), list)
	}
	slices.SortStableFunc(q.Waiting, func(a, b admin.Waiter) int { return a.Since.Compare(b.Since) })
	return q, nil
}

func poolStatus(p *pool) admin.PoolStatus {
	st := p.Status()
	out := admin.PoolStatus{
		Name: st.Name, Hosting: string(st.Hosting), State: st.State, Generation: st.Generation,
		Queued: st.Queued + p.gate.Stats().Queued, Crashes: st.Crashes, Recycles: st.Recycles,
		LastReason: st.LastReason, LastOutput: st.LastOutput, RetryAt: st.RetryAt, Workers: []admin.WorkerStatus{},
	}
	for _, w := range st.Workers {
		ws := admin.WorkerStatus{
			Pid: w.Pid, Generation: w.Generation, State: w.State, Requests: w.Stats.Requests,
			Active: w.Stats.Active + w.Stats.Streams, Connections: w.Stats.Connections, StartedAt: w.Stats.StartedAt,
		}
		if w.Pid > 0 {
			ws.RSSBytes, _ = process.RSS(w.Pid) // 0 of a process that has just ended
		}
		out.Queued += w.Stats.Queued
		out.Workers = append(out.Workers, ws)
	}
	return out
}
