//go:build linux

package whole

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aerie/admin"
	"aerie/internal/rawhttp"
	"aerie/test/behave"
	"aerie/test/hosttest"
)

// from opens a connection to the host from one of the loopback addresses.
func from(t *testing.T, h *hosttest.Host, ip string) *rawhttp.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	nc, err := d.Dial("tcp", h.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c := rawhttp.NewConn(nc)
	c.Limit = hosttest.Limit
	t.Cleanup(func() { _ = c.Close() }) // some tests have done so
	return c
}

// ask sends a GET and returns the answer.
func ask(t *testing.T, c *rawhttp.Conn, host, target string, fields ...string) *rawhttp.Response {
	t.Helper()
	sendGet(t, c, host, target, fields...)
	return answer(t, c)
}

func sendGet(t *testing.T, c *rawhttp.Conn, host, target string, fields ...string) {
	t.Helper()
	if err := c.Send(fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", target, host, strings.Join(fields, ""))); err != nil {
		t.Fatal(err)
	}
}

func answer(t *testing.T, c *rawhttp.Conn) *rawhttp.Response {
	t.Helper()
	r, err := c.ReadResponse("GET")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantStatus(t *testing.T, what string, r *rawhttp.Response, status int) {
	t.Helper()
	if r.Status != status {
		t.Errorf("%s: %d %q, want %d", what, r.Status, r.Body, status)
	}
	if status == 503 && r.Header.Value("Retry-After") == "" {
		t.Errorf("%s: 503 without Retry-After: %v", what, r.Header)
	}
}

// TestConnectionLimits: a connection past a limit is answered 503 and closed;
// when another one has ended there is room again.
func TestConnectionLimits(t *testing.T) {
	const sites = `
[host.limits]
max_connections = 8

[[sites]]
name = "in"
bindings = ["http://in.test:PORT"]
limits = { max_connections = 3, max_connections_per_address = 2 }
apps = [{ pool = "in", process = "in", hosting = "inprocess" }]

[[sites]]
name = "out"
bindings = ["http://out.test:PORT"]
limits = { max_connections = 3, max_connections_per_address = 2 }
apps = [{ pool = "out", process = "out", hosting = "outofprocess" }]

[[sites]]
name = "free"
bindings = ["http://free.test:PORT"]
apps = [{ pool = "in", process = "in", hosting = "inprocess" }]
`
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, sites, map[string]string{"in": bin, "out": bin}).Start()
	open := func(ip, host string, status int) *rawhttp.Conn {
		t.Helper()
		c := from(t, h, ip)
		wantStatus(t, host+" from "+ip, ask(t, c, host, "/pid"), status)
		if status == 503 {
			if err := c.ReadEOF(); err != nil {
				t.Error(err)
			}
		}
		return c
	}
	end := func(conns ...*rawhttp.Conn) {
		t.Helper()
		before := h.Status().Connections
		for _, c := range conns {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		h.Wait("the connections to end", func(s admin.Status) bool { return s.Connections == before-len(conns) })
	}
	for _, host := range []string{"in.test", "out.test"} {
		a, b := open("127.0.0.1", host, 200), open("127.0.0.1", host, 200)
		open("127.0.0.1", host, 503) // per address
		c := open("127.0.0.2", host, 200)
		open("127.0.0.3", host, 503) // the site
		f := open("127.0.0.3", "free.test", 200)
		end(a)
		d := open("127.0.0.3", host, 200)
		end(b, c, d, f)
	}
	var all []*rawhttp.Conn
	for range 8 {
		all = append(all, open("127.0.0.1", "free.test", 200))
	}
	open("127.0.0.4", "in.test", 503) // the host
	end(all[0])
	end(open("127.0.0.4", "in.test", 200))
	end(all[1:]...)
	if s := h.Status(); s.Connections != 0 || s.Sites[0].Connections+s.Sites[1].Connections+s.Sites[2].Connections != 0 {
		t.Errorf("in the end %+v", s)
	}
}

const concurrency = `
[pools.in]
max_concurrent = 1
queue_length = 2
[pools.out]
max_concurrent = 1
queue_length = 2
[pools.hasty]
max_concurrent = 1
queue_timeout = "200ms"
[pools.hasty-out]
max_concurrent = 1
queue_timeout = "200ms"

[[sites]]
name = "in"
bindings = ["http://in.test:PORT"]
apps = [{ pool = "in", process = "in", hosting = "inprocess" }]
[[sites]]
name = "relay"
bindings = ["http://relay.test:PORT"]
handover = "never"
apps = [{ pool = "in", process = "in", hosting = "inprocess" }]
[[sites]]
name = "out"
bindings = ["http://out.test:PORT"]
apps = [{ pool = "out", process = "out", hosting = "outofprocess" }]
[[sites]]
name = "hasty"
bindings = ["http://hasty.test:PORT"]
apps = [{ pool = "hasty", process = "hasty", hosting = "inprocess" }]
[[sites]]
name = "hasty-out"
bindings = ["http://hasty-out.test:PORT"]
apps = [{ pool = "hasty-out", process = "hasty-out", hosting = "outofprocess" }]
`

// running is a request that runs from when its head has been answered until its
// body is whole.
type running struct {
	t *testing.T
	c *rawhttp.Conn
}

func begin(t *testing.T, h *hosttest.Host, host string) running {
	t.Helper()
	c := from(t, h, "127.0.0.1")
	if err := c.Send([]byte("POST /echo?flush=1 HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 2\r\n\r\na")); err != nil {
		t.Fatal(err)
	}
	return running{t, c}
}

// runs waits until the request runs, and then lets it end.
func (r running) runs() func() {
	r.t.Helper()
	head, err := r.c.ReadHead("POST")
	if err != nil || head.Status != 200 {
		r.t.Fatalf("%+v, %v", head, err)
	}
	return func() {
		r.t.Helper()
		if err := r.c.Send([]byte("b")); err != nil {
			r.t.Fatal(err)
		}
		body := make([]byte, 2)
		for n := 0; n < 2; {
			m, err := head.Read(body[n:])
			if n += m; err != nil && n < 2 {
				r.t.Fatalf("%q, %v", body[:n], err)
			}
		}
		if string(body) != "ab" {
			r.t.Errorf("%q", body)
		}
	}
}

// TestConcurrency: requests past max_concurrent wait in their order, those past
// queue_length or queue_timeout are answered 503, in each hosting mode.
func TestConcurrency(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, concurrency, map[string]string{"in": bin, "out": bin, "hasty": bin, "hasty-out": bin}).Start()
	queued := func(pool string, n int) {
		t.Helper()
		h.Wait(fmt.Sprint(n, " requests to wait"), func(s admin.Status) bool { return hosttest.PoolOf(t, s, pool).Queued == n })
	}
	for host, pool := range map[string]string{"in.test": "in", "relay.test": "in", "out.test": "out"} {
		t.Run(host, func(t *testing.T) {
			finish := begin(t, h, host).runs()
			first := begin(t, h, host)
			queued(pool, 1)
			second := begin(t, h, host)
			queued(pool, 2)
			wantWaiting(t, h, pool, 2, host != "out.test")
			wantStatus(t, "past queue_length", ask(t, from(t, h, "127.0.0.1"), host, "/pid"), 503)
			finish()
			finishFirst := first.runs() // had the second been let in, this would wait for it
			queued(pool, 1)
			finishFirst()
			second.runs()()
			queued(pool, 0)
			wantStatus(t, "afterwards", ask(t, from(t, h, "127.0.0.1"), host, "/pid"), 200)
		})
	}
	for _, pool := range []string{"hasty", "hasty-out"} {
		t.Run(pool, func(t *testing.T) {
			finish := begin(t, h, pool+".test").runs()
			wantStatus(t, "past queue_timeout", ask(t, from(t, h, "127.0.0.1"), pool+".test", "/pid"), 503)
			finish()
			wantStatus(t, "afterwards", ask(t, from(t, h, "127.0.0.1"), pool+".test", "/pid"), 200)
		})
	}
}

// wantWaiting checks what an operator sees of n requests that wait for the pool, in
// its process or in the host.
func wantWaiting(t *testing.T, h *hosttest.Host, pool string, n int, inProcess bool) {
	t.Helper()
	out, err := h.CLI("pool", "queue", pool, "--json")
	var q admin.Queue
	if err := errors.Join(err, json.Unmarshal([]byte(out), &q)); err != nil {
		t.Fatal(err)
	}
	pid := 0
	if inProcess {
		pid = h.Pool(pool).Workers[0].Pid
	}
	if len(q.Waiting) != n {
		t.Errorf("%d wait, want %d", len(q.Waiting), n)
	}
	for _, w := range q.Waiting {
		if w.Pid != pid || !strings.HasPrefix(w.Client, "127.") || time.Since(w.Since) < 0 || time.Since(w.Since) > time.Minute {
			t.Errorf("it shows %+v", w)
		}
		if w.Request != "" && !strings.Contains(w.Request, " /") || inProcess && w.Request == "" {
			t.Errorf("it shows the request %q", w.Request)
		}
	}
	if out, err := h.CLI("pool", "queue", pool); err != nil || strings.Count(out, "\n") != n+1 {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestRequestsWaitForAStart: while a pool starts, requests wait for it, as many
// as queue_length says; a stopped one answers at once.
func TestRequestsWaitForAStart(t *testing.T) {
	const sites = `
[pools.in]
auto_start = false
queue_length = 2
[pools.out]
auto_start = false
queue_length = 2

[[sites]]
name = "in"
bindings = ["http://in.test:PORT"]
apps = [{ pool = "in", process = "slow", hosting = "inprocess" }]
[[sites]]
name = "out"
bindings = ["http://out.test:PORT"]
apps = [{ pool = "out", process = "slow", hosting = "outofprocess" }]
`
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, sites, map[string]string{"in": bin, "out": bin})
	for _, pool := range []string{"in", "out"} {
		script := "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.02; done\nexec ./" + pool + "\n"
		if err := os.WriteFile(filepath.Join(h.Dir, "pools", pool, "slow"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.StartOnly()
	for _, pool := range []string{"in", "out"} {
		t.Run(pool, func(t *testing.T) {
			began := time.Now()
			if r := ask(t, from(t, h, "127.0.0.1"), pool+".test", "/pid"); r.Status != 503 || time.Since(began) > 10*time.Second {
				t.Errorf("stopped: %d after %v", r.Status, time.Since(began))
			}
			started := make(chan error, 1)
			go func() {
				_, err := h.CLI("pool", "start", pool)
				started <- err
			}()
			h.Wait("the start to begin", func(s admin.Status) bool { return hosttest.PoolOf(t, s, pool).State == "starting" })
			var waiting []*rawhttp.Conn
			for n := range 2 {
				c := from(t, h, "127.0.0.1")
				sendGet(t, c, pool+".test", "/pid")
				waiting = append(waiting, c)
				h.Wait("the request to wait", func(s admin.Status) bool { return hosttest.PoolOf(t, s, pool).Queued == n+1 })
			}
			wantWaiting(t, h, pool, 2, false)
			wantStatus(t, "past queue_length", ask(t, from(t, h, "127.0.0.1"), pool+".test", "/pid"), 503)
			if err := os.WriteFile(filepath.Join(h.Dir, "pools", pool, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, c := range waiting {
				wantStatus(t, "having waited", answer(t, c), 200)
			}
			if err := <-started; err != nil {
				t.Error(err)
			}
		})
	}
}

const threeModes = `
[[sites]]
name = "handover"
bindings = ["http://handover.test:PORT"]
apps = [{ path = "/", pool = "handover", process = "handover", hosting = "inprocess", env = { BEHAVE_NAME = "handover.test" } }]
[[sites]]
name = "relay"
bindings = ["http://relay.test:PORT"]
handover = "never"
apps = [{ path = "/", pool = "relay", process = "relay", hosting = "inprocess", env = { BEHAVE_NAME = "relay.test" } }]
[[sites]]
name = "forward"
bindings = ["http://forward.test:PORT"]
apps = [{ path = "/", pool = "forward", process = "forward", hosting = "outofprocess", env = { BEHAVE_NAME = "forward.test" } }]
`

func startThree(t *testing.T, sites string) *hosttest.Host {
	t.Helper()
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	return hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
}

func factsOf(t *testing.T, r *rawhttp.Response) behave.Facts {
	t.Helper()
	var f behave.Facts
	if err := json.Unmarshal(r.Body, &f); r.Status != 200 || err != nil {
		t.Fatalf("%d %q, %v", r.Status, r.Body, err)
	}
	return f
}

var modes = []string{"handover", "relay", "forward"}

// TestForwardedFields: what a proxy says of its client is believed of trusted
// ones only, and nobody can speak as the host.
func TestForwardedFields(t *testing.T) {
	claims := []string{
		"X-Forwarded-For: 203.0.113.9\r\n", "X-Forwarded-Proto: forged\r\n", "X-Forwarded-Host: forged.test\r\n",
		"X_Forwarded_For: 203.0.113.9\r\n", "Forwarded: for=203.0.113.9\r\n", "X-Real-IP: 203.0.113.9\r\n",
	}
	records := []string{"Aerie-Record: forged\r\n", "aerie_record: forged\r\n"}
	t.Run("untrusted", func(t *testing.T) {
		h := startThree(t, threeModes)
		for _, mode := range modes {
			c := from(t, h, "127.0.0.1")
			f := factsOf(t, ask(t, c, mode+".test", "/facts", append(claims, records...)...))
			if text := fmt.Sprint(f.Header); strings.Contains(text, "203.0.113.9") || strings.Contains(text, "forged") {
				t.Errorf("%s: the application got %s", mode, text)
			}
			if f.RemoteAddr != c.LocalAddr().String() {
				t.Errorf("%s: client %s, it is %s", mode, f.RemoteAddr, c.LocalAddr())
			}
		}
		h.Wait("the handed-over connection", func(s admin.Status) bool {
			return hosttest.PoolOf(t, s, "handover").Workers[0].Connections == 1
		})
	})
	t.Run("trusted", func(t *testing.T) {
		h := startThree(t, "[host]\ntrusted_proxies = [\"127.0.0.1\"]\n"+threeModes)
		for _, mode := range modes {
			f := factsOf(t, ask(t, from(t, h, "127.0.0.1"), mode+".test", "/facts", append(claims[:3:3], records...)...))
			if got := strings.Join(f.Header["X-Forwarded-For"], ", "); !strings.HasPrefix(got, "203.0.113.9") {
				t.Errorf("%s: X-Forwarded-For %q", mode, got)
			}
			if got := f.Header.Get("X-Forwarded-Host"); got != "forged.test" {
				t.Errorf("%s: X-Forwarded-Host %q", mode, got)
			}
			if text := fmt.Sprint(f.Header); strings.Contains(strings.ToLower(text), "aerie") {
				t.Errorf("%s: the application got %s", mode, text)
			}
			f = factsOf(t, ask(t, from(t, h, "127.0.0.2"), mode+".test", "/facts", claims...))
			if text := fmt.Sprint(f.Header); strings.Contains(text, "203.0.113.9") {
				t.Errorf("%s: of somebody else the application got %s", mode, text)
			}
		}
		if n := h.Pool("handover").Workers[0].Connections; n != 1 { // that of 127.0.0.2
			t.Errorf("%d connections were handed over", n)
		}
	})
}

// TestMixedSites: a proxy in front that does not say so uses one connection for
// all sites; each request is answered by its own site's application.
func TestMixedSites(t *testing.T) {
	h := startThree(t, threeModes)
	for round, conns := range [][]string{{"handover", "forward", "relay", "handover", "forward"}, {"forward", "handover", "handover", "relay"}, {"handover", "relay"}} {
		c := from(t, h, "127.0.0.1")
		for i, site := range conns {
			f := factsOf(t, ask(t, c, site+".test", fmt.Sprintf("/facts?%d", i)))
			if f.Name != site+".test" || f.Host != site+".test" || f.RawQuery != fmt.Sprint(i) || f.RemoteAddr != c.LocalAddr().String() {
				t.Errorf("round %d, request %d to %s: %+v", round, i, site, f)
			}
			body := strings.Repeat("x", 100_000)
			if err := c.Send(fmt.Appendf(nil, "POST /echo HTTP/1.1\r\nHost: %s.test\r\nContent-Length: %d\r\n\r\n%s", site, len(body), body)); err != nil {
				t.Fatal(err)
			}
			if r, err := c.ReadResponse("POST"); err != nil || r.Status != 200 || string(r.Body) != body {
				t.Fatalf("round %d, post %d to %s: %v", round, i, site, err)
			}
		}
		if r := ask(t, c, "nobody.test", "/facts"); r.Status != 404 {
			t.Errorf("round %d: unknown site: %d", round, r.Status)
		}
	}
	if n := h.Pool("handover").Workers[0].Connections; n != 1 {
		t.Errorf("%d connections of a peer that mixes sites were handed over, want the first alone", n)
	}
}
