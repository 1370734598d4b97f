package admin

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

func TestAllowed(t *testing.T) {
	for _, test := range []struct {
		peer uint32
		own  int
		want bool
	}{{0, 1000, true}, {1000, 1000, true}, {1001, 1000, false}, {1001, 0, false}, {0, 0, true}} {
		if got := allowed(test.peer, test.own); got != test.want {
			t.Errorf("allowed(%d, %d) = %v", test.peer, test.own, got)
		}
	}
}

// A process of another user is not answered, even where the socket's mode
// would let it in. Only root can become another user, so without root the
// rule is proven by TestAllowed alone.
func TestPeerOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	_, path := start(t, &fakeHost{})
	// The test's own folder is root's alone.
	if err := os.Chmod(filepath.Dir(filepath.Dir(filepath.Dir(path))), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, path).Status(t.Context()); err != nil {
		t.Errorf("root: %v", err)
	}
	if n, err := asNobody(t, path); n != 0 || err == nil {
		t.Errorf("another user was answered %d bytes", n)
	}
}

// asNobody sends a request from a thread of uid 65534 and returns what it read.
func asNobody(t *testing.T, path string) (n int, err error) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	connected := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		const nobody, same = 65534, ^uintptr(0)
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, nobody, same); errno != 0 {
			connected <- errno
			return
		}
		connected <- syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
	}()
	if err := <-connected; err != nil {
		t.Fatalf("connect: %v", err)
	}
	f := os.NewFile(uintptr(fd), "peer")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		return 0, err
	}
	return conn.Read(make([]byte, 100))
}
