package whole

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"aerie/admin"
	"aerie/internal/rawhttp"
	"aerie/test/behave"
	"aerie/test/hosttest"
)

// strangers are pools of three users: two in-process, one of them relayed, and
// one out-of-process. The numbers are those of nobody, games and man everywhere.
const strangers = behaving + `
[pools.handover.identity]
user = "65534"
group = "65534"
groups = ["7"]
umask = "027"
[pools.relay.identity]
user = "5"
group = "60"
[pools.forward.identity]
user = "6"
group = "12"
no_new_privs = false
`

// needRoot skips a test that only root can run, but not under CI, which is root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("under CI the tests run as root")
	}
	t.Skip("only root can start processes as somebody else")
}

// open lets every user of the system into the host's folder.
func open(t *testing.T, h *hosttest.Host) *hosttest.Host {
	t.Helper()
	if err := os.Chmod(h.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

// status are the fields of /proc/PID/status.
func status(t *testing.T, pid int) map[string]string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

// TestPoolsOfOtherUsers runs each kind of pool as a user of its own: the kernel
// says that it is, requests are answered, connections survive recycles, and no
// pool reaches into another one or the host.
func TestPoolsOfOtherUsers(t *testing.T) {
	needRoot(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := open(t, hosttest.New(t, strangers, map[string]string{"handover": bin, "relay": bin, "forward": bin})).Start()
	const none = "0000000000000000"
	for name, want := range map[string]map[string]string{
		"handover": {"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534", "Groups": "7 65534", "Umask": "0027", "NoNewPrivs": "1", "CapEff": none, "CapPrm": none, "CapBnd": none},
		"relay":    {"Uid": "5 5 5 5", "Gid": "60 60 60 60", "Groups": "60", "Umask": "0022", "NoNewPrivs": "1", "CapEff": none, "CapBnd": none},
		"forward":  {"Uid": "6 6 6 6", "Gid": "12 12 12 12", "Groups": "12", "Umask": "0022", "NoNewPrivs": "0", "CapEff": none, "CapBnd": none},
	} {
		pid := h.Pool(name).Workers[0].Pid
		got := status(t, pid)
		for field, value := range want {
			if got[field] != value {
				t.Errorf("%s: %s is %q, want %q", name, field, got[field], value)
			}
		}
		var st syscall.Stat_t
		if err := syscall.Stat(fmt.Sprintf("/proc/%d/mem", pid), &st); err != nil || fmt.Sprint(st.Uid) != strings.Fields(want["Uid"])[0] {
			t.Errorf("%s: /proc/PID/mem is user %d's, %v: the process is not dumpable", name, st.Uid, err)
		}
		if status, body := h.Get(name+".test", "/pid"); status != 200 || strings.TrimSpace(body) != fmt.Sprint(pid) {
			t.Errorf("%s: %d %q, want pid %d", name, status, body, pid)
		}
	}
	t.Run("environment", func(t *testing.T) {
		for name, want := range map[string]string{"HOME": "/usr/games", "USER": "games", "LOGNAME": "games"} {
			if _, got := h.Get("relay.test", "/env?name="+name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	})
	t.Run("recycle", func(t *testing.T) {
		for _, name := range []string{"handover", "relay", "forward"} {
			stop := load(t, h, name+".test", 8)
			if _, err := h.Client.Pool(t.Context(), name, admin.Recycle); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			stop()
		}
	})
	t.Run("reach", func(t *testing.T) { reaches(t, h) })
}

// reaches has the app of one pool try to get at what is not its own.
func reaches(t *testing.T, h *hosttest.Host) {
	try := func(path string) (r behave.Reach) {
		t.Helper()
		_, body := h.Get("handover.test", "/reach?path="+url.QueryEscape(path))
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return r
	}
	denied := func(what, path, err string) {
		t.Helper()
		if !strings.Contains(err, "permission denied") {
			t.Errorf("%s %s: %q, want permission denied", what, path, err)
		}
	}
	own := false
	folders, err := filepath.Glob(filepath.Join(h.Dir, "run", "p", "*", "*"))
	if err != nil || len(folders) != 3 {
		t.Fatalf("folders of sockets: %v, %v", folders, err)
	}
	for _, dir := range folders {
		var st syscall.Stat_t
		if err := syscall.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		if st.Mode&0o777 != 0o700 {
			t.Errorf("%s has mode %o", dir, st.Mode&0o777)
		}
		sockets, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if st.Uid == 65534 {
			own = true
			if r := try(filepath.Join(dir, "host")); r.Dial != "" {
				t.Errorf("the pool's own socket of the host: %s", r.Dial)
			}
			continue
		}
		denied("list", dir, try(dir).List)
		for _, s := range sockets {
			denied("dial", s.Name(), try(filepath.Join(dir, s.Name())).Dial)
		}
	}
	if !own {
		t.Error("no folder is the pool's")
	}
	denied("dial", "admin.sock", try(filepath.Join(h.Dir, "run", "admin.sock")).Dial)
	denied("open", "log", try(filepath.Join(h.Dir, "state", "logs", "relay.log")).Open)
	for _, pid := range []int{h.Pid(), h.Pool("relay").Workers[0].Pid, h.Pool("forward").Workers[0].Pid} {
		for _, file := range []string{"environ", "mem", "fd"} {
			path := fmt.Sprintf("/proc/%d/%s", pid, file)
			denied("open", path, try(path).Open)
		}
	}
}

// TestHostOfAnotherUser runs the host itself as an ordinary user: it hides its
// memory, its processes do not, and a pool of somebody else is refused.
func TestHostOfAnotherUser(t *testing.T) {
	needRoot(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	sites := behaving + "[pools.forward.identity]\nuser = \"5\"\n[pools.relay.identity]\nuser = \"65534\"\ncapabilities = \"none\"\n"
	h := open(t, hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}))
	giveTo(t, h, 65534)
	h.StartOnly()
	const want = "the host, user 65534, may not start processes as another user"
	h.Wait("forward not to start", func(s admin.Status) bool {
		return strings.Contains(hosttest.PoolOf(t, s, "forward").LastReason, want)
	})
	var st syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d/mem", h.Pid()), &st); err != nil || st.Uid != 0 {
		t.Errorf("the host's /proc/PID/mem is user %d's, %v: it does not hide its memory", st.Uid, err)
	}
	for _, name := range []string{"handover", "relay"} {
		_, body := h.Get(name+".test", "/pid")
		if err := syscall.Stat("/proc/"+strings.TrimSpace(body)+"/mem", &st); err != nil || st.Uid != 65534 {
			t.Errorf("%s: /proc/PID/mem is user %d's, %v: the process is not dumpable", name, st.Uid, err)
		}
	}
}

// giveTo has the host run as that user, who owns its folder.
func giveTo(t *testing.T, h *hosttest.Host, uid int) {
	t.Helper()
	h.As = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	err := filepath.WalkDir(h.Dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, uid, uid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestHostWithCapabilities: a host that is not root, but was given what it needs
// to start processes as other users. The applications do not inherit that, unless
// they are to.
func TestHostWithCapabilities(t *testing.T) {
	needRoot(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	sites := behaving + "[pools.forward.identity]\nuser = \"5\"\n[pools.relay.identity]\ncapabilities = \"host\"\n"
	h := open(t, hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}))
	giveTo(t, h, 65534)
	h.Attr.AmbientCaps = []uintptr{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP}
	h.Start()
	const none, given = "0000000000000000", "00000000000001e3"
	for name, want := range map[string]map[string]string{
		"handover": {"Uid": "65534 65534 65534 65534", "CapEff": none, "CapPrm": none, "CapAmb": none},
		"relay":    {"Uid": "65534 65534 65534 65534", "CapEff": given, "CapAmb": given},
		"forward":  {"Uid": "5 5 5 5", "CapEff": none, "CapAmb": none, "CapBnd": none},
	} {
		if status, body := h.Get(name+".test", "/pid"); status != 200 {
			t.Errorf("%s: %d %s", name, status, body)
		}
		got := status(t, h.Pool(name).Workers[0].Pid)
		for field, value := range want {
			if got[field] != value {
				t.Errorf("%s: %s is %q, want %q", name, field, got[field], value)
			}
		}
	}
}

// TestIdentityChanges reloads another user: a new generation runs as that one,
// and no request is lost.
func TestIdentityChanges(t *testing.T) {
	needRoot(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	h := open(t, hosttest.New(t, strangers, map[string]string{"handover": bin, "relay": bin, "forward": bin})).Start()
	for _, name := range []string{"handover", "relay", "forward"} {
		stop := load(t, h, name+".test", 8)
		defer stop()
	}
	h.WriteSites(strings.NewReplacer(`user = "65534"`, `user = "5"`, `user = "5"`, `user = "65534"`, "user = \"6\"\ngroup = \"12\"", "").Replace(strangers))
	if _, err := h.Client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"handover": "5 5 5 5", "relay": "65534 65534 65534 65534", "forward": "0 0 0 0"} {
		p := h.Pool(name)
		for _, w := range p.Workers {
			if w.State != "running" {
				continue // it may have ended by now
			}
			if got := status(t, w.Pid)["Uid"]; got != want {
				t.Errorf("%s: user %q, want %q", name, got, want)
			}
		}
		if p.Generation != 2 {
			t.Errorf("%s: generation %d", name, p.Generation)
		}
	}
}

// TestPoolOfNobodyDoesNotStart: what keeps a pool from starting as its user is in
// its status, and `aerie check` says the same without a start; the other pools run.
func TestPoolOfNobodyDoesNotStart(t *testing.T) {
	needRoot(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	sites := strings.NewReplacer(`user = "65534"`, `user = "no-such-user"`).Replace(strangers)
	h := open(t, hosttest.New(t, sites, map[string]string{"handover": bin, "relay": bin, "forward": bin}))
	closed := filepath.Join(h.Dir, "pools", "forward")
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	h.StartOnly()
	for name, want := range map[string]string{
		"handover": `there is no user "no-such-user"`,
		"forward":  "user 6 may not enter " + closed,
	} {
		h.Wait(name+" not to start", func(s admin.Status) bool {
			return strings.Contains(hosttest.PoolOf(t, s, name).LastReason, want)
		})
		out, err := h.CLI("check", "--json")
		if err != nil || !strings.Contains(out, strings.ReplaceAll(want, `"`, `\"`)) {
			t.Errorf("check: %v\n%s\nwant %s", err, out, want)
		}
		if status, _ := h.Get(name+".test", "/pid"); status != 503 && status != 500 && status != 502 {
			t.Errorf("%s: status %d", name, status)
		}
	}
	if status, _ := h.Get("relay.test", "/pid"); status != 200 {
		t.Errorf("relay: status %d", status)
	}
}

// TestMixedHostsOfOtherUsers: on a connection that a pool has, requests for a pool
// of another user are refused, because the first pool has read them. On the next
// connection of the same client they are answered.
func TestMixedHostsOfOtherUsers(t *testing.T) {
	needRoot(t)
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	for name, c := range map[string]struct {
		sites string
		want  int
	}{
		"of one user":    {behaving, 200},
		"of other users": {strangers, 421},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, hosttest.New(t, c.sites, map[string]string{"handover": bin, "relay": bin, "forward": bin})).Start()
			for i, want := range []int{c.want, 200} {
				conn, err := rawhttp.Dial(h.Addr)
				if err != nil {
					t.Fatal(err)
				}
				if got := ask(t, conn, "handover.test", "/pid").Status; got != 200 {
					t.Errorf("connection %d: %d", i, got)
				}
				for _, site := range []string{"relay.test", "forward.test"} {
					if got := ask(t, conn, site, "/pid").Status; got != want {
						t.Errorf("connection %d, %s: %d, want %d", i, site, got, want)
					}
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
