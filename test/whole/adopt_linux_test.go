package whole

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"aerie/admin"
	"aerie/test/hosttest"
)

// killHost ends the host as nothing can be prevented from: kill -9.
func killHost(h *hosttest.Host) {
	h.Signal(syscall.SIGKILL)
	_ = h.Exited() // it was killed, and says so
}

// over reports whether a process has ended. One whose parent has died is reaped by
// another process, in its own time.
func over(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(b), ") Z ")
}

// statePath is the file by which a restarted host finds worker processes.
func statePath(h *hosttest.Host) string { return filepath.Join(h.Dir, "run", "state.json") }

// workerOf is the only worker of a pool.
func workerOf(t *testing.T, p admin.PoolStatus) admin.WorkerStatus {
	t.Helper()
	if len(p.Workers) != 1 {
		t.Fatalf("pool %s has workers %+v", p.Name, p.Workers)
	}
	return p.Workers[0]
}

// TestRestartedHostGoesOn kills the host, and the one after it, under load: the
// worker processes of in-process pools are the same ones before and after, no
// connection that they have is closed and no request on one fails; and the recycle
// that follows hands those connections on.
func TestRestartedHostGoesOn(t *testing.T) {
	const conns = 32
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, behaving, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	stop := load(t, h, "handover.test", conns)
	all := func(s admin.Status) bool { return hosttest.PoolOf(t, s, "handover").Workers[0].Connections == conns }
	h.Wait("all connections to be handed over", all)
	before, relay := h.Pool("handover"), h.Pool("relay")
	for i := range 3 {
		killHost(h)
		h.Start()
		s := h.Wait("the connections to be known again", all)
		after := hosttest.PoolOf(t, s, "handover")
		was, is := workerOf(t, before), workerOf(t, after)
		if is.Pid != was.Pid || after.Generation != before.Generation || !is.StartedAt.Equal(was.StartedAt) {
			t.Fatalf("after kill %d: %+v, was %+v", i+1, is, was)
		}
		if now := workerOf(t, hosttest.PoolOf(t, s, "relay")); now.Pid != workerOf(t, relay).Pid {
			t.Errorf("after kill %d: the other pool's process is %d, was %d", i+1, now.Pid, workerOf(t, relay).Pid)
		}
		for _, site := range s.Sites {
			if site.Name == "handover" && site.Connections != conns {
				t.Errorf("the site has %d connections, want %d", site.Connections, conns)
			}
		}
		for _, host := range []string{"handover.test", "relay.test"} {
			if status, body := h.Get(host, "/pid"); status != 200 || host == "handover.test" && strings.TrimSpace(body) != strconv.Itoa(was.Pid) {
				t.Errorf("%s: %d %q", host, status, body)
			}
		}
	}
	for generation := before.Generation + 1; generation < before.Generation+3; generation++ {
		if p, err := h.Client.Pool(t.Context(), "handover", admin.Recycle); err != nil || p.Generation != generation {
			t.Fatalf("recycle: generation %d, want %d; %v", p.Generation, generation, err)
		}
	}
	h.Wait("the old generations to end", func(s admin.Status) bool { return len(hosttest.PoolOf(t, s, "handover").Workers) == 1 })
	h.Wait("all connections to be the new generation's", all)
	if r := stop(); len(r.Pids) < 2 {
		t.Errorf("only %v answered", r.Pids)
	}
	if !over(before.Workers[0].Pid) {
		t.Error("the process that was replaced lives")
	}
	h.Signal(syscall.SIGTERM)
	if err := h.Exited(); err != nil {
		t.Error(err)
	}
	if !over(relay.Workers[0].Pid) {
		t.Error("an adopted process is left when the host has ended in order")
	}
	if _, err := os.Stat(statePath(h)); !os.IsNotExist(err) {
		t.Errorf("the state file when the host has ended in order: %v", err)
	}
	if dirs, err := filepath.Glob(filepath.Join(h.Dir, "run", "p", "*", "*")); err != nil || len(dirs) > 0 {
		t.Errorf("left: %v, %v", dirs, err)
	}
}

// TestForeignRequestAfterRestart: a worker that was adopted finds the way to its new
// host, for a request on one of its connections that is for another pool's site.
func TestForeignRequestAfterRestart(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, behaving, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	get := keepAlive(t, h, "handover.test")
	getFor := keepAliveFor(t, h, "handover.test")
	killHost(h)
	h.Start()
	get("/pid")
	if got, want := strings.TrimSpace(getFor("forward.test", "/pid")), strconv.Itoa(workerOf(t, h.Pool("forward")).Pid); got != want {
		t.Errorf("the other site's process is %q, want %q", got, want)
	}
}

// TestHostThatCannotOpen: a host that finds its port taken ends, and leaves the worker
// processes and their connections to the next one.
func TestHostThatCannotOpen(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	one := behaving[:strings.Index(behaving, "[[sites]]\nname = \"relay\"")]
	h := hosttest.New(t, one, map[string]string{"handover": bin}).Start()
	get := keepAlive(t, h, "handover.test")
	pid := workerOf(t, h.Pool("handover")).Pid
	killHost(h)
	l, err := net.Listen("tcp", h.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := h.CLI("run"); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("run: %v\n%s", err, out)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	get("/pid")
	h.Start()
	if now := workerOf(t, h.Pool("handover")); now.Pid != pid || now.Connections != 1 {
		t.Errorf("%+v, want process %d", now, pid)
	}
	get("/pid")
}

// TestConfigurationChangedWhileAway: a pool that is to run something else by now is
// recycled at once, and one that is no more is ended, both without closing what
// they have to finish.
func TestConfigurationChangedWhileAway(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := hosttest.New(t, behaving, map[string]string{"handover": bin, "relay": bin, "forward": bin}).Start()
	stop := load(t, h, "handover.test", 16)
	h.Wait("all connections to be handed over", func(s admin.Status) bool {
		return hosttest.PoolOf(t, s, "handover").Workers[0].Connections == 16
	})
	old, gone := workerOf(t, h.Pool("handover")).Pid, workerOf(t, h.Pool("relay")).Pid
	killHost(h)
	sites := strings.Replace(behaving, `process = "handover"`, `process = "handover", env = { SINCE = "restart" }`, 1)
	begin, rest, _ := strings.Cut(sites, "[[sites]]\nname = \"relay\"")
	_, end, _ := strings.Cut(rest, "[[sites]]")
	h.WriteSites(begin + "[[sites]]" + end)
	h.StartOnly()
	s := h.Wait("the recycle", func(s admin.Status) bool {
		p := hosttest.PoolOf(t, s, "handover")
		return p.State == "running" && p.Generation == 2 && len(p.Workers) == 1
	})
	if p := hosttest.PoolOf(t, s, "handover"); p.Workers[0].Pid == old || !strings.Contains(p.LastReason, "while the host was away") {
		t.Errorf("%+v", p)
	}
	h.WaitFor("the process of the pool that is no more to end", func() bool { return over(gone) })
	stop()
	if strings.Contains(h.Log(), "panic") {
		t.Error("panic")
	}
}

// TestStaleState: of a state file that is not true nothing is adopted, and nobody
// that it names comes to harm.
func TestStaleState(t *testing.T) {
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	stranger := exec.Command("/bin/sleep", "300")
	stranger.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = stranger.Process.Kill(), stranger.Wait() }) // it is killed, and says so
	edit := func(change func(state, worker map[string]any)) func([]byte) []byte {
		return func(b []byte) []byte {
			var s map[string]any
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			if err := d.Decode(&s); err != nil {
				t.Fatal(err)
			}
			change(s, s["workers"].([]any)[0].(map[string]any))
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	for name, stale := range map[string]func([]byte) []byte{
		"other boot":       edit(func(s, _ map[string]any) { s["boot"] = "11111111-2222-3333-4444-555555555555" }),
		"other start time": edit(func(_, w map[string]any) { w["ticks"] = 1 }),
		"other process": edit(func(_, w map[string]any) {
			w["pid"], w["ticks"] = stranger.Process.Pid, ticksOf(t, stranger.Process.Pid)
		}),
		"other token":   edit(func(_, w map[string]any) { w["token"] = strings.Repeat("x", 43) }),
		"other pool":    edit(func(_, w map[string]any) { w["generation"] = 9 }),
		"other sockets": edit(func(_, w map[string]any) { w["relay"] = "/tmp/r1" }),
		"other version": edit(func(s, _ map[string]any) { s["version"] = 99 }),
		"garbage":       func([]byte) []byte { return []byte(`{"workers": [{"pid": "nobody"}]}`) },
		"truncated":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":         func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			one := behaving[:strings.Index(behaving, "[[sites]]\nname = \"relay\"")]
			h := hosttest.New(t, one, map[string]string{"handover": bin}).Start()
			old := workerOf(t, h.Pool("handover")).Pid
			get := keepAlive(t, h, "handover.test")
			killHost(h)
			t.Cleanup(func() { _ = syscall.Kill(old, syscall.SIGKILL) }) // nobody else ends it so soon
			b, err := os.ReadFile(statePath(h))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(statePath(h), stale(b), 0o600); err != nil {
				t.Fatal(err)
			}
			h.Start()
			if pid := workerOf(t, h.Pool("handover")).Pid; pid == old || pid == stranger.Process.Pid {
				t.Errorf("process %d was adopted", pid)
			}
			if got := strings.TrimSpace(get("/pid")); got != strconv.Itoa(old) { // it goes on for host_away
				t.Errorf("process %q answers, want %d", got, old)
			}
			h.Signal(syscall.SIGTERM)
			if err := h.Exited(); err != nil {
				t.Error(err)
			}
			if over(old) || over(stranger.Process.Pid) {
				t.Error("a process that is none of the host's was ended")
			}
		})
	}
}

// ticksOf is the start time of a process.
func ticksOf(t *testing.T, pid int) json.Number {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return json.Number(strings.Fields(rest)[19])
}

// TestStateFileIsSecret: the file holds tokens.
func TestStateFileIsSecret(t *testing.T) {
	h := hosttest.New(t, behaving, map[string]string{"handover": hosttest.Bin(t, "aerie/test/apps/behave")})
	h.StartOnly()
	h.Wait("the pool to run", func(s admin.Status) bool { return hosttest.PoolOf(t, s, "handover").State == "running" })
	st, err := os.Stat(statePath(h))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
}
