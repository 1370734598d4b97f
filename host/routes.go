package host

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"aerie/apppool"
	"aerie/config"
	"aerie/inproc"
	"aerie/module"
	"aerie/module/accesslog"
	"aerie/outproc"
	"aerie/worker"
)

// routes is what a configuration means for requests. It is immutable.
type routes struct {
	cfg      *config.Config
	version  uint64
	table    *worker.Table
	handover map[string]*pool // the pool that a site lives wholly in, by site; only in-process ones
}

func (r *routes) trusts(a netip.Addr) bool {
	for _, p := range r.cfg.Host.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// buildRoutes makes the routes of a configuration whose pools exist.
func (h *Host) buildRoutes(cfg *config.Config, version uint64) *routes {
	r := &routes{cfg: cfg, version: version, handover: map[string]*pool{}}
	apps := map[string]*config.App{}
	for _, s := range cfg.Sites {
		for _, a := range s.Apps {
			apps[s.Name+a.Path] = a
		}
		if p := h.pools.find(livesIn(s)); p != nil {
			r.handover[s.Name] = p
		}
	}
	app := func(s *worker.Site, path string) *config.App { return apps[s.Name+path] }
	r.table = worker.NewTable(worker.TableOptions{
		Sites: sitesOf(cfg, func(*config.App) bool { return true }), Trusted: cfg.Host.TrustedProxies,
		Head: headLimits(cfg), Logger: h.log,
		App: func(s *worker.Site, path string) http.Handler {
			p := app(s, path).Pool
			return h.ofOneUser(p, endpoint(h.pools.find(p.Name), path))
		},
		Modules: func(s *worker.Site, path string) []module.Module {
			return []module.Module{h.accessLog(cfg, s.Name, path, app(s, path).Pool)}
		},
		Default: h.accessLogAll(http.HandlerFunc(unknownSite)),
	})
	return r
}

// livesIn is the name of the pool that all of a site's applications are in, if
// it is one and in-process and the site allows hand-over; otherwise "".
func livesIn(s *config.Site) string {
	first := s.Apps[0].Pool
	for _, a := range s.Apps {
		if a.Pool != first {
			return ""
		}
	}
	if !s.Handover || first.Program.Hosting != config.InProcess {
		return ""
	}
	return first.Name
}

// sitesOf are the sites of a configuration with those of their applications
// that want picks; sites without any are left out.
func sitesOf(cfg *config.Config, want func(*config.App) bool) []worker.Site {
	var out []worker.Site
	for _, s := range cfg.Sites {
		site := worker.Site{Name: s.Name, Bindings: s.Bindings, Limits: s.Limits}
		for _, a := range s.Apps {
			if want(a) {
				site.Paths = append(site.Paths, a.Path)
			}
		}
		if len(site.Paths) > 0 {
			out = append(out, site)
		}
	}
	return out
}

func headLimits(cfg *config.Config) worker.HeadLimits {
	l := cfg.Host.Limits
	return worker.HeadLimits{MaxRequestLine: l.MaxRequestLine, MaxHeaderSize: l.MaxHeaderSize, MaxHeaderCount: l.MaxHeaderCount}
}

func connLimits(cfg *config.Config) worker.Limits {
	l := cfg.Host.Limits
	return worker.Limits{
		HeaderTimeout: l.HeaderTimeout, IdleTimeout: l.IdleTimeout,
		MaxHeadBytes: int(l.MaxRequestLine + l.MaxHeaderSize),
	}
}

// endpoint answers requests for a pool: by forwarding or relaying them, as the
// generation is that serves now. A request that found its generation dead, and of
// which nothing was sent, is the next one's.
func endpoint(p *pool, path string) http.Handler {
	base := strings.TrimSuffix(path, "/")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		again, err := p.answer(w, r, base)
		if again {
			_, err = p.answer(w, r, base)
		}
		if err != nil {
			worker.FailExchange(w, r, err)
		}
	})
}

// answer answers a request by the generation that serves now. An error is for
// worker.FailExchange, unless again says that there is a point in a second try.
func (p *pool) answer(w http.ResponseWriter, r *http.Request, base string) (again bool, err error) {
	lease, err := p.AcquireFor(r.Context(), func() apppool.Waiter {
		return apppool.Waiter{Client: r.RemoteAddr, Request: r.Method + " " + r.RequestURI}
	})
	if err != nil {
		worker.Fail(w, poolProblem(r, err))
		return false, nil
	}
	defer lease.Release()
	accesslog.Answered(w, lease.Generation())
	switch backend := lease.Worker().(type) {
	case *inproc.Worker:
		if n := module.NoterOf(w); n != nil {
			n.Quiet() // the worker process logs it
		}
		err = backend.Serve(w, r)
	case *outproc.Worker:
		p.gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			err = backend.Serve(w, r, base)
		})).ServeHTTP(w, r)
	}
	return worker.NeverSent(err) && ends(r.Context(), lease.Worker()), err
}

// deathLimit is how long a process that takes no connection may take to die.
const deathLimit = time.Second

// ends waits for the end of a process that took no connection: its sockets are
// gone a moment before it is.
func ends(ctx context.Context, w apppool.Worker) bool {
	limit := time.NewTimer(deathLimit)
	defer limit.Stop()
	select {
	case <-w.Done():
		return true
	case <-limit.C:
	case <-ctx.Done():
	}
	return false
}

// poolProblem is the answer to a request for which a pool gave no lease.
func poolProblem(r *http.Request, err error) module.Problem {
	p := module.Problem{Status: http.StatusServiceUnavailable, Reason: err.Error()}
	if word := apppool.Reason(err); word != "" {
		p.Reason = word + ": " + p.Reason
	}
	if start, ok := errors.AsType[*apppool.StartError](err); ok {
		return startProblem(p, start)
	}
	switch {
	case errors.Is(err, apppool.ErrQueueFull), errors.Is(err, apppool.ErrQueueTimeout):
		p.RetryAfter = 1
	case r.Context().Err() != nil && errors.Is(err, context.Canceled):
		p.Status = 499 // the client did not wait
	}
	return p
}

// startProblem answers as ANCM does: 500.30 and 500.37 for a worker process,
// 502.5 for an application server that did not start.
func startProblem(p module.Problem, e *apppool.StartError) module.Problem {
	status, sub, ok := strings.Cut(e.SubStatus, ".")
	code, err1 := strconv.Atoi(status)
	n, err2 := strconv.Atoi(sub)
	if ok && err1 == nil && err2 == nil {
		p.Status, p.SubStatus = code, n
	}
	return p
}

func unknownSite(w http.ResponseWriter, r *http.Request) {
	worker.Fail(w, module.Problem{Status: http.StatusNotFound, Reason: fmt.Sprintf("no site or application for host %q, path %q", r.Host, r.URL.Path)})
}

// accessLog is the log of an application's requests as the host sees them.
func (h *Host) accessLog(cfg *config.Config, site, path string, p *config.Pool) module.Module {
	if !cfg.Host.Log.Access {
		return passThrough{}
	}
	hosting := p.Program.Hosting
	return accesslog.New(accesslog.Options{
		Site: site, App: path, Pool: p.Name, Hosting: string(hosting), Sink: h.access,
		Via: func(*http.Request) string {
			if hosting == config.InProcess {
				return "relay"
			}
			return "forward"
		},
	})
}

// accessLogAll logs requests that belong to no site.
func (h *Host) accessLogAll(next http.Handler) http.Handler {
	return accesslog.New(accesslog.Options{Sink: h.access}).Wrap(next)
}

// passThrough is a module that does nothing.
type passThrough struct{}

func (passThrough) Name() string                        { return "none" }
func (passThrough) Wrap(next http.Handler) http.Handler { return next }
