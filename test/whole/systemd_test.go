//go:build linux

package whole

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"aerie/test/hosttest"
)

// managed is a host of one out-of-process site with the given bindings.
func managed(t *testing.T, bindings ...string) *hosttest.Host {
	t.Helper()
	return hosttest.New(t, sitesOn(bindings...), map[string]string{"one": hosttest.Bin(t, "aerie/test/apps/behave")})
}

func sitesOn(bindings ...string) string {
	return fmt.Sprintf("[[sites]]\nname = \"one\"\nbindings = [\"%s\"]\napps = [{ pool = \"one\", process = \"one\", hosting = \"outofprocess\" }]\n",
		strings.Join(bindings, `", "`))
}

// answers asks a site on an address of its own for an answer.
func answers(t *testing.T, address string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err == nil {
		err = exchange(c)
	}
	if err != nil {
		t.Errorf("%s: %v", address, err)
	}
}

// exchange sends a request on a connection, reads its answer, and closes it.
func exchange(c net.Conn) error {
	defer func() { _ = c.Close() }() // all was read
	if err := c.SetDeadline(time.Now().Add(hosttest.Limit)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "GET /pid HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }() // it ends with the connection
	if r.StatusCode != 200 {
		return fmt.Errorf("status %d", r.StatusCode)
	}
	return nil
}

func reload(t *testing.T, h *hosttest.Host, sites string) {
	t.Helper()
	h.WriteSites(sites)
	if out, err := h.CLI("reload"); err != nil {
		t.Fatalf("reload: %v\n%s\n%s", err, out, h.Log())
	}
}

func monotonicMicros(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// TestServiceManagerIsTold follows what a host tells systemd in its life: that it
// is ready when its bindings answer, what it stores, reloads, and its end.
func TestServiceManagerIsTold(t *testing.T) {
	for name, abstract := range map[string]bool{"path": false, "abstract": true} {
		t.Run(name, func(t *testing.T) {
			h := managed(t, "http://127.0.0.1:PORT")
			m := manage(t, h, abstract)
			early := make(chan error, 10)
			m.onReady = func() { early <- dial(h.Addr) }
			h.Start()
			text := m.wait(h, 0, "READY=1")
			if err := <-early; err != nil {
				t.Errorf("at READY=1 the binding does not answer: %v", err)
			}
			if !strings.Contains(text, "\nSTATUS=Serving; sites: 1, pools: 1") {
				t.Errorf("READY=1 with %q", text)
			}
			one, two := "aerie-127.0.0.1-"+h.Port, "aerie-127.0.0.2-"+h.Port
			want(t, first(m.since(0)), "FDSTORE=1 READY=1")
			want(t, strings.Join(m.names(), " "), one)
			tellsReloads(t, h, m)
			want(t, strings.Join(m.names(), " "), one+" "+two)

			n := len(m.since(0))
			h.Signal(syscall.SIGTERM)
			if err := h.Exited(); err != nil {
				t.Error(err)
			}
			want(t, m.wait(h, n, "STOPPING=1"), "STOPPING=1\nSTATUS=Finishing what was begun")
			want(t, strings.Join(m.names(), " "), one+" "+two) // for the next host, if it is a restart
		})
	}
}

func tellsReloads(t *testing.T, h *hosttest.Host, m *manager) {
	t.Helper()
	n, begin := len(m.since(0)), monotonicMicros(t)
	reload(t, h, sitesOn("http://127.0.0.1:PORT", "http://127.0.0.2:PORT"))
	m.wait(h, n, "READY=1")
	want(t, first(m.since(n)), "RELOADING=1 FDSTORE=1 READY=1")
	_, usec, _ := strings.Cut(m.since(n)[0], "\nMONOTONIC_USEC=")
	if at, err := strconv.ParseInt(usec, 10, 64); err != nil || at < begin || at > monotonicMicros(t) {
		t.Errorf("MONOTONIC_USEC=%q, not between %d and now", usec, begin)
	}
	answers(t, "127.0.0.2:"+h.Port)

	n = len(m.since(0))
	h.WriteSites("nonsense = 1\n" + sitesOn("http://127.0.0.1:PORT"))
	if _, err := h.CLI("reload"); err == nil {
		t.Fatal("nonsense was put in force")
	}
	if text := m.wait(h, n, "READY=1"); !strings.Contains(text, "the last reload was refused: ") || !strings.Contains(text, "nonsense") {
		t.Errorf("after a refused reload: %q", text)
	}
}

// TestAddressesComeAndGo reloads with addresses that go, come back, and give way
// to any address. The service manager is slow to close what is removed from its
// store, and in nobody's way.
func TestAddressesComeAndGo(t *testing.T) {
	h := managed(t, "http://127.0.0.1:PORT", "http://127.0.0.2:PORT")
	m := manage(t, h, false)
	m.slow = true
	h.Start()
	one, two := "aerie-127.0.0.1-"+h.Port, "aerie-127.0.0.2-"+h.Port
	want(t, strings.Join(m.names(), " "), one+" "+two)
	n := len(m.since(0))
	reload(t, h, sitesOn("http://127.0.0.1:PORT"))
	m.wait(h, n, "READY=1")
	want(t, first(m.since(n)), "RELOADING=1 FDSTOREREMOVE=1 READY=1")
	want(t, strings.Join(m.names(), " "), one)
	if err := dial("127.0.0.2:" + h.Port); !refused(err) {
		t.Errorf("an address that is gone: %v", err)
	}
	reload(t, h, sitesOn("http://127.0.0.1:PORT", "http://127.0.0.2:PORT"))
	answers(t, "127.0.0.2:"+h.Port)
	reload(t, h, sitesOn("http://one.test:PORT")) // any address, in place of the two
	answers(t, "127.0.0.3:"+h.Port)
	want(t, strings.Join(m.names(), " "), "aerie-any-"+h.Port)
	reload(t, h, sitesOn("http://127.0.0.1:PORT"))
	answers(t, h.Addr)
	want(t, strings.Join(m.names(), " "), one)
}

// TestFailedStartKeepsStoredSockets restarts a host that was killed with an address
// in its configuration that somebody else has. Its clients wait until that is put right.
func TestFailedStartKeepsStoredSockets(t *testing.T) {
	h := managed(t, "http://127.0.0.1:PORT")
	m := manage(t, h, false)
	h.Start()
	h.Signal(syscall.SIGKILL)
	if err := h.Exited(); err == nil {
		t.Fatal("the host ended by itself")
	}
	taken, err := net.Listen("tcp", "127.0.0.2:"+h.Port)
	if err != nil {
		t.Fatal(err)
	}
	h.WriteSites(sitesOn("http://127.0.0.1:PORT", "http://127.0.0.2:PORT"))
	waiting := connect(t, h.Addr, 1)[0]
	if out, err := h.Run().CombinedOutput(); err == nil || !strings.Contains(string(out), "address already in use") {
		t.Errorf("start with an address that is taken: %v\n%s", err, out)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	h.StartOnly()
	if err := exchange(waiting); err != nil {
		t.Error(err)
	}
	answers(t, "127.0.0.2:"+h.Port)
	if len(m.names()) != 2 {
		t.Errorf("stored: %v", m.names())
	}
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestKilledHostRefusesNobody kills the host and starts another one, with the
// sockets that were stored or with those of a socket unit. Nobody is refused at
// any moment, and clients that come while there is no host are answered by the next.
func TestKilledHostRefusesNobody(t *testing.T) {
	for name, unit := range map[string]bool{"stored": false, "unit": true} {
		t.Run(name, func(t *testing.T) {
			h := managed(t, "http://one.test:PORT")
			m := manage(t, h, false)
			if unit {
				m.unit("aerie.socket", "tcp", ":"+h.Port)
			}
			h.Start()
			m.wait(h, 0, "READY=1")
			answers(t, h.Addr)
			stop := knock(t, h.Addr)
			for range 2 {
				h.Signal(syscall.SIGKILL)
				if err := h.Exited(); err == nil {
					t.Fatal("the host ended by itself")
				}
				waiting := connect(t, h.Addr, 20)
				h.StartOnly()
				var asked sync.WaitGroup
				for _, c := range waiting {
					asked.Go(func() {
						if err := exchange(c); err != nil {
							t.Errorf("a client that came while there was no host: %v", err)
						}
					})
				}
				asked.Wait()
			}
			stop()
			stored := "aerie-any-" + h.Port
			if unit {
				stored = ""
			}
			want(t, strings.Join(m.names(), " "), stored)
		})
	}
}

// connect opens connections that nobody asks anything on yet.
func connect(t *testing.T, address string, n int) (out []net.Conn) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// knock connects again and again until stop: nobody may be refused.
func knock(t *testing.T, address string) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var tasks sync.WaitGroup
	times := 0
	tasks.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			if err := dial(address); refused(err) {
				t.Errorf("attempt %d: %v", times, err)
				return
			}
			times++
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		tasks.Wait()
		if times < 10 {
			t.Errorf("only %d attempts", times)
		}
	}
}

// TestPassedSockets passes sockets of a socket unit: one that a binding has the
// address of, one that no binding has, and half of another binding's. The host
// uses what fits, opens what is missing, and puts in the store only what is its own.
func TestPassedSockets(t *testing.T) {
	h := managed(t, "http://127.0.0.1:PORT", "http://127.0.0.2:PORT")
	m := manage(t, h, false)
	used := m.unit("web", "tcp", "127.0.0.1:"+h.Port)
	m.unit("other", "tcp", "127.0.0.3:"+h.Port)
	for i := range 10 {
		m.unit("more", "tcp", fmt.Sprintf("127.0.1.%d:%s", i+1, h.Port))
	}
	h.Start()
	answers(t, "127.0.0.1:"+h.Port)
	answers(t, "127.0.0.2:"+h.Port)
	want(t, strings.Join(m.names(), " "), "aerie-127.0.0.2-"+h.Port)
	if v, err := unix.GetsockoptInt(int(used.Fd()), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT); err != nil || v == 0 {
		t.Errorf("TCP_DEFER_ACCEPT of the socket that was passed: %d, %v", v, err)
	}
	warning := "socket=other address=127.0.0.3:" + h.Port
	if n := strings.Count(h.Log(), warning); n != 1 {
		t.Errorf("%q is %d times in the log", warning, n)
	}
	noListener(t, h)
	closedOnExec(t, h.Pid(), 12)

	// systemd goes on listening on an address that has gone, so that the socket
	// is the only way back to it.
	reload(t, h, sitesOn("http://127.0.0.2:PORT"))
	if err := dial(h.Addr); err != nil {
		t.Errorf("a socket unit's socket was closed: %v", err)
	}
	h.WriteSites(sitesOn("http://one.test:PORT"))
	if _, err := h.CLI("reload"); err == nil || !strings.Contains(err.Error(), `the service manager holds "`) {
		t.Errorf("listening on any address beside it: %v", err)
	}
	reload(t, h, sitesOn("http://127.0.0.1:PORT", "http://127.0.0.3:PORT"))
	answers(t, "127.0.0.1:"+h.Port)
	answers(t, "127.0.0.3:"+h.Port)
	want(t, strings.Join(m.names(), " "), "")
}

// noListener fails if a worker process has inherited a listening socket.
func noListener(t *testing.T, h *hosttest.Host) {
	t.Helper()
	listening := map[string]bool{}
	sockets := func(pid int) (out []string) {
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, "socket:") {
				out = append(out, to)
			}
		}
		return out
	}
	tables := 0
	for _, s := range sockets(h.Pid()) {
		listening[s] = true
		tables++
	}
	if tables == 0 {
		t.Error("the host has no sockets")
	}
	for _, s := range sockets(h.Pool("one").Workers[0].Pid) {
		if listening[s] {
			t.Errorf("the worker process has the host's %s", s)
		}
	}
}

// closedOnExec fails if one of the n descriptors that a process was passed would
// be inherited.
func closedOnExec(t *testing.T, pid, n int) {
	t.Helper()
	flags := regexp.MustCompile(`(?m)^flags:\s+0*([0-7]+)$`)
	for fd := 3; fd < 3+n; fd++ {
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
		if err != nil {
			t.Fatal(err)
		}
		m := flags.FindSubmatch(info)
		if m == nil {
			t.Fatalf("descriptor %d: %s", fd, info)
		}
		if v, err := strconv.ParseInt(string(m[1]), 8, 64); err != nil || v&unix.O_CLOEXEC == 0 {
			t.Errorf("descriptor %d has flags %s, %v: it is inherited", fd, m[1], err)
		}
	}
}

// TestPassedHalfOfAny passes the socket of one family for a binding on any
// address: the other one is opened beside it.
func TestPassedHalfOfAny(t *testing.T) {
	for _, half := range []struct{ network, address string }{{"tcp4", "0.0.0.0"}, {"tcp6", "[::]"}} {
		t.Run(half.network, func(t *testing.T) {
			h := managed(t, "http://one.test:PORT")
			m := manage(t, h, false)
			m.unit("web", half.network, half.address+":"+h.Port)
			h.Start()
			answers(t, "127.0.0.1:"+h.Port)
			answers(t, "[::1]:"+h.Port)
			if len(m.names()) != 1 {
				t.Errorf("stored: %v", m.names())
			}
		})
	}
}

// TestStoredSocketThatNobodyWants starts a host whose configuration has changed
// since the last one was killed.
func TestStoredSocketThatNobodyWants(t *testing.T) {
	h := managed(t, "http://127.0.0.1:PORT")
	m := manage(t, h, false)
	m.slow = true
	h.Start()
	h.Signal(syscall.SIGKILL)
	if err := h.Exited(); err == nil {
		t.Fatal("the host ended by itself")
	}
	h.WriteSites(sitesOn("http://one.test:PORT"))
	h.StartOnly()
	answers(t, "127.0.0.2:"+h.Port)
	want(t, strings.Join(m.names(), " "), "aerie-any-"+h.Port)
	if warning := "socket=aerie-127.0.0.1-" + h.Port; !strings.Contains(h.Log(), warning) {
		t.Errorf("no %q in the log", warning)
	}
}

// TestPassedIsNoListener passes what the host cannot accept connections on.
func TestPassedIsNoListener(t *testing.T) {
	tests := map[string]struct {
		pass func(h *hosttest.Host, m *manager)
		want string
	}{
		"unix socket": {func(h *hosttest.Host, m *manager) { m.unit("odd", "unix", filepath.Join(h.Dir, "odd")) }, `passed "odd": it is not a TCP socket`},
		"file": {func(h *hosttest.Host, m *manager) {
			f, err := os.Open(h.Dir)
			if err != nil {
				t.Fatal(err)
			}
			m.pass("odd", f)
		}, `passed "odd": it is not a TCP socket`},
		"connection": {func(_ *hosttest.Host, m *manager) {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			m.pass("odd", os.NewFile(uintptr(fd), "odd"))
		}, `passed "odd" on 0.0.0.0:0: it does not listen`},
		"bad names": {func(h *hosttest.Host, m *manager) { m.unit("one:two", "tcp", "127.0.0.1:"+h.Port) }, "LISTEN_FDNAMES has 2 names for LISTEN_FDS=1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := managed(t, "http://127.0.0.1:PORT")
			test.pass(h, manage(t, h, false))
			out, err := h.Run().CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.want) {
				t.Errorf("no %q: %v\n%s", test.want, err, out)
			}
		})
	}
}

// TestWatchdogIsFed counts the messages to the watchdog, and takes away the way
// by which the host answers itself: they end.
func TestWatchdogIsFed(t *testing.T) {
	h := managed(t, "http://127.0.0.1:PORT")
	m := manage(t, h, false)
	m.env = []string{"WATCHDOG_USEC=400000"}
	h.Start()
	h.WaitFor("three messages", func() bool { return strings.Count(strings.Join(m.since(0), "\n"), "WATCHDOG=1") >= 3 })
	if err := os.Remove(filepath.Join(h.Dir, "run", "admin.sock")); err != nil {
		t.Fatal(err)
	}
	h.WaitFor("the host to notice", func() bool { return strings.Contains(h.Log(), "the watchdog is not fed") })
	answers(t, h.Addr)
}
