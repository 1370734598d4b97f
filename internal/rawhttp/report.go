package rawhttp

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"
)

const maxDetails = 8 // failures that a Report describes; all are counted

// Report is what a Load saw.
type Report struct {
	Seed     uint64
	Elapsed  time.Duration
	Requests int64 // answered, each verified
	Failures int64 // of any kind
	ByKind   map[Kind]int64
	Details  []*Failure // the first few

	Opened          int64 // connections
	AnnouncedCloses int64 // by the server, with Connection: close
	IdleCloses      int64 // by the server, of an idle connection, unannounced
	Resets          int64 // by the server
	Unserved        int64 // requests behind an announced close: the server need not answer them

	P50, P99, Max time.Duration // latency; the quantiles are exact to 1/16

	// Verified answers by X-Pid, X-Generation and X-Version, where there was one.
	Pids, Generations, Versions map[string]int64

	latencies histogram
}

func newReport(seed uint64) *Report {
	return &Report{Seed: seed, ByKind: map[Kind]int64{}, Pids: map[string]int64{},
		Generations: map[string]int64{}, Versions: map[string]int64{}}
}

// Err returns nil if nothing failed, otherwise the failures as one error.
func (r *Report) Err() error {
	if r.Failures == 0 {
		return nil
	}
	errs := []error{fmt.Errorf("%d failures (seed %d)", r.Failures, r.Seed)}
	for _, f := range r.Details {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

// String is the whole report on a few lines, failures excepted.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests in %v, %.0f/s, seed %d; %d failures", r.Requests,
		r.Elapsed.Round(time.Millisecond), float64(r.Requests)/r.Elapsed.Seconds(), r.Seed, r.Failures)
	for _, k := range slices.Sorted(maps.Keys(r.ByKind)) {
		fmt.Fprintf(&b, " %s=%d", k, r.ByKind[k])
	}
	fmt.Fprintf(&b, "\nconnections: %d opened; by the server: %d announced closes (%d requests behind), %d idle closes, %d resets",
		r.Opened, r.AnnouncedCloses, r.Unserved, r.IdleCloses, r.Resets)
	fmt.Fprintf(&b, "\nlatency: p50 %v, p99 %v, max %v", r.P50, r.P99, r.Max)
	for _, tag := range []struct {
		name string
		m    map[string]int64
	}{{"pids", r.Pids}, {"generations", r.Generations}, {"versions", r.Versions}} {
		if len(tag.m) > 0 {
			fmt.Fprintf(&b, "\n%s: %v", tag.name, tag.m)
		}
	}
	return b.String()
}

func (r *Report) failed(err error, req *request) {
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		f = &Failure{Kind: Network, Op: "exchange", Err: err}
	}
	if req != nil {
		f.Request = req.String()
	}
	r.Failures++
	r.ByKind[f.Kind]++
	if f.Kind == Reset {
		r.Resets++
	}
	if len(r.Details) < maxDetails {
		r.Details = append(r.Details, f)
	}
}

func (r *Report) answered(resp *Response, latency time.Duration) {
	r.Requests++
	r.latencies.add(latency)
	r.Max = max(r.Max, latency)
	for name, m := range map[string]map[string]int64{
		"X-Pid": r.Pids, "X-Generation": r.Generations, "X-Version": r.Versions} {
		if v := resp.Header.Value(name); v != "" {
			m[v]++
		}
	}
}

// merge adds o, the report of one connection.
func (r *Report) merge(o *Report) {
	r.Requests += o.Requests
	r.Failures += o.Failures
	r.Opened += o.Opened
	r.AnnouncedCloses += o.AnnouncedCloses
	r.IdleCloses += o.IdleCloses
	r.Resets += o.Resets
	r.Unserved += o.Unserved
	r.Max = max(r.Max, o.Max)
	r.Details = append(r.Details, o.Details[:min(len(o.Details), maxDetails-len(r.Details))]...)
	for k, n := range o.ByKind {
		r.ByKind[k] += n
	}
	for _, m := range [][2]map[string]int64{{r.Pids, o.Pids}, {r.Generations, o.Generations}, {r.Versions, o.Versions}} {
		for k, n := range m[1] {
			m[0][k] += n
		}
	}
	r.latencies.merge(&o.latencies)
	r.P50, r.P99 = r.latencies.quantile(0.50), r.latencies.quantile(0.99)
}

// histogram counts durations in buckets: 16 for each power of two.
type histogram struct{ count [64 * 16]int64 }

func (h *histogram) add(d time.Duration) {
	v := uint64(max(d, 16))
	exp := bits.Len64(v) - 5 // v>>exp is 16 ... 31
	h.count[exp*16+int(v>>exp)-16]++
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.count {
		h.count[i] += n
	}
}

// quantile returns the lower bound of the bucket that holds the quantile q.
func (h *histogram) quantile(q float64) time.Duration {
	var total int64
	for _, n := range h.count {
		total += n
	}
	rank := int64(q * float64(total-1))
	for i, n := range h.count {
		if rank -= n; rank < 0 && n > 0 {
			return time.Duration(uint64(16+i%16) << (i / 16))
		}
	}
	return 0
}
