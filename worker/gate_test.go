package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"aerie/internal/rawhttp"
)

// visitor is one request at a gate under test, on a goroutine of its own.
type visitor struct {
	slot    slot
	upgrade bool
	leave   context.CancelCauseFunc // the client leaves
	result  chan error              // of enter
	err     error
	done    bool // enter has returned
}

var errLeft = errors.New("the client has left")

// arrive lets a visitor enter g.
func arrive(g *Gate, upgrade bool) *visitor {
	ctx, leave := context.WithCancelCause(context.Background())
	v := &visitor{upgrade: upgrade, leave: leave, result: make(chan error, 1)}
	r := httptest.NewRequest("GET", "/visit?n=1", nil).WithContext(ctx)
	go func() { v.result <- g.enter(r, &v.slot, upgrade) }()
	synctest.Wait()
	return v
}

// entered reports whether enter has returned, and how.
func (v *visitor) entered() (bool, error) {
	select {
	case v.err = <-v.result:
		v.done = true
	default:
	}
	return v.done, v.err
}

// gateInTime runs test in a bubble with a gate.
func gateInTime(t *testing.T, c Concurrency, test func(t *testing.T, g *Gate)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(c, func() int64 { return time.Now().UnixNano() }, func() {})
		test(t, g)
		if !g.idle() || g.upgrades != 0 {
			t.Errorf("at the end: %+v, %d upgrades", g.Stats(), g.upgrades)
		}
	})
}

// state checks which of the visitors are in.
func state(t *testing.T, what string, visitors []*visitor, want string) {
	t.Helper()
	got := ""
	for _, v := range visitors {
		switch done, err := v.entered(); {
		case !done:
			got += "w" // waits
		case err == nil:
			got += "i" // is in
		default:
			got += "x" // turned away
		}
	}
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestGateBoundsAndOrder(t *testing.T) {
	gateInTime(t, Concurrency{MaxConcurrent: 2, QueueLength: 3}, func(t *testing.T, g *Gate) {
		var v []*visitor
		for range 6 {
			v = append(v, arrive(g, false))
		}
		state(t, "six", v, "iiwwwx")
		if !errors.Is(v[5].err, errQueueFull) {
			t.Errorf("the sixth: %v", v[5].err)
		}
		if s := g.Stats(); s.Active != 2 || s.Queued != 3 || s.Requests != 6 {
			t.Errorf("%+v", s)
		}
		for i, want := range []string{"iiiwwx", "iiiiwx", "iiiiix", "iiiiix", "iiiiix"} {
			g.leave(&v[i].slot)
			synctest.Wait()
			state(t, fmt.Sprintf("%d have left", i+1), v, want)
		}
	})
}

func TestGateQueueTimeout(t *testing.T) {
	gateInTime(t, Concurrency{MaxConcurrent: 1, QueueLength: 10, QueueTimeout: 3 * time.Second}, func(t *testing.T, g *Gate) {
		v := []*visitor{arrive(g, false), arrive(g, true)}
		time.Sleep(2 * time.Second)
		v = append(v, arrive(g, false))
		time.Sleep(2 * time.Second)
		state(t, "after 4 s", v, "ixw")
		if !errors.Is(v[1].err, errQueueTimeout) {
			t.Error(v[1].err)
		}
		g.leave(&v[0].slot)
		synctest.Wait()
		state(t, "after the first has left", v, "ixi")
		g.leave(&v[2].slot)
	})
}

func TestGateClientLeaves(t *testing.T) {
	gateInTime(t, Concurrency{MaxConcurrent: 1, QueueLength: 3}, func(t *testing.T, g *Gate) {
		v := []*visitor{arrive(g, false), arrive(g, false), arrive(g, true), arrive(g, false)}
		v[1].leave(errLeft)
		v[2].leave(errLeft)
		synctest.Wait()
		state(t, "two have left the queue", v, "ixxw")
		if !errors.Is(v[1].err, errLeft) {
			t.Error(v[1].err)
		}
		v = append(v, arrive(g, false), arrive(g, false))
		state(t, "their places are free", v, "ixxwww")
		for _, i := range []int{0, 3, 4, 5} {
			g.leave(&v[i].slot)
			synctest.Wait()
		}
		state(t, "all", v, "ixxiii")
	})
}

func TestGateStreams(t *testing.T) {
	gateInTime(t, Concurrency{MaxConcurrent: 2, QueueLength: 5, MaxStreams: 2}, func(t *testing.T, g *Gate) {
		v := []*visitor{arrive(g, true), arrive(g, false), arrive(g, true), arrive(g, true), arrive(g, false)}
		// The fourth would be one too many, be it that none is a stream yet.
		state(t, "before", v, "iiwxw")
		if !errors.Is(v[3].err, errStreamsFull) {
			t.Error(v[3].err)
		}
		v[0].slot.promote()
		v[0].slot.promote()
		synctest.Wait()
		state(t, "the first is a stream", v, "iiixw")
		v[2].slot.promote()
		synctest.Wait()
		state(t, "the third too", v, "iiixi")
		if s := g.Stats(); s.Streams != 2 || s.Active != 2 {
			t.Errorf("%+v", s)
		}
		g.leave(&v[0].slot)
		v = append(v, arrive(g, true))
		state(t, "a stream has left", v, "iiixiw")
		for _, i := range []int{2, 1, 4, 5} {
			g.leave(&v[i].slot)
			synctest.Wait()
		}
	})
}

// An upgrade that did not happen gives its claim back.
func TestGateUpgradeThatIsNone(t *testing.T) {
	gateInTime(t, Concurrency{MaxStreams: 1}, func(t *testing.T, g *Gate) {
		for range 3 {
			v := arrive(g, true)
			if _, err := v.entered(); err != nil {
				t.Error(err)
			}
			g.leave(&v.slot)
		}
		if s := g.Stats(); s.Requests != 3 || s.Finished != 3 {
			t.Errorf("%+v, want 3 requests, all finished", s)
		}
	})
}

func TestGateLongRequestsAreStreams(t *testing.T) {
	gateInTime(t, Concurrency{MaxConcurrent: 2, QueueLength: 5, MaxStreams: 2, StreamAfter: 30 * time.Second}, func(t *testing.T, g *Gate) {
		v := []*visitor{arrive(g, false)}
		time.Sleep(20 * time.Second)
		v = append(v, arrive(g, false), arrive(g, false), arrive(g, false), arrive(g, false))
		beat := func() {
			g.beat(time.Now().UnixNano())
			synctest.Wait()
		}
		beat()
		state(t, "after 20 s", v, "iiwww")
		time.Sleep(11 * time.Second)
		beat()
		state(t, "after 31 s", v, "iiiww")
		if s := g.Stats(); s.Oldest != 11*time.Second || s.Streams != 1 || s.Active != 2 {
			t.Errorf("%+v", s)
		}
		time.Sleep(20 * time.Second)
		beat()
		state(t, "after 51 s", v, "iiiiw")
		time.Sleep(time.Hour)
		beat()
		state(t, "there are as many streams as may be", v, "iiiiw")
		g.leave(&v[0].slot)
		beat()
		state(t, "one less", v, "iiiii")
		for _, v := range v[1:] {
			g.leave(&v.slot)
		}
	})
}

func TestGateConfigure(t *testing.T) {
	gateInTime(t, Concurrency{MaxConcurrent: 1, QueueLength: 5}, func(t *testing.T, g *Gate) {
		var v []*visitor
		for range 5 {
			v = append(v, arrive(g, false))
		}
		g.Configure(Concurrency{MaxConcurrent: 3, QueueLength: 2})
		synctest.Wait()
		state(t, "three", v, "iiiww")
		if late := arrive(g, false); !errors.Is(<-late.result, errQueueFull) {
			t.Error("a third one waits")
		}
		g.Configure(Concurrency{MaxConcurrent: 1, QueueLength: 2})
		g.leave(&v[0].slot)
		synctest.Wait()
		state(t, "one, but two are in already", v, "iiiww")
		g.Configure(Concurrency{})
		synctest.Wait()
		state(t, "no limit", v, "iiiii")
		for _, v := range v[1:] {
			g.leave(&v.slot)
		}
	})
}

// model is what a gate must do, written down without any of its means.
type model struct {
	limits                   Concurrency
	active, streams, waiting []*visitor
	turnedAway               map[*visitor]error
	total                    uint64
}

func (m *model) upgrades() (n int) {
	for _, v := range append(slices.Clone(m.active), m.waiting...) {
		if v.upgrade {
			n++
		}
	}
	return n
}

func (m *model) admit() {
	for len(m.waiting) > 0 && (m.limits.MaxConcurrent == 0 || len(m.active) < m.limits.MaxConcurrent) {
		m.active, m.waiting = append(m.active, m.waiting[0]), m.waiting[1:]
	}
}

func (m *model) enter(v *visitor) {
	m.total++
	switch {
	case v.upgrade && m.limits.MaxStreams > 0 && len(m.streams)+m.upgrades() >= m.limits.MaxStreams:
		m.turnedAway[v] = errStreamsFull
	case m.limits.MaxConcurrent > 0 && len(m.active) >= m.limits.MaxConcurrent && len(m.waiting) >= m.limits.QueueLength:
		m.turnedAway[v] = errQueueFull
	default:
		m.waiting = append(m.waiting, v)
		m.admit()
	}
}

func (m *model) remove(from *[]*visitor, i int) *visitor {
	v := (*from)[i]
	*from = slices.Delete(slices.Clone(*from), i, i+1)
	return v
}

// A gate does what the model does, over thousands of random steps.
func TestGateAgainstModel(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			gateInTime(t, Concurrency{MaxConcurrent: 3, QueueLength: 4, MaxStreams: 5}, func(t *testing.T, g *Gate) {
				againstModel(t, g, rand.New(rand.NewPCG(seed, 0)))
			})
		})
	}
}

func againstModel(t *testing.T, g *Gate, rng *rand.Rand) {
	left := 0
	g.left = func() { left++ }
	m := &model{limits: g.limits, turnedAway: map[*visitor]error{}}
	wantLeft, all := 0, []*visitor(nil)
	for step := range 2000 {
		switch op := rng.IntN(10); {
		case op < 4:
			v := arrive(g, rng.IntN(3) == 0)
			all = append(all, v)
			m.enter(v)
		case op < 6 && len(m.active) > 0:
			g.leave(&m.remove(&m.active, rng.IntN(len(m.active))).slot)
			wantLeft++
		case op == 6 && len(m.streams) > 0:
			g.leave(&m.remove(&m.streams, rng.IntN(len(m.streams))).slot)
			wantLeft++
		case op == 7 && len(m.active) > 0:
			v := m.remove(&m.active, rng.IntN(len(m.active)))
			v.slot.promote()
			m.streams = append(m.streams, v)
		case op == 8 && len(m.waiting) > 0:
			v := m.remove(&m.waiting, rng.IntN(len(m.waiting)))
			v.leave(errLeft)
			m.turnedAway[v] = errLeft
		case op == 9:
			m.limits = Concurrency{MaxConcurrent: rng.IntN(5), QueueLength: rng.IntN(6), MaxStreams: rng.IntN(6)}
			g.Configure(m.limits)
		}
		m.admit()
		synctest.Wait()
		if s := g.Stats(); s.Active != len(m.active) || s.Streams != len(m.streams) || s.Queued != len(m.waiting) || s.Requests != m.total {
			t.Fatalf("step %d: %+v, want %d active, %d streams, %d waiting, %d in all", step, s, len(m.active), len(m.streams), len(m.waiting), m.total)
		}
		for _, v := range all {
			done, err := v.entered()
			if want := !slices.Contains(m.waiting, v); done != want || !errors.Is(err, m.turnedAway[v]) {
				t.Fatalf("step %d: entered %v (%v), want %v (%v)", step, done, err, want, m.turnedAway[v])
			}
		}
		all = slices.DeleteFunc(all, func(v *visitor) bool { return v.done })
	}
	m.limits = Concurrency{}
	g.Configure(m.limits)
	m.admit()
	synctest.Wait()
	for _, v := range append(m.active, m.streams...) {
		g.leave(&v.slot)
		wantLeft++
	}
	if left != wantLeft {
		t.Errorf("left was called %d times, want %d", left, wantLeft)
	}
}

// Many goroutines at once: the bound holds, and nobody is forgotten.
func TestGateConcurrently(t *testing.T) {
	const bound = 4
	var inside, left, wantLeft atomic.Int64
	g := newGate(Concurrency{MaxConcurrent: bound, QueueLength: 8, QueueTimeout: time.Millisecond, MaxStreams: 3},
		func() int64 { return time.Now().UnixNano() }, func() { left.Add(1) })
	var wg sync.WaitGroup
	for n := range uint64(24) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(n, 0))
			var s slot
			for range 500 {
				ctx, leave := context.WithCancel(context.Background())
				if rng.IntN(4) == 0 {
					go leave()
				}
				upgrade := rng.IntN(4) == 0
				err := g.enter(httptest.NewRequest("GET", "/", nil).WithContext(ctx), &s, upgrade)
				if err == nil {
					if n := inside.Add(1); n > bound {
						t.Errorf("%d at once", n)
					}
					g.beat(time.Now().UnixNano())
					inside.Add(-1)
					if upgrade {
						s.promote()
					}
					wantLeft.Add(1)
					g.leave(&s)
				}
				leave()
			}
		})
	}
	wg.Wait()
	if !g.idle() || g.upgrades != 0 || left.Load() != wantLeft.Load() || wantLeft.Load() == 0 {
		t.Errorf("at the end: %+v, %d upgrades, left called %d times of %d", g.Stats(), g.upgrades, left.Load(), wantLeft.Load())
	}
}

// What a client sees of a full gate, and that an upgrade gives its slot back.
func TestGateAnswers(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, addr := serve(t, Options{Concurrency: Concurrency{MaxConcurrent: 1, MaxStreams: 1}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wantsUpgrade(r) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }() // the client sees the end
			if _, err := conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")); err != nil {
				t.Error(err)
			}
		}
		entered <- struct{}{}
		<-leave
	}))
	const upgrade = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
	first, second, third := dial(t, addr), dial(t, addr), dial(t, addr)
	send(t, first, upgrade)
	<-entered // a stream
	send(t, third, upgrade)
	if r := read(t, third, "GET", 503); !strings.Contains(string(r.Body), "503.2 ") {
		t.Errorf("page %q", r.Body)
	}
	send(t, second, "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
	<-entered // has the slot
	send(t, third, get(1))
	if r := read(t, third, "GET", 503); r.Header.Value("Retry-After") == "" || r.Close {
		t.Errorf("Retry-After %q, close announced %v", r.Header.Value("Retry-After"), r.Close)
	}
	if st := s.Stats(); st.Streams != 1 || st.Active != 1 {
		t.Errorf("%+v", st)
	}
	close(leave)
	read(t, second, "GET", 200)
	eventually(t, "all have left", s.gate.idle)
}

// A client that leaves while its request waits makes room for others.
func TestGateNoticesThatTheClientLeaves(t *testing.T) {
	entered, leave := make(chan struct{}, 1), make(chan struct{})
	s, addr := serve(t, Options{Concurrency: Concurrency{MaxConcurrent: 1, QueueLength: 1}}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	}))
	clients := []*rawhttp.Conn{dial(t, addr), dial(t, addr), dial(t, addr)}
	send(t, clients[0], get(1))
	<-entered
	send(t, clients[1], get(2))
	eventually(t, "one waits", func() bool { return s.Stats().Queued == 1 })
	if err := clients[1].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has left", func() bool { return s.Stats().Queued == 0 })
	send(t, clients[2], get(3))
	eventually(t, "another one waits", func() bool { return s.Stats().Queued == 1 })
	close(leave)
	read(t, clients[0], "GET", 200)
	read(t, clients[2], "GET", 200)
}

// A gate of a part of the requests beats with the server, until it is removed.
func TestNewGate(t *testing.T) {
	s := newServer(t, Options{})
	g := s.NewGate(Concurrency{MaxConcurrent: 1, StreamAfter: time.Nanosecond})
	entered, leave := make(chan struct{}), make(chan struct{})
	s.SetTable(OneApplication(g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	})), s.opts.Logger))
	c := dial(t, open(t, s))
	send(t, c, get(1))
	<-entered
	eventually(t, "a long request is a stream", func() bool { return g.Stats().Streams == 1 })
	if n := s.Stats().Streams; n != 0 {
		t.Errorf("%d streams in the server's own gate", n)
	}
	s.RemoveGate(g)
	close(leave)
	read(t, c, "GET", 200)
	eventually(t, "all have left", g.idle)
}
