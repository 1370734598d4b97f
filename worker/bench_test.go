package worker

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"aerie/config"
)

var hello = []byte("hello, world\n")

func helloHandler(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(hello) // the client reads what comes
}

// compare runs a benchmark with bare net/http, and with a Server that has a
// site with limits and a gate. The difference is what this package costs.
func compare(b *testing.B, run func(b *testing.B, addr net.Addr)) {
	b.Run("net-http", func(b *testing.B) {
		l := listenTCP(b)
		s := &http.Server{Handler: http.HandlerFunc(helloHandler)}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(l) }() // ends with Close below
		run(b, l.Addr())
		_ = s.Close() // the benchmark is over
		<-done
	})
	b.Run("worker", func(b *testing.B) {
		l := listenTCP(b)
		s := NewServer(Options{Limits: testLimits, Logger: slog.New(slog.DiscardHandler), Concurrency: Concurrency{MaxConcurrent: 100, StreamAfter: time.Minute}})
		s.SetTable(oneSite(s.Bounded(http.HandlerFunc(helloHandler)), l.Addr(),
			config.SiteLimits{MaxBody: 30 << 20, MaxURL: 4096, MaxQuery: 2048, MinBodyRate: 240, MinResponseRate: 240, RateGrace: 5 * time.Second},
			HeadLimits{MaxRequestLine: 8 << 10, MaxHeaderSize: 32 << 10, MaxHeaderCount: 100}))
		if err := s.Listen(l, Source{}); err != nil {
			b.Fatal(err)
		}
		run(b, l.Addr())
		closeServer(b, s)
	})
}

// BenchmarkKeepAlive is one request and its answer, on a connection that stays,
// over loopback.
func BenchmarkKeepAlive(b *testing.B) {
	request := []byte("GET /hello HTTP/1.1\r\nHost: bench.localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	compare(b, func(b *testing.B, addr net.Addr) {
		c := dial(b, addr.String())
		br := bufio.NewReader(c)
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Send(request); err != nil {
				b.Fatal(err)
			}
			if err := skipResponse(br); err != nil {
				b.Fatal(err)
			}
		}
		_ = c.Close() // before the server, which would wait otherwise
	})
}

// skipResponse reads a response that ends with hello.
func skipResponse(br *bufio.Reader) error {
	for {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			_, err := br.Discard(len(hello))
			return err
		}
	}
}

// BenchmarkConnection is one request on a connection of its own.
func BenchmarkConnection(b *testing.B) {
	request := []byte("GET /hello HTTP/1.1\r\nHost: bench.localhost\r\nConnection: close\r\n\r\n")
	compare(b, func(b *testing.B, addr net.Addr) {
		b.ReportAllocs()
		for b.Loop() {
			c, err := net.Dial("tcp", addr.String())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := c.Write(request); err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); err != nil {
				b.Fatal(err)
			}
			_ = c.Close() // the server has closed already
		}
	})
}
