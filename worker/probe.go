package worker

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"aerie/config"
	"aerie/proto"
)

// Probe is the request by which a host finds out whether an application is
// healthy: GET, as from a client on this machine, on a connection of its own.
type Probe struct {
	Dial    func(context.Context) (net.Conn, error)          // to the worker process
	Binding config.Binding                                   // of a site of the application: which Host it is asked as
	Path    string                                           // with query, as a client writes it
	Header  func(host string, rec *proto.Record) http.Header // what the worker process is to find besides; its record is complete but for the token
}

// probeAgent is the User-Agent of probes, by which logs tell them from clients.
const probeAgent = "Aerie-Health"

// Ask sends the request. It returns nil if the status of the answer is 200 to 399,
// and otherwise what came or went wrong. It blocks until then, or until ctx ends.
func (p Probe) Ask(ctx context.Context) error {
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.Dial(ctx) },
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	host, local := probeTarget(p.Binding)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+p.Path, nil)
	if err != nil {
		return fmt.Errorf("GET %s: %w", p.Path, err)
	}
	rec := &proto.Record{Scheme: "http", Remote: netip.AddrPortFrom(local.Addr(), 0), Local: local}
	r.Header = p.Header(host, rec)
	r.Header.Set("User-Agent", probeAgent)
	resp, err := transport.RoundTrip(r)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("GET %s: %w", p.Path, err)
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	const enough = 64 << 10
	if _, err := io.CopyN(io.Discard, resp.Body, enough); err != nil && err != io.EOF {
		return fmt.Errorf("GET %s: %w", p.Path, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("GET %s: %s", p.Path, resp.Status)
	}
	return nil
}

// probeTarget is a host and an address that belong to a binding.
func probeTarget(b config.Binding) (host string, local netip.AddrPort) {
	addr := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	host = b.Host
	switch {
	case b.Listen == config.ListenIP:
		addr = b.IP
		host = b.IP.String()
		if b.IP.Is6() {
			host = "[" + host + "]"
		}
	case host == "":
		host = "localhost"
	case strings.HasPrefix(host, "*"):
		host = "health" + strings.TrimPrefix(host, "*")
	}
	if b.Port != 80 && b.Port != 0 {
		host += ":" + strconv.Itoa(int(b.Port))
	}
	return host, netip.AddrPortFrom(addr, b.Port)
}
