package systemd

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// receiver is the service manager's end.
func receiver(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // only read from
	return c
}

func next(t *testing.T, c *net.UnixConn) (text string, oob []byte) {
	t.Helper()
	b, oob := make([]byte, 4096), make([]byte, 4096)
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), oob[:oobn]
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	for _, name := range []string{path, "@aerie-systemd-test-" + strconv.Itoa(os.Getpid())} {
		c, s := receiver(t, name), &Service{notify: name}
		if err := s.Notify("READY=1", "STATUS=one\ntwo"); err != nil {
			t.Fatal(err)
		}
		if got, _ := next(t, c); got != "READY=1\nSTATUS=one two" {
			t.Errorf("%q", got)
		}
		if err := s.Forget("x"); err != nil {
			t.Fatal(err)
		}
		if got, _ := next(t, c); got != "FDSTOREREMOVE=1\nFDNAME=x" {
			t.Errorf("%q", got)
		}
	}
	if err := (&Service{notify: filepath.Join(t.TempDir(), "none")}).Notify("READY=1"); err == nil {
		t.Error("nobody has got it, and there is no error")
	}
}

func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	c, s := receiver(t, path), &Service{notify: path}
	f, err := os.CreateTemp(t.TempDir(), "f")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Store("some", f); err != nil {
		t.Fatal(err)
	}
	text, oob := next(t, c)
	if text != "FDSTORE=1\nFDNAME=some" {
		t.Errorf("%q", text)
	}
	control, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(control) != 1 {
		t.Fatalf("%d messages, %v", len(control), err)
	}
	fds, err := unix.ParseUnixRights(&control[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("descriptors %v, %v", fds, err)
	}
	got := os.NewFile(uintptr(fds[0]), "got")
	defer func() { _ = got.Close() }() // nothing was written
	was, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if is, err := got.Stat(); err != nil || !os.SameFile(was, is) {
		t.Errorf("another file arrived, %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Store("some", f); err == nil {
		t.Error("a closed file was stored")
	}
}

// What Take reads is no longer in the environment; descriptors that are not there
// are an error.
func TestTake(t *testing.T) {
	pid := strconv.Itoa(os.Getpid())
	for _, name := range variables {
		t.Setenv(name, "") // so that it is put back
	}
	t.Setenv("NOTIFY_SOCKET", "@x")
	t.Setenv("WATCHDOG_USEC", "1000")
	s, err := Take()
	if err != nil || !s.Notified() || s.watchdog == 0 || len(s.Sockets()) > 0 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, name := range variables {
		if value, ok := os.LookupEnv(name); ok {
			t.Errorf("%s=%q is still there", name, value)
		}
	}
	t.Setenv("LISTEN_PID", pid)
	t.Setenv("LISTEN_FDS", "50000")
	if _, err := Take(); err == nil {
		t.Error("50000 descriptors were passed")
	}
}

func TestUnitOf(t *testing.T) {
	tests := map[string]struct {
		cgroup, unit string
		user         bool
	}{
		"v2":            {"0::/system.slice/aerie.service\n", "aerie.service", false},
		"a group below": {"0::/system.slice/aerie.service/host\n", "aerie.service", false},
		"hybrid":        {"2:cpu:/\n1:name=systemd:/system.slice/aerie.service\n0::/\n", "aerie.service", false},
		"instance":      {"0::/system.slice/system-aerie.slice/aerie@blue.service\n", "aerie@blue.service", false},
		"of a user":     {"0::/user.slice/user-1000.slice/user@1000.service/app.slice/aerie.service\n", "aerie.service", true},
		"login":         {"0::/user.slice/user-1000.slice/session-3.scope\n", "", false},
		"terminal":      {"0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn.scope\n", "", false},
		"container":     {"0::/\n", "", false},
		"nothing":       {"", "", false},
	}
	for name, test := range tests {
		if unit, user := unitOf(test.cgroup); unit != test.unit || user != test.user {
			t.Errorf("%s: %q, %v", name, unit, user)
		}
	}
}

// systemctl is asked for what it says, and nothing is guessed without an answer.
func TestKillMode(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	script := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if mode := killMode(t.Context(), "aerie.service", false); mode != "" {
		t.Errorf("without systemctl: %q", mode)
	}
	script(`[ "$*" = "show --property=KillMode --value -- aerie.service" ] && echo mixed`)
	if mode := killMode(t.Context(), "aerie.service", false); mode != "mixed" {
		t.Errorf("%q", mode)
	}
	script(`[ "$1" = --user ] && echo process`)
	if mode := killMode(t.Context(), "aerie.service", true); mode != "process" {
		t.Errorf("of a user: %q", mode)
	}
	script("echo control-group; exit 1")
	if mode := killMode(t.Context(), "aerie.service", false); mode != "" {
		t.Errorf("systemctl failed: %q", mode)
	}
	for mode, warns := range map[string]bool{"control-group": true, "mixed": true, "process": false, "none": false, "": false} {
		if got := killWarning("aerie.service", mode); (got != "") != warns {
			t.Errorf("%q: %q", mode, got)
		}
	}
	t.Setenv("INVOCATION_ID", "0123")
	t.Setenv("SYSTEMD_EXEC_PID", "1") // a shell in somebody's unit
	if got := KillWarning(t.Context()); got != "" {
		t.Errorf("%q", got)
	}
}
