package usage

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// Memory that is touched and CPU that is burnt show up.
func TestOf(t *testing.T) {
	before, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	b := make([]byte, size)
	for i := 0; i < size; i += os.Getpagesize() {
		b[i] = 1
	}
	var own syscall.Rusage
	for begin := time.Now(); time.Since(begin) < time.Minute; {
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
			t.Fatal(err)
		}
		if time.Duration(own.Utime.Nano()+own.Stime.Nano())-before.CPU > 50*time.Millisecond {
			break
		}
	}
	after, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(b)
	for name, grown := range map[string]int64{"RSS": after.RSS - before.RSS, "private": after.Private - before.Private} {
		if grown < size*3/4 || grown > size*5 {
			t.Errorf("%s grew by %d bytes, want about %d", name, grown, size)
		}
	}
	if used := after.CPU - before.CPU; used < 20*time.Millisecond || used > time.Minute {
		t.Errorf("used %v of CPU", used)
	}
}

func TestOf_Gone(t *testing.T) {
	p, err := os.StartProcess("/proc/self/exe", []string{"usage.test", "-test.run=^$"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if u, err := Of(p.Pid); err == nil {
		t.Errorf("a process that is gone uses %+v", u)
	}
}

func TestCPUTime(t *testing.T) {
	got, err := cpuTime([]byte("12 (a) b ) S 1 12 12 0 -1 4194560 1 0 0 0 250 50 7 7 20 0 1 0 5 0 0\n"))
	if err != nil || got != 3*time.Second {
		t.Errorf("got %v, %v, want 3s", got, err)
	}
	if _, err := cpuTime([]byte("12 (a) S 1\n")); err == nil {
		t.Error("a short line is not refused")
	}
}
