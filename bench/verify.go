package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"aerie/bench/hello"
	"aerie/internal/rawhttp"
)

const (
	verifyConns = 8  // at once
	verifyEach  = 25 // requests on each, or connections one after the other
)

// sizes of the answers that were seen, head included.
type sizes struct{ least, most int64 }

func (s *sizes) add(n int64) {
	if s.least == 0 || n < s.least {
		s.least = n
	}
	s.most = max(s.most, n)
}

// admit says whether so many requests can have brought so many bytes. At the
// end of its time wrk leaves one answer on each connection half read.
func (s sizes) admit(c count) error {
	least, most := c.Requests*s.least, (c.Requests+connections)*s.most
	if c.Bytes < least || c.Bytes > most {
		return fmt.Errorf("%d answers came to %d bytes; %d to %d would be right", c.Requests, c.Bytes, least, most)
	}
	return nil
}

// verify looks at every byte of some answers of t. It returns their sizes.
func verify(ctx context.Context, t *target, m mode) (sizes, error) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards all and errs
		all  sizes
		errs []error
	)
	for range verifyConns {
		wg.Go(func() {
			s, err := verifyOne(ctx, t, m)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			all.add(s.least)
			all.add(s.most)
		})
	}
	wg.Wait()
	if len(errs) > 0 {
		return all, fmt.Errorf("%d of %d connections: %w", len(errs), verifyConns, errs[0])
	}
	return all, nil
}

// verifyOne is one client's part of verify.
func verifyOne(ctx context.Context, t *target, m mode) (sizes, error) {
	var s sizes
	if m == keepAlive {
		err := verifyOn(ctx, t, m, verifyEach, &s)
		return s, err
	}
	for range verifyEach {
		if err := verifyOn(ctx, t, m, 1, &s); err != nil {
			return s, err
		}
	}
	return s, nil
}

// verifyOn sends n requests on a connection of its own.
func verifyOn(ctx context.Context, t *target, m mode, n int, s *sizes) (err error) {
	c, err := rawhttp.Dial(t.addr)
	if err != nil {
		return err
	}
	c.Limit = wrkTimeout
	defer func() { err = errors.Join(err, c.Close()) }()
	for range n {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		size, err := exchange(c, t, m)
		if err != nil {
			return err
		}
		s.add(size)
	}
	if m == onePerConnection {
		return c.ReadEOF()
	}
	return nil
}

// exchange sends one request and returns the size of its answer, if that is
// right.
func exchange(c *rawhttp.Conn, t *target, m mode) (int64, error) {
	if err := c.Send(request(t, m)); err != nil {
		return 0, err
	}
	r, err := c.ReadResponse("GET")
	if err != nil {
		return 0, err
	}
	switch types := r.Header.Values("Content-Type"); {
	case r.Status != 200:
		return 0, fmt.Errorf("status %d: %.200q", r.Status, r.Body)
	case string(r.Body) != hello.Body:
		return 0, fmt.Errorf("body %.200q, want %q", r.Body, hello.Body)
	case !slices.Equal(types, []string{hello.ContentType}):
		return 0, fmt.Errorf("content type %q, want %q", types, hello.ContentType)
	case r.Framing != rawhttp.ByLength:
		return 0, fmt.Errorf("framing %q, want %q", r.Framing, rawhttp.ByLength)
	case r.Close != (m == onePerConnection):
		return 0, fmt.Errorf("closing is %v, which was not asked for", r.Close)
	case c.Buffered() > 0:
		return 0, fmt.Errorf("%d bytes after the answer", c.Buffered())
	}
	return sizeOf(r), nil
}

// request is what wrk sends.
func request(t *target, m mode) []byte {
	text := "GET " + hello.Path + " HTTP/1.1\r\nHost: " + t.authority() + "\r\n"
	if m == onePerConnection {
		text += "Connection: close\r\n"
	}
	return []byte(text + "\r\n")
}

// sizeOf is the number of bytes that an answer with its length in its head had.
func sizeOf(r *rawhttp.Response) int64 {
	n := len(r.Proto) + len(" 200 ") + len(r.Reason) + len("\r\n\r\n") + len(r.Body)
	for _, f := range r.Header {
		n += len(f.Name) + len(": ") + len(f.Value) + len("\r\n")
	}
	return int64(n)
}
