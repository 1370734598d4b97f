package apppool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"aerie/config"
)

// machine is all that the pool's goroutine owns: nobody else touches it. It moves
// by the table in state.go; no call to a worker is made here, except those that
// do not block.
type machine struct {
	p        *Pool
	state    state
	settings *config.Pool // in force

	current *generation   // serves
	next    *generation   // its start is in flight
	pending order         // follows that start; without callers there is none
	leaving []*generation // drain, stop, or are starts that were cancelled; oldest first

	number   int // of the last generation
	failures int // in a row
	crashes  crashes
	tooMany  bool // the last failure was one too many
	timer    *time.Timer
	retry    <-chan time.Time // yields in states backoff and failed only

	status  Status // what it counts and keeps for the snapshot
	replies []reply
}

// order is what the pool is told to do.
type order struct {
	event    event
	reason   string
	settings *config.Pool // to run with; nil: those in force
	fresh    bool         // a new generation is asked for even if the settings need none
	callers  []caller
}

// caller waits for the outcome of an order.
type caller struct {
	reply    chan<- error
	settings bool // it brought settings, and a stop does not keep them from holding
}

// reply is an outcome on its way to a caller.
type reply struct {
	to  caller
	err error
}

// note says why the state changed.
type note struct {
	level  slog.Level
	reason string
	attrs  []any
}

func newMachine(p *Pool, settings *config.Pool, expected bool) *machine {
	m := &machine{p: p, settings: settings}
	switch {
	case !expected:
		m.open(&gate{err: ErrStopped})
	case settings.Start == config.StartOnDemand:
		m.state = idle
		m.open(&gate{asleep: true})
	default:
		m.open(&gate{})
	}
	m.publish()
	return m
}

// run is the pool's goroutine.
func (m *machine) run() {
	p := m.p
	defer close(p.done)
	defer p.end(ErrClosed)
	defer p.tasks.Wait()
	for {
		var crashed <-chan struct{}
		if m.current != nil {
			crashed = m.current.done
		}
		select {
		case o := <-p.orders:
			m.order(o)
		case s := <-p.started:
			m.onStarted(s)
		case d := <-p.departed:
			m.onDeparted(d)
		case <-p.demands:
			m.apply(evDemand, order{reason: "a request came"}, nil)
		case f := <-p.findings:
			m.onFinding(f)
		case <-crashed:
			m.apply(evCrashed, order{}, nil)
			m.judge()
		case <-m.retry:
			m.apply(evRetry, order{}, nil)
		case <-p.closing:
			m.close()
			return
		}
		m.follow()
		m.publish()
	}
}

// close stops the pool and returns when nothing of it is left.
func (m *machine) close() {
	m.p.noHooks()
	m.apply(evStop, order{reason: "close"}, nil)
	m.open(&gate{err: ErrClosed})
	m.publish()
	for len(m.leaving) > 0 {
		select {
		case s := <-m.p.started:
			m.onStarted(s)
		case d := <-m.p.departed:
			m.onDeparted(d)
		}
		m.publish()
	}
}

// order carries out an order.
func (m *machine) order(o order) {
	switch {
	case o.settings != nil:
		m.reconfigure(o)
	case o.event != evStop && m.settings.Program == nil:
		m.answer(o.callers, errors.New("no application names the pool: it has no program"))
	default:
		o.fresh = o.event == evRecycle
		m.apply(o.event, o, nil)
	}
}

// reconfigure carries out an order that brings settings.
func (m *machine) reconfigure(o order) {
	changing := m.next != nil && m.next.changes || m.pending.settings != nil
	switch {
	case o.settings.Program == nil:
		m.apply(evStop, order{reason: "no application names the pool"}, nil)
		m.abort(o)
	case !changing && !o.fresh && !needsGeneration(m.settings, o.settings):
		m.adopt(o)
	default:
		o.reason = joinReasons(o.reason, changeReason(m.settings, o.settings))
		m.apply(evReconfigure, o, nil)
	}
}

// follow carries out what waited for the start that was in flight.
func (m *machine) follow() {
	if m.next != nil || len(m.pending.callers) == 0 {
		return
	}
	o := m.pending
	m.pending = order{}
	if o.settings != nil {
		m.reconfigure(o)
		return
	}
	m.apply(evRecycle, o, nil)
}

// onStarted is told of the outcome of a start.
func (m *machine) onStarted(s started) {
	g, err := s.gen, s.err
	if err == nil {
		g.worker, g.done, g.readyAt = s.worker, s.worker.Done(), time.Now()
		select {
		case <-g.done: // the current generation is not swapped for a dead one
			g.dead, err = true, endedAtOnce(g)
		default:
		}
	}
	if g == m.next { // it was not cancelled
		if err == nil {
			m.apply(evReady, order{}, nil)
			return
		}
		m.apply(evUnready, order{}, err)
		m.judge()
	}
	if g.worker == nil {
		m.forget(g)
		return
	}
	m.retire(g)
}

// onDeparted is told that nothing of a generation is left.
func (m *machine) onDeparted(d departed) {
	level, cut := slog.LevelInfo, ""
	if d.cause != nil {
		m.status.Cut++
		level, cut = slog.LevelWarn, d.cause.Error()
	}
	attrs := []any{"generation", d.gen.number, "drain_took", d.drained, "stop_took", d.stopped, "cut", cut,
		"requests_left", d.left.Active + d.left.Queued, "streams_left", d.left.Streams,
		"connections_left", d.left.Connections, "leases_left", d.leases}
	if d.err != nil {
		level, attrs = slog.LevelError, append(attrs, "error", d.err)
	}
	m.p.log.Log(context.Background(), level, "generation ended", attrs...)
	m.forget(d.gen)
}

// forget drops a generation of which nothing is left.
func (m *machine) forget(g *generation) {
	m.leaving = slices.DeleteFunc(m.leaving, func(l *generation) bool { return l == g })
	m.publish() // before Stop and Drained return
	close(g.gone)
}

// apply moves the machine by the table's cell for e. err belongs to evUnready.
func (m *machine) apply(e event, o order, err error) {
	if m.state == running && (e == evRecycle || e == evReconfigure) && !overlaps(m.settings, o.settings) {
		e = evReplace
	}
	from, step := m.state, m.state.on(e)
	if step.do == never {
		m.p.impossible(from, e)
		return
	}
	m.state = step.next
	n := m.act(step.do, o, err)
	if m.state == from {
		return
	}
	attrs := append([]any{"from", from.String(), "to", m.state.String(), "reason", n.reason}, n.attrs...)
	m.p.log.Log(context.Background(), n.level, "pool state changed", attrs...)
}

// act carries out one action of the table.
func (m *machine) act(do action, o order, err error) note {
	switch do {
	case answer:
		m.answer(o.callers, nil)
	case join:
		m.next.callers = append(m.next.callers, o.callers...)
	case pend:
		m.pend(o)
	case adopt:
		m.adopt(o)
	case begin:
		return m.begin(o)
	case replace:
		return m.replace(o)
	case serve:
		return m.serve()
	case keep:
		return m.refuse(err)
	case delay:
		n := m.refuse(err)
		m.failed()
		m.arm(0, &n)
		if len(m.pending.callers) == 0 && !m.tooMany { // otherwise another start, or the end, follows at once
			m.open(&gate{err: m.refusal(err)})
		}
		return n
	case revive:
		n, served := m.bury()
		m.failed()
		m.arm(served, &n)
		return n
	case bury:
		n, served := m.bury()
		m.failed()
		m.failures, _ = nextRestart(m.failures, served, m.settings.RestartDelay, m.settings.RestartDelayMax)
		return n
	case rest:
		return m.rest(o)
	case halt:
		return m.halt(o)
	case fail:
		return m.fail()
	case anew:
		m.crashes = nil
		return m.begin(o)
	case chance:
		m.crashes = secondChance(time.Now(), m.settings.Failure)
		return m.begin(order{reason: "second chance"})
	}
	return note{reason: o.reason}
}

// answer notes the outcome of an order for its callers. They get it from publish,
// so that each finds its work in the status.
func (m *machine) answer(to []caller, err error) {
	for _, c := range to {
		m.replies = append(m.replies, reply{c, err})
	}
}

// publish makes the state visible and sends the replies.
func (m *machine) publish() {
	m.p.snapshot.Store(m.shot())
	for _, r := range m.replies {
		r.to.reply <- r.err // buffered: one reply for each caller
	}
	m.replies = nil
}

// shot is the snapshot of the machine.
func (m *machine) shot() *snapshot {
	s := &snapshot{status: m.status, state: m.state, leaving: slices.Clone(m.leaving)}
	s.status.Name, s.status.Generation = m.p.name, m.number
	if m.settings.Program != nil {
		s.status.Hosting = m.settings.Program.Hosting
	}
	for _, g := range m.leaving {
		if g.drains() {
			s.members = append(s.members, member{g.number, "draining", g.worker})
		}
	}
	if g := m.current; g != nil {
		s.status.Generation, s.status.Hosting = g.number, g.pool.Program.Hosting
		s.members = append(s.members, member{g.number, "running", g.worker})
	}
	if g := m.next; g != nil {
		s.members = append(s.members, member{g.number, "starting", nil})
	}
	return s
}

// open puts a gate at the door, with the limits in force.
func (m *machine) open(g *gate) {
	g.length, g.timeout = m.settings.QueueLength, m.settings.QueueTimeout
	g.next = make(chan struct{})
	if old := m.p.gate.Swap(g); old != nil {
		close(old.next)
	}
}

// joinReasons joins reasons into one line, each once.
func joinReasons(a, b string) string {
	const comma = "; "
	switch {
	case a == "":
		return b
	case b == "" || slices.Contains(strings.Split(a, comma), b):
		return a
	}
	return a + comma + b
}

// endedAtOnce is the error of a start whose process ended before it could serve.
func endedAtOnce(g *generation) error {
	exit := g.worker.Exit()
	sub := "500.30"
	if g.pool.Program.Hosting == config.OutOfProcess {
		sub = "502.5"
	}
	return &StartError{SubStatus: sub, Reason: "the process ended as soon as it was ready", Exit: exit.Status, Output: exit.Output}
}

// printed are the last lines that a start which did not succeed has printed.
func printed(err error) []string {
	if e, ok := errors.AsType[*StartError](err); ok {
		return e.Output
	}
	return nil
}

// refusal is what Acquire returns after a start that did not succeed.
func (m *machine) refusal(err error) error {
	return fmt.Errorf("pool %q did not start: %w", m.p.name, err)
}
