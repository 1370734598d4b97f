package whole

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"aerie/admin"
	"aerie/config"
	"aerie/host"
	"aerie/internal/process"
	"aerie/internal/rawhttp"
	"aerie/test/hosttest"
	"aerie/test/procfs"
)

// TestRecyclesLeakNothing recycles pools of both modes under load: descriptors,
// goroutines, processes, sockets and memory of the host are then where they were.
func TestRecyclesLeakNothing(t *testing.T) {
	h := inside(t)
	leaksNothing(t, h, times(1000, 30), func(name string) {
		if _, err := h.Client.Pool(t.Context(), name, admin.Recycle); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCrashesLeakNothing is the same of worker processes that are killed.
func TestCrashesLeakNothing(t *testing.T) {
	h := inside(t)
	leaksNothing(t, h, times(200, 10), func(name string) {
		before := h.Pool(name)
		if err := syscall.Kill(before.Workers[0].Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		h.Wait("the next generation", func(s admin.Status) bool {
			p := hosttest.PoolOf(t, s, name)
			return p.Crashes > before.Crashes && p.State == "running"
		})
	})
}

var leaking = []string{"handover", "relay", "forward"}

// inside runs a host in this very process, where what it holds can be counted.
// Its processes start through the real binary.
func inside(t *testing.T) *hosttest.Host {
	t.Helper()
	bin := hosttest.Bin(t, "aerie/test/apps/behave")
	// A log that was rotated stays open until the next time.
	sites, pools := behaving+"\n[host.log]\nmax_size = \"4GiB\"\n", map[string]string{}
	for _, name := range leaking {
		sites += fmt.Sprintf("\n[pools.%s]\nrestart_delay = \"1ms\"\nrestart_delay_max = \"1ms\"\nfailure = { max_crashes = 0 }\n", name)
		pools[name] = bin
	}
	h := hosttest.New(t, sites, pools)
	cfg, err := config.Load(filepath.Join(h.Dir, "sites.toml"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(h.Dir, "host.log"))
	if err != nil {
		t.Fatal(err)
	}
	in := host.New(cfg, host.Options{
		Logger:   slog.New(slog.NewTextHandler(log, nil)),
		Launcher: &process.Launcher{Command: []string{hosttest.Bin(t, "aerie/cmd/aerie")}},
	})
	if err := in.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("host:\n%s", b[max(0, len(b)-8000):])
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// leaksNothing has do done to every pool n times, with clients on all of them,
// and compares what the host holds at rest before and after it.
func leaksNothing(t *testing.T, h *hosttest.Host, n int, do func(pool string)) {
	t.Helper()
	settled(t, h)
	round := func(n int) {
		var stops []func()
		for _, name := range leaking {
			stops = append(stops, traffic(t, h, name+".test"))
		}
		for range n {
			for _, name := range leaking {
				do(name)
			}
		}
		for _, stop := range stops {
			stop()
		}
		for _, name := range leaking {
			do(name) // what clients have left open to the workers ends with those
		}
	}
	round(10) // what is made once, is made
	before := rest(t, h, holding{})
	round(n)
	after := rest(t, h, before)
	t.Logf("before %v\nafter %d rounds %v", before, n, after)
	if d := after.more(before); len(d) > 0 {
		t.Errorf("after %d rounds there is more of: %s", n, strings.Join(d, "; "))
	}
	done := int64(n * len(leaking))
	if grown := after.live - before.live; grown > 128<<10+done*256 {
		t.Errorf("the host's live memory grew by %d bytes in %d rounds of %d pools", grown, n, len(leaking))
	}
	if grown := after.rss - before.rss; grown > 4<<20+done*512 {
		t.Errorf("the host's resident memory grew by %d bytes in %d rounds of %d pools", grown, n, len(leaking))
	}
}

// traffic sends requests until the returned function is called. Of a crash they
// see what they will.
func traffic(t *testing.T, h *hosttest.Host, host string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := rawhttp.Load{Addr: h.Addr, Host: host, Conns: 3, Closes: rawhttp.ReopenOnAnnounced, Idle: 100 * time.Millisecond}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	return func() { cancel(); <-done }
}

// holding is what a host holds at rest.
type holding struct {
	descriptors map[string]int // by what they are
	goroutines  map[string]int // by the function that they began with
	children    map[string]int // by name and state
	files       map[string]int // in run/, by kind
	live        int64          // bytes of the heap that something refers to
	rss         int64          // bytes of memory that lie in RAM
}

// settleLimit is long enough for what ends soon after the last request, and too
// short for what only a time-out would end.
const settleLimit = 10 * time.Second

// rest returns what the host holds when it has come to rest: every pool has one
// process, and there is no more than before, for which it waits for a while.
func rest(t *testing.T, h *hosttest.Host, before holding) holding {
	t.Helper()
	settled(t, h)
	if before.goroutines == nil {
		return held(t, h)
	}
	for end := time.Now().Add(settleLimit); ; {
		now := held(t, h)
		if len(now.more(before)) == 0 || time.Now().After(end) {
			return now
		}
		<-time.After(20 * time.Millisecond)
	}
}

// settled waits until every pool has one process.
func settled(t *testing.T, h *hosttest.Host) {
	t.Helper()
	h.Wait("one process for each pool", func(s admin.Status) bool {
		for _, name := range leaking {
			if p := hosttest.PoolOf(t, s, name); p.State != "running" || len(p.Workers) != 1 {
				return false
			}
		}
		return true
	})
}

func held(t *testing.T, h *hosttest.Host) holding {
	t.Helper()
	for range 2 { // the second one frees what finalizers and pools held in the first
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	rss, _, err := procfs.Memory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return holding{
		descriptors: descriptors(t), goroutines: goroutines(t), children: children(t), files: files(t, h),
		live: int64(m.HeapAlloc), rss: rss,
	}
}

// more says what there is more of than before, memory left out.
func (a holding) more(before holding) []string {
	var out []string
	for _, kind := range []struct {
		name     string
		was, are map[string]int
	}{
		{"descriptors", before.descriptors, a.descriptors}, {"goroutines", before.goroutines, a.goroutines},
		{"processes", before.children, a.children}, {"files in run", before.files, a.files},
	} {
		for _, k := range slices.Sorted(maps.Keys(kind.are)) {
			if was, are := kind.was[k], kind.are[k]; are > was {
				out = append(out, fmt.Sprintf("%s: %s: %d, was %d", kind.name, k, are, was))
			}
		}
	}
	return out
}

func (a holding) String() string {
	sum := func(m map[string]int) (n int) {
		for _, v := range m {
			n += v
		}
		return n
	}
	return fmt.Sprintf("%d descriptors, %d goroutines, %d processes, %d files in run, %d KiB live, %d KiB resident",
		sum(a.descriptors), sum(a.goroutines), sum(a.children), sum(a.files), a.live>>10, a.rss>>10)
}

// descriptors are this process's, by what they are.
func descriptors(t *testing.T) map[string]int {
	t.Helper()
	out := map[string]int{}
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		to, err := os.Readlink(filepath.Join("/proc/self/fd", name.Name()))
		if err != nil {
			continue // the one that read the folder
		}
		fd, err := strconv.Atoi(name.Name())
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(to, ":[")
		if kind == "socket" {
			kind += " " + socketName(syscall.Getsockname(fd)) + " - " + socketName(syscall.Getpeername(fd))
		}
		out[kind]++
	}
	return out
}

func socketName(a syscall.Sockaddr, err error) string {
	switch a := a.(type) {
	case *syscall.SockaddrUnix:
		return "unix " + strings.TrimRight(filepath.Base(a.Name), "0123456789")
	case *syscall.SockaddrInet4, *syscall.SockaddrInet6:
		return "tcp"
	}
	return fmt.Sprint(err)
}

// goroutines are this process's, by the function that started them.
func goroutines(t *testing.T) map[string]int {
	t.Helper()
	var b strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for line := range strings.Lines(b.String()) {
		if by, found := strings.CutPrefix(line, "created by "); found {
			by, _, _ = strings.Cut(by, " in goroutine")
			out[by]++
		}
	}
	return out
}

// children are this process's child processes, by name; the dead by themselves.
func children(t *testing.T) map[string]int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b), "(")
		name, rest, _ := strings.Cut(rest, ") ")
		if f := strings.Fields(rest); f[1] == strconv.Itoa(os.Getpid()) {
			out[cmp.Or(map[string]string{"Z": "zombie"}[f[0]], name)]++
		}
	}
	return out
}

// files are those in run/, without the numbers of generations.
func files(t *testing.T, h *hosttest.Host) map[string]int {
	t.Helper()
	out := map[string]int{}
	err := filepath.WalkDir(filepath.Join(h.Dir, "run"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		out[strings.TrimRight(d.Name(), "-0123456789")]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
