// Command reverseproxy is httputil.ReverseProxy in front of a server on a unix
// socket: what out-of-process hosting is compared with.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"

	"aerie/bench/peers/peer"
)

// idleConns lets every connection of the load keep one of its own to the
// upstream; Transport's own default is 2, which would measure dialling.
const idleConns = 256

func main() {
	socket := flag.String("unix", "", "the upstream's `socket`")
	flag.Parse()
	if err := peer.Serve(proxy(*socket), peer.Loopback()); err != nil {
		log.Fatal(err)
	}
}

// proxy is ReverseProxy as it comes, with the X-Forwarded fields that Aerie
// sets too.
func proxy(socket string) *httputil.ReverseProxy {
	var d net.Dialer
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return d.DialContext(ctx, "unix", socket)
			},
			MaxIdleConnsPerHost: idleConns,
			DisableCompression:  true,
		},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "upstream"})
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
	}
}
