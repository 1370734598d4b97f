package rawhttp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

const (
	finalQuiet = 20 * time.Millisecond // nothing may come for that long at the end
	redialWait = 10 * time.Millisecond // after a failure, so that a dead server is not hammered
)

// client is one connection of a Load, or several one after the other.
type client struct {
	load    *Load
	rng     *rand.Rand
	builder builder
	conn    *Conn
	report  *Report
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		if c.conn == nil && !c.dial() {
			pause(ctx, redialWait)
			continue
		}
		if !c.turn(ctx) {
			c.drop()
		}
	}
	if c.conn != nil {
		c.idle(finalQuiet)
		c.drop()
	}
}

func (c *client) dial() bool {
	conn, err := c.load.Dial()
	if err != nil {
		c.report.failed(err, nil)
		return false
	}
	conn.Limit = c.load.Limit
	c.conn = conn
	c.report.Opened++
	return true
}

func (c *client) drop() {
	_ = c.conn.Close() // whatever mattered about it is in the report
	c.conn = nil
}

// turn does one thing and says whether the connection is still of use.
func (c *client) turn(ctx context.Context) bool {
	m := c.load.Mix
	n := c.rng.IntN(m.Get + m.Head + m.Post + m.Chunked + m.Pipelined + m.Idle)
	pick := func(weight int) bool { n -= weight; return n < 0 }
	switch {
	case pick(m.Get):
		return c.exchange(ctx, c.builder.build("GET", "get"))
	case pick(m.Head):
		return c.exchange(ctx, c.builder.build("HEAD", "head"))
	case pick(m.Post):
		return c.exchange(ctx, c.builder.build("POST", "post"))
	case pick(m.Chunked):
		return c.exchange(ctx, c.builder.build("POST", "chunked"))
	case pick(m.Pipelined):
		return c.pipeline(ctx)
	}
	return c.idle(c.upTo(c.load.Idle))
}

// exchange sends one request in random segments, now and then with a pause
// between two, and reads its answer. Head and body never share a segment.
func (c *client) exchange(ctx context.Context, r *request) bool {
	cuts := []int{r.head, len(r.wire)}
	if r.shape == "chunked" {
		cuts = []int{r.head, c.between(r.head, len(r.wire)), len(r.wire)}
	}
	from := 0
	for _, to := range cuts {
		if from == to {
			continue
		}
		if from > 0 && c.rng.IntN(4) == 0 {
			pause(ctx, c.upTo(c.load.Pause))
		}
		if !c.send(r.wire[from:to], r) {
			return false
		}
		from = to
	}
	r.sentAt = time.Now()
	return c.read(r) && c.settled(r)
}

// pipeline sends two or three requests without waiting for answers. The first
// segment ends at any byte of the second head; the rest follows after a pause,
// or after the first answer.
func (c *client) pipeline(ctx context.Context) bool {
	rs := []*request{c.builder.simple(), c.builder.simple()}
	if c.rng.IntN(2) == 0 {
		rs = append(rs, c.builder.simple())
	}
	cut := c.between(0, rs[1].head+1)
	var rest []byte
	for i, r := range rs {
		r.shape += fmt.Sprintf(" (%d of %d pipelined, second head cut at %d)", i+1, len(rs), cut)
		if i > 0 {
			rest = append(rest, r.wire...)
		}
	}
	if !c.send(append(rs[0].wire, rest[:cut]...), rs[0]) {
		return false
	}
	rs[0].sentAt = time.Now()
	unread := rs
	if c.rng.IntN(2) == 0 {
		if !c.read(rs[0]) {
			return false
		}
		if c.conn.Closing() {
			return c.closed(rs[0], len(rs)-1)
		}
		unread = rs[1:]
	}
	if c.rng.IntN(2) == 0 {
		pause(ctx, c.upTo(c.load.Pause))
	}
	err := c.conn.Send(rest[cut:])
	for _, r := range rs[1:] {
		r.sentAt = time.Now()
	}
	return c.readAll(unread, err)
}

// readAll reads the answers to pipelined requests. sendErr, of sending the last
// of them, is forgiven if an answer before had announced the close.
func (c *client) readAll(rs []*request, sendErr error) bool {
	last := len(rs) - 1
	for i, r := range rs {
		if sendErr != nil && i == last {
			c.report.failed(sendErr, r)
			return false
		}
		if !c.read(r) {
			return false
		}
		if c.conn.Closing() && i < last {
			return c.closed(r, last-i)
		}
	}
	return c.settled(rs[last])
}

func (c *client) send(b []byte, r *request) bool {
	if err := c.conn.Send(b); err != nil {
		c.report.failed(err, r)
		return false
	}
	return true
}

// read reads the answer to r and verifies it.
func (c *client) read(r *request) bool {
	resp, err := c.conn.ReadHead(r.method)
	if err == nil {
		err = c.verify(r, resp)
	}
	if err != nil {
		c.report.failed(err, r)
		return false
	}
	latency := time.Since(r.sentAt)
	c.report.answered(resp, latency)
	if c.load.On != nil {
		c.load.On(&Request{ID: r.id, Method: r.method, Shape: r.shape, Latency: latency}, resp)
	}
	return true
}

func (c *client) verify(r *request, resp *Response) error {
	var err error
	if resp.Body, err = io.ReadAll(resp); err != nil {
		return err
	}
	if resp.Status != 200 {
		return c.conn.failure(Status, "read an answer", fmt.Errorf("status %d: %.200q", resp.Status, resp.Body))
	}
	if ids := resp.Header.Values("X-Id"); len(ids) != 1 || ids[0] != r.id {
		return c.conn.failure(Mismatch, "read an answer", fmt.Errorf("answer to %q", ids))
	}
	if r.method != "HEAD" && !bytes.Equal(resp.Body, r.want) {
		return c.conn.failure(Mismatch, "read an answer", fmt.Errorf("body %.200q, want %.200q", resp.Body, r.want))
	}
	return nil
}

// settled ends a turn: nothing is due on the connection any more.
func (c *client) settled(last *request) bool {
	if c.conn.Closing() {
		return c.closed(last, 0)
	}
	if c.conn.Buffered() > 0 {
		c.report.failed(c.conn.extra("end an exchange"), last)
		return false
	}
	return true
}

// closed follows a close that the server has announced, with that many
// requests sent or planned behind it, which the server may not answer.
func (c *client) closed(last *request, unserved int) bool {
	c.report.AnnouncedCloses++
	c.report.Unserved += int64(unserved)
	err := c.conn.ReadEOF()
	switch {
	case KindOf(err) == Reset:
		c.report.Resets++ // the answer was complete: nothing is lost
	case err != nil:
		c.report.failed(err, last)
		return false
	}
	if c.load.Closes == NeverCloses {
		c.report.failed(c.conn.failure(Closed, "end an exchange", fmt.Errorf("announced close, %d requests behind it", unserved)), last)
	}
	return false
}

// idle keeps silent for d and listens.
func (c *client) idle(d time.Duration) bool {
	err := c.conn.Idle(d)
	switch kind := KindOf(err); {
	case err == nil:
		return true
	case kind == Closed || kind == Reset:
		c.report.IdleCloses++
		if c.load.Closes == NeverCloses {
			c.report.failed(err, nil)
		} else if kind == Reset {
			c.report.Resets++
		}
	default:
		c.report.failed(err, nil)
	}
	return false
}

// between picks a number of [from, to).
func (c *client) between(from, to int) int { return from + c.rng.IntN(to-from) }

// upTo picks a duration of up to d, never 0.
func (c *client) upTo(d time.Duration) time.Duration {
	return 1 + time.Duration(c.rng.Int64N(int64(d)))
}

// pause waits for d or until ctx ends. It shapes the traffic and stands for no
// acknowledgement of anything.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
