package worker

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"aerie/config"
	"aerie/proto"
)

func TestProbeTarget(t *testing.T) {
	for _, tt := range []struct {
		b           config.Binding
		host, local string
	}{
		{config.Binding{Host: "shop.example", Port: 80}, "shop.example", "127.0.0.1:80"},
		{config.Binding{Host: "shop.localhost", Listen: config.ListenLoopback, Port: 8080}, "shop.localhost:8080", "127.0.0.1:8080"},
		{config.Binding{Host: "*.example", Port: 81}, "health.example:81", "127.0.0.1:81"},
		{config.Binding{Port: 81}, "localhost:81", "127.0.0.1:81"},
		{config.Binding{Listen: config.ListenIP, IP: netip.MustParseAddr("192.0.2.1"), Port: 80}, "192.0.2.1", "192.0.2.1:80"},
		{config.Binding{Listen: config.ListenIP, IP: netip.MustParseAddr("::1"), Port: 81}, "[::1]:81", "[::1]:81"},
	} {
		if host, local := probeTarget(tt.b); host != tt.host || local.String() != tt.local {
			t.Errorf("%+v: got %s at %s, want %s at %s", tt.b, host, local, tt.host, tt.local)
		}
	}
}

func TestProbe(t *testing.T) {
	seen := make(chan *http.Request, 1)
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			<-hang
		case "/sick":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/elsewhere":
			w.Header().Set("Location", "/sick")
			w.WriteHeader(http.StatusFound)
		default:
			seen <- r
		}
	}))
	defer srv.Close()
	defer close(hang)
	p := Probe{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", srv.Listener.Addr().String())
		},
		Binding: config.Binding{Host: "shop.example", Port: 8080},
		Header:  func(_ string, r *proto.Record) http.Header { return http.Header{"X-Local": {r.Local.String()}} },
	}
	for path, want := range map[string]string{
		"/healthz?deep=1": "",
		"/elsewhere":      "", // and nobody goes there
		"/sick":           "GET /sick: 503 Service Unavailable",
	} {
		p.Path = path
		if err := p.Ask(t.Context()); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	r := <-seen
	if r.Host != "shop.example:8080" || r.RequestURI != "/healthz?deep=1" || r.UserAgent() != probeAgent || r.Header.Get("X-Local") != "127.0.0.1:8080" {
		t.Errorf("request was %s %s %v", r.Host, r.RequestURI, r.Header)
	}
	errLate := errors.New("no answer within 10ms")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errLate)
	defer cancel()
	p.Path = "/hang"
	if err := p.Ask(ctx); !errors.Is(err, errLate) {
		t.Errorf("hanging: %v", err)
	}
	p.Dial = func(context.Context) (net.Conn, error) { return nil, errors.New("refused") }
	if err := p.Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("no connection: %v", err)
	}
}
