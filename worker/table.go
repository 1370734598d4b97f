package worker

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"aerie/config"
	"aerie/module"
)

// Site is what routing needs to know of a site.
type Site struct {
	Name     string
	Bindings []config.Binding
	Limits   config.SiteLimits
	Paths    []string // of its applications: "/", "/shop"
}

// HeadLimits are the limits of a request head that net/http does not enforce
// exactly. Zero means no limit.
type HeadLimits struct {
	MaxRequestLine int64 // bytes; 414
	MaxHeaderSize  int64 // bytes of all fields; 431
	MaxHeaderCount int   // fields; 431
}

// TableOptions make up a routing table.
type TableOptions struct {
	Sites   []Site
	App     func(s *Site, path string) http.Handler    // the handler of an application of a site
	Modules func(s *Site, path string) []module.Module // the pipeline in front of it, outermost first; may be nil
	Default http.Handler                               // answers where no site or application matches
	Logger  *slog.Logger                               // for panics in handlers
	Trusted []netip.Prefix                             // peers whose X-Forwarded-* stand
	Head    HeadLimits
}

// Table finds the application of a request: the site by local address, port and
// host name, then the application by the longest path prefix. It is immutable.
type Table struct {
	opts  TableOptions
	ports map[uint16][]entry // the most specific first
}

type entry struct {
	binding config.Binding
	site    *routed
}

// routed is a site with its applications, the longest path first.
type routed struct {
	Site
	apps  []routedApp
	rates Rates
}

type routedApp struct {
	path    string
	handler http.Handler
}

// NewTable builds a table.
func NewTable(opts TableOptions) *Table {
	t := &Table{opts: opts, ports: map[uint16][]entry{}}
	for _, s := range opts.Sites {
		site := &routed{Site: s, rates: Rates{Body: s.Limits.MinBodyRate, Response: s.Limits.MinResponseRate, Grace: s.Limits.RateGrace}}
		for _, path := range s.Paths {
			h := t.application(&site.Site, opts.App(&site.Site, path))
			if opts.Modules != nil {
				h = module.Chain(h, opts.Modules(&site.Site, path)...)
			}
			site.apps = append(site.apps, routedApp{path: path, handler: h})
		}
		slices.SortFunc(site.apps, func(a, b routedApp) int { return cmp.Compare(len(b.path), len(a.path)) })
		for _, b := range s.Bindings {
			t.ports[b.Port] = append(t.ports[b.Port], entry{b, site})
		}
	}
	for _, entries := range t.ports {
		slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(specificity(b.binding), specificity(a.binding)) })
	}
	return t
}

// OneApplication is the table of a server that is one application: every
// request goes to h, with no limits of a site.
func OneApplication(h http.Handler, logger *slog.Logger) *Table {
	t := &Table{opts: TableOptions{Logger: logger}}
	t.opts.Default = t.application(&Site{}, h)
	return t
}

// specificity orders bindings: an exact host name before a wildcard, a longer
// wildcard before a shorter one, any name last (as Kestrel's SNI map); then one
// address before loopback before any address.
func specificity(b config.Binding) int {
	host := 0
	switch {
	case strings.HasPrefix(b.Host, "*."):
		host = len(b.Host)
	case b.Host != "":
		host = 1 << 10
	}
	listen := map[config.Listen]int{config.ListenIP: 2, config.ListenLoopback: 1, config.ListenAny: 0}[b.Listen]
	return host*4 + listen
}

// Site returns the site that answers for host (with or without a port) on the
// local address, or nil.
func (t *Table) Site(local netip.AddrPort, host string) *Site {
	if r := t.find(local, host); r != nil {
		return &r.Site
	}
	return nil
}

func (t *Table) find(local netip.AddrPort, host string) *routed {
	host = hostName(host)
	for _, e := range t.ports[local.Port()] {
		if matchHost(e.binding.Host, host) && matchListen(e.binding, local.Addr()) {
			return e.site
		}
	}
	return nil
}

// matchHost compares a binding's host with a request's, both in lower case.
func matchHost(pattern, host string) bool {
	if pattern == "" {
		return true
	}
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return pattern == host
}

func matchListen(b config.Binding, local netip.Addr) bool {
	switch b.Listen {
	case config.ListenLoopback:
		return local.IsLoopback()
	case config.ListenIP:
		return local == b.IP
	default:
		return true
	}
}

// hostName is the name in a Host field: without the port and a final dot, in
// lower case.
func hostName(host string) string {
	if strings.HasPrefix(host, "[") {
		if i := strings.IndexByte(host, ']'); i > 0 {
			host = host[1:i]
		}
	} else if i := strings.IndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// app returns the application with the longest path that is a prefix of path.
func (r *routed) app(path string) http.Handler {
	for i := range r.apps {
		if UnderPath(path, r.apps[i].path) {
			return r.apps[i].handler
		}
	}
	return nil
}

// UnderPath reports whether path is base or lies below it. base is "/" or has
// no slash at its end.
func UnderPath(path, base string) bool {
	return base == "/" || strings.HasPrefix(path, base) && (len(path) == len(base) || path[len(base)] == '/')
}

// route is what the last request of a connection was routed to: clients stay
// with one host name, so the next one need not look it up.
type route struct {
	table *Table
	host  string
	site  *routed
}

func (r *route) rates() Rates {
	if r.site == nil {
		return Rates{}
	}
	return r.site.rates
}
