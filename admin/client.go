package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// maxAnswer bounds what a client reads of one answer.
const maxAnswer = 64 << 20

// Client asks a running host. Its methods are safe for concurrent use; each
// blocks until the host has answered or ctx ends. The error is an *Error if
// the host refused, and wraps ErrNoHost if none is running.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client of the host that listens on addr: a path, which
// may be written with "unix:" before it. It connects with the first request.
func NewClient(addr string) *Client {
	path := socketPath(addr)
	var d net.Dialer
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
		MaxIdleConns:    1,
		IdleConnTimeout: 10 * time.Second,
	}}}
}

// Close gives the idle connection back. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the host's status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/status")
}

// Reload has the host read its sites.toml again.
func (c *Client) Reload(ctx context.Context) (Reload, error) {
	return call[Reload](ctx, c, http.MethodPost, "/v1/reload")
}

// Pool has the host carry out action on the named pool and returns the pool as
// it is then.
func (c *Client) Pool(ctx context.Context, name string, action Action) (PoolStatus, error) {
	return call[PoolStatus](ctx, c, http.MethodPost, "/v1/pools/"+url.PathEscape(name)+"/"+url.PathEscape(string(action)))
}

// Queue asks who waits for the named pool.
func (c *Client) Queue(ctx context.Context, name string) (Queue, error) {
	return call[Queue](ctx, c, http.MethodGet, "/v1/queues/"+url.PathEscape(name))
}

// call makes one request and decodes its answer.
func call[T any](ctx context.Context, c *Client, method, path string) (answer T, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://aerie"+path, nil)
	if err != nil {
		return answer, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer, c.explain(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer, c.explain(err)
	}
	if resp.StatusCode != http.StatusOK {
		return answer, decodeError(resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, fmt.Errorf("answer of the host on %s: %w", c.path, err)
	}
	return answer, nil
}

func decodeError(status int, body []byte) error {
	e := &Error{}
	if err := json.Unmarshal(body, e); err != nil || e.Message == "" {
		e = &Error{Message: fmt.Sprintf("the host answered %d %s: %s", status, http.StatusText(status), strings.TrimSpace(string(body)))}
	}
	e.Status = status
	return e
}

// explain says what an operator can do about a request that got no answer.
func (c *Client) explain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), refused(err):
		return fmt.Errorf("%w on %s (start it with: aerie run)", ErrNoHost, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("admin socket %s: only root and the user that the host runs as may use it", c.path)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("the host on %s closed the connection without an answer: it has ended, or it runs as another user", c.path)
	}
	return fmt.Errorf("ask the host on %s: %w", c.path, err)
}
