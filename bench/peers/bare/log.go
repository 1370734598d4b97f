package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"
)

// Aerie's access log is buffered in the same way: at most that long, at most
// that much.
const (
	flushEvery = 100 * time.Millisecond
	bufferSize = 64 << 10
)

// lines is a buffered file. It is safe for concurrent use.
type lines struct {
	file    *os.File
	closing chan struct{}
	closed  chan struct{}

	mu  sync.Mutex // guards below
	buf *bufio.Writer
}

func openLines(name string) (*lines, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	l := &lines{file: f, buf: bufio.NewWriterSize(f, bufferSize), closing: make(chan struct{}), closed: make(chan struct{})}
	go l.flushNowAndThen()
	return l, nil
}

// Write keeps one line.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Flush()
}

func (l *lines) flushNowAndThen() {
	defer close(l.closed)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = l.flush() // bufio keeps the error for Close
		case <-l.closing:
			return
		}
	}
}

// Close writes what is left. It is called once.
func (l *lines) Close() error {
	close(l.closing)
	<-l.closed
	return errors.Join(l.flush(), l.file.Close())
}

// logged writes for each request what a net/http server can know of it, with
// the fields of Aerie's access log.
func logged(next http.Handler, out io.Writer) http.Handler {
	log := slog.New(slog.NewJSONHandler(out, nil))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		c := &counted{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(c, r)
		log.LogAttrs(r.Context(), slog.LevelInfo, "request",
			slog.String("method", r.Method),
			slog.String("uri", r.RequestURI),
			slog.String("host", r.Host),
			slog.String("proto", r.Proto),
			slog.Int("status", c.status),
			slog.Int64("bytes_in", max(r.ContentLength, 0)),
			slog.Int64("bytes_out", c.bytes),
			slog.Int64("duration_us", time.Since(began).Microseconds()),
			slog.String("client", r.RemoteAddr),
			slog.String("referer", r.Referer()),
			slog.String("user_agent", r.UserAgent()),
			slog.String("request_id", fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())),
		)
	})
}

// counted notes what was answered.
type counted struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (c *counted) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}
