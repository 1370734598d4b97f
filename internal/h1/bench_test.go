package h1

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkExchange has keep-alive clients on raw sockets, a net/http front,
// and a net/http upstream behind a unix socket; once with an Upstream between
// the two and once with httputil.ReverseProxy.
func BenchmarkExchange(b *testing.B) {
	for _, size := range []int{20, 16 << 10, 1 << 20} {
		body := strings.Repeat("x", size)
		name := map[int]string{20: "20B", 16 << 10: "16KiB", 1 << 20: "1MiB"}[size]
		u := serveUpstream(b, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/plain")
			w.Header()["Content-Length"] = []string{strconv.Itoa(size)}
			_, _ = io.WriteString(w, body)
		})
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "h"})
		proxy.ErrorLog = log.New(io.Discard, "", 0)
		proxy.Transport = &http.Transport{
			MaxIdleConnsPerHost: 256,
			DisableCompression:  true,
			DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return u.Dial(ctx) },
		}
		ours := func(w http.ResponseWriter, r *http.Request) {
			req := Request{Inbound: r, Target: r.RequestURI, Host: r.Host, Set: []Field{{"X-Forwarded-For", "127.0.0.1"}}}
			if err := u.Exchange(w, &req); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		post := "POST /p?q HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n" + strings.Repeat("x", 100)
		for _, load := range []struct{ name, request string }{{"GET", benchGet}, {"POST", post}} {
			b.Run(load.name+"/"+name+"/h1", func(b *testing.B) { benchFront(b, ours, load.request, size) })
			b.Run(load.name+"/"+name+"/ReverseProxy", func(b *testing.B) { benchFront(b, proxy.ServeHTTP, load.request, size) })
		}
		proxy.Transport.(*http.Transport).CloseIdleConnections()
	}
}

const benchGet = "GET /path?q=1 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: wrk\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nCookie: a=b; c=d\r\n\r\n"

func benchFront(b *testing.B, h http.HandlerFunc, request string, size int) {
	f := httptest.NewServer(h)
	defer f.Close()
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", f.Listener.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		buf := make([]byte, 64<<10)
		for pb.Next() {
			if _, err := io.WriteString(c, request); err != nil {
				b.Error(err)
				return
			}
			if err := skipResponse(c, buf, size); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// skipResponse reads a head and size bytes, with as little work as possible.
func skipResponse(c net.Conn, buf []byte, size int) error {
	have, head := 0, -1
	for head < 0 || have < head+size {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		if head < 0 {
			if i := strings.Index(string(buf[:n]), "\r\n\r\n"); i >= 0 {
				head = have + i + 4
			}
		}
		have += n
	}
	return nil
}
