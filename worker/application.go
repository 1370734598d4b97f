package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"

	"aerie/config"
	"aerie/module"
)

// Application puts what every application of a site has in front of next: the
// limits of the head and the site, and recovery from panics.
func (t *Table) application(s *Site, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p, ok := refused(r, t.opts.Head, s.Limits); ok {
			w.Header().Set("Connection", "close") // the body, or more of the same, is not worth reading
			Fail(w, p)
			return
		}
		if max := s.Limits.MaxBody; max > 0 && r.ContentLength < 0 {
			r.Body = http.MaxBytesReader(innermost(w), r.Body, max)
		}
		g := &guarded{ResponseWriter: w}
		defer recovered(g, r, s.Name, t.opts.Logger)
		next.ServeHTTP(g, r)
	})
}

// innermost is the writer behind all that are around it: the one by which
// http.MaxBytesReader ends the connection.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = u.Unwrap()
	}
}

// refused checks a request against the limits. The sub-statuses are IIS's
// request filtering's: 404.13 content length, 404.14 URL, 404.15 query, which
// IIS's newer reference answers as 413 and 414.
func refused(r *http.Request, head HeadLimits, limits config.SiteLimits) (module.Problem, bool) {
	line := int64(len(r.Method) + len(r.RequestURI) + len(" ") + len(" HTTP/1.1"))
	if head.MaxRequestLine > 0 && line > head.MaxRequestLine {
		return module.Problem{Status: http.StatusRequestURITooLong, SubStatus: 14,
			Reason: fmt.Sprintf("request line of %d bytes; max_request_line is %d", line, head.MaxRequestLine)}, true
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	if limits.MaxURL > 0 && len(path) > limits.MaxURL {
		return module.Problem{Status: http.StatusRequestURITooLong, SubStatus: 14,
			Reason: fmt.Sprintf("path of %d bytes; max_url is %d", len(path), limits.MaxURL)}, true
	}
	if limits.MaxQuery > 0 && len(query) > limits.MaxQuery {
		return module.Problem{Status: http.StatusRequestURITooLong, SubStatus: 15,
			Reason: fmt.Sprintf("query of %d bytes; max_query is %d", len(query), limits.MaxQuery)}, true
	}
	if p, ok := headerRefused(r, head); ok {
		return p, true
	}
	if limits.MaxBody > 0 && r.ContentLength > limits.MaxBody {
		return module.Problem{Status: http.StatusRequestEntityTooLarge, SubStatus: 1,
			Reason: fmt.Sprintf("body of %d bytes; max_body is %d", r.ContentLength, limits.MaxBody)}, true
	}
	return module.Problem{}, false
}

func headerRefused(r *http.Request, head HeadLimits) (module.Problem, bool) {
	count, size := 1, int64(len("Host: \r\n")+len(r.Host)) // net/http takes Host out of the header
	for name, values := range r.Header {
		count += len(values)
		for _, v := range values {
			size += int64(len(name) + len(": \r\n") + len(v))
		}
	}
	if head.MaxHeaderCount > 0 && count > head.MaxHeaderCount {
		return module.Problem{Status: http.StatusRequestHeaderFieldsTooLarge,
			Reason: fmt.Sprintf("%d header fields; max_header_count is %d", count, head.MaxHeaderCount)}, true
	}
	if head.MaxHeaderSize > 0 && size > head.MaxHeaderSize {
		return module.Problem{Status: http.StatusRequestHeaderFieldsTooLarge,
			Reason: fmt.Sprintf("header fields of %d bytes; max_header_size is %d", size, head.MaxHeaderSize)}, true
	}
	return module.Problem{}, false
}

// recovered makes a 500 of a panic in a handler. Nothing else breaks: not the
// process, and not the connection unless an answer had begun.
func recovered(g *guarded, r *http.Request, site string, logger *slog.Logger) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler) // the handler's way to end the connection
	}
	logger.Error("panic in handler", "site", site, "method", r.Method, "uri", r.RequestURI,
		"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	if g.begun {
		panic(http.ErrAbortHandler) // a cut answer must not look whole
	}
	Fail(g.ResponseWriter, module.Problem{Status: http.StatusInternalServerError, Reason: fmt.Sprintf("panic: %v", v)})
}

// guarded notes whether an answer has begun. It passes on what net/http's own
// response writer can do, sendfile included.
type guarded struct {
	http.ResponseWriter
	begun bool
}

func (g *guarded) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g *guarded) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		g.begun = true
	}
	g.ResponseWriter.WriteHeader(status)
}

func (g *guarded) Write(p []byte) (int, error) {
	g.begun = true
	return g.ResponseWriter.Write(p)
}

func (g *guarded) WriteString(s string) (int, error) {
	g.begun = true
	return io.WriteString(g.ResponseWriter, s)
}

func (g *guarded) ReadFrom(r io.Reader) (int64, error) {
	g.begun = true
	return io.Copy(g.ResponseWriter, r)
}

func (g *guarded) Flush() { _ = g.FlushError() } // http.Flusher has no error to return

func (g *guarded) FlushError() error {
	g.begun = true
	return http.NewResponseController(g.ResponseWriter).Flush()
}

func (g *guarded) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(g.ResponseWriter).Hijack()
	g.begun = g.begun || err == nil
	return c, rw, err
}

type pathBaseKey struct{}

// PathBase is the path of the application that a request was routed to, "" for
// the root: what was taken off the front of r.URL.Path.
func PathBase(r *http.Request) string {
	base, _ := r.Context().Value(pathBaseKey{}).(string)
	return base
}

// StripPath returns next with base taken off the front of URL.Path, so that a
// handler written for "/" serves under any path. RequestURI stays as the client
// sent it.
func StripPath(base string, next http.Handler) http.Handler {
	if base == "/" || base == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r2 := r.WithContext(context.WithValue(r.Context(), pathBaseKey{}, base))
		r2.URL = new(url.URL)
		*r2.URL = *r.URL
		r2.URL.Path = below(r.URL.Path, base)
		r2.URL.RawPath = rawBelow(r.URL.RawPath, base)
		next.ServeHTTP(w, r2)
	})
}

// below is path, which is under base, without base.
func below(path, base string) string {
	rest := strings.TrimPrefix(path, base)
	if rest == "" {
		return "/"
	}
	return rest
}

// rawBelow is below for the escaped path, in which the client may have escaped
// letters of base too. Where base does not end at a plain slash it is "", and
// url.URL falls back on Path.
func rawBelow(raw, base string) string {
	for len(base) > 0 && len(raw) > 0 {
		c, n := raw[0], 1
		if c == '%' && len(raw) > 2 {
			v, err := strconv.ParseUint(raw[1:3], 16, 8)
			if err != nil {
				return ""
			}
			c, n = byte(v), 3
		}
		if c != base[0] {
			return ""
		}
		raw, base = raw[n:], base[1:]
	}
	if base != "" || !strings.HasPrefix(raw, "/") {
		return ""
	}
	return raw
}

func tcpAddr(a netip.AddrPort) net.Addr { return net.TCPAddrFromAddrPort(a) }
