package outproc

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"aerie/internal/h1"
	"aerie/proto"
	"aerie/worker"
)

// Forwarder passes requests to one worker process. Its fields do not change
// after the first request; its method is safe for concurrent use.
type Forwarder struct {
	Upstream *h1.Upstream          // the worker process
	Token    string                // of its generation, for the record
	Trusted  func(netip.Addr) bool // whose X-Forwarded-* stand; nil trusts nobody
	Alive    func() string         // how the process ended, "" while it runs; may be nil
}

// Forward has the worker process answer r, which is routed to the application
// at pathBase ("" for the root). It blocks until the response is delivered, or
// an upgraded connection has ended. The request's path is sent as the client
// wrote it; what the process needs to know besides is in X-Forwarded-* and, for
// programs made with package app, in the record. A failure is returned, for
// worker.FailExchange to answer.
func (f *Forwarder) Forward(w http.ResponseWriter, r *http.Request, pathBase string) error {
	rec := f.record(r)
	rec.PathBase = pathBase
	c := worker.ConnOf(r.Context())
	err := f.Upstream.Exchange(w, &h1.Request{
		Inbound:  r,
		Target:   originForm(r.RequestURI),
		Host:     r.Host,
		Set:      forwarded(r, &rec),
		Drop:     dropFrom(rec.Trusted),
		Buffered: c != nil && r.ProtoMajor == 1 && c.BodyBuffered(r.ContentLength),
	})
	if err != nil {
		return f.explain(err)
	}
	return nil
}

// record is what is known of the client's connection. A request that the
// package worker does not serve knows it from net/http.
func (f *Forwarder) record(r *http.Request) proto.Record {
	rec := worker.NewRecord(r, f.Token)
	if !rec.Remote.IsValid() {
		rec.Remote, _ = netip.ParseAddrPort(r.RemoteAddr) // a client without an address, on a unix socket, has none here either
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && !rec.Local.IsValid() {
		rec.Local = a.AddrPort()
	}
	rec.Remote = netip.AddrPortFrom(rec.Remote.Addr().Unmap(), rec.Remote.Port())
	rec.Local = netip.AddrPortFrom(rec.Local.Addr().Unmap(), rec.Local.Port())
	rec.Trusted = f.Trusted != nil && rec.Remote.IsValid() && f.Trusted(rec.Remote.Addr())
	return rec
}

// forwarded are the fields that tell the process of the client. A trusted
// proxy's word about its own client stands: its address is added to the
// addresses, and the rest is filled in only where it says nothing.
func forwarded(r *http.Request, rec *proto.Record) []h1.Field {
	var addrs, scheme, host, prefix string
	if rec.Trusted {
		addrs = strings.Join(r.Header["X-Forwarded-For"], ", ")
		scheme = r.Header.Get("X-Forwarded-Proto")
		host = r.Header.Get("X-Forwarded-Host")
		prefix = strings.TrimSuffix(r.Header.Get("X-Forwarded-Prefix"), "/")
	}
	if scheme == "" {
		scheme = rec.Scheme
	}
	if host == "" {
		host = r.Host
	}
	set := make([]h1.Field, 0, 5)
	set = append(set,
		h1.Field{Name: proto.RecordHeader, Value: rec.String()},
		h1.Field{Name: "X-Forwarded-Proto", Value: scheme},
		h1.Field{Name: "X-Forwarded-Host", Value: host})
	if rec.Remote.IsValid() {
		if addrs != "" {
			addrs += ", "
		}
		addrs += rec.Remote.Addr().WithZone("").String()
		set = append(set, h1.Field{Name: "X-Forwarded-For", Value: addrs})
	}
	if prefix += rec.PathBase; prefix != "" {
		set = append(set, h1.Field{Name: "X-Forwarded-Prefix", Value: prefix})
	}
	return set
}

// dropFrom says which fields by which programs trust the host are not taken
// from a client: ours from nobody, the common ones only from trusted proxies.
// Names come with '-' for '_'.
func dropFrom(trusted bool) func(name string) bool {
	if trusted {
		return ours
	}
	return func(name string) bool {
		return ours(name) || name == "Forwarded" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-")
	}
}

func ours(name string) bool { return strings.HasPrefix(name, "Aerie-") }

// originForm is the request target without scheme and host, which clients
// write for proxies (RFC 9112, 3.2.2). All of the rest stays as it is.
func originForm(target string) string {
	if strings.HasPrefix(target, "/") || target == "*" {
		return target
	}
	_, rest, ok := strings.Cut(target, "://")
	if !ok {
		return target
	}
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	}
	return rest[i:]
}

// explain adds to the upstream's failures how the process ended, if it has.
func (f *Forwarder) explain(err error) error {
	e, ok := errors.AsType[*h1.Error](err)
	if !ok || f.Alive == nil {
		return err
	}
	switch e.Stage {
	case h1.Dial, h1.Send, h1.Await, h1.Body:
		if ended := f.Alive(); ended != "" {
			return fmt.Errorf("%w; the worker process has ended: %s", err, ended)
		}
	}
	return err
}
