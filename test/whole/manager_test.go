//go:build linux

package whole

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"aerie/test/hosttest"
)

// manager stands in for systemd: it passes sockets to hosts, gets their
// messages, and keeps the descriptors that they store.
type manager struct {
	t       *testing.T
	notify  *net.UnixConn
	address string // NOTIFY_SOCKET
	env     []string
	onReady func() // called with the message READY=1, before anything that comes after it
	slow    bool   // stored descriptors that are removed stay open until the test ends

	mu       sync.Mutex          // guards below
	units    []socket            // of socket units
	stored   map[string]*os.File // by FDNAME
	messages []string
}

type socket struct {
	name string
	file *os.File
}

// manage has a stand-in for systemd start the host.
func manage(t *testing.T, h *hosttest.Host, abstract bool) *manager {
	t.Helper()
	m := &manager{t: t, stored: map[string]*os.File{}, address: filepath.Join(h.Dir, "notify")}
	if abstract {
		m.address = "@aerie-test-" + filepath.Base(h.Dir)
	}
	var err error
	if m.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.address, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	received := make(chan struct{})
	go func() {
		defer close(received)
		m.receive()
	}()
	t.Cleanup(func() {
		if err := m.notify.Close(); err != nil {
			t.Error(err)
		}
		<-received
	})
	h.Prepare = m.prepare
	return m
}

// prepare has cmd run as systemd would. LISTEN_PID is the process's own, so that
// a shell has to set it.
func (m *manager) prepare(cmd *exec.Cmd) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	pass := func(name string, file *os.File) {
		names = append(names, name)
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	for _, s := range m.units {
		pass(s.name, s.file)
	}
	for _, name := range slices.Sorted(maps.Keys(m.stored)) {
		pass(name, m.stored[name])
	}
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.address)
	cmd.Env = append(cmd.Env, m.env...)
	if len(names) > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	cmd.Args = append([]string{"sh", "-c", `export LISTEN_PID=$$ WATCHDOG_PID=$$; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
}

// receive takes messages until the socket is closed.
func (m *manager) receive() {
	b, oob := make([]byte, 64<<10), make([]byte, 1024)
	for {
		n, oobn, _, _, err := m.notify.ReadMsgUnix(b, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			m.t.Error(err)
			return
		}
		m.message(string(b[:n]), oob[:oobn])
	}
}

func (m *manager) message(text string, oob []byte) {
	said := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		said[name] = value
	}
	if said["READY"] == "1" && m.onReady != nil {
		m.onReady()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages = append(m.messages, text)
	name := said["FDNAME"]
	switch {
	case said["FDSTORE"] == "1":
		if m.stored[name] != nil {
			m.t.Errorf("%s is stored twice", name)
		}
		control, err := unix.ParseSocketControlMessage(oob)
		if err != nil || len(control) != 1 {
			m.t.Errorf("%q with %d control messages, %v", text, len(control), err)
			return
		}
		fds, err := unix.ParseUnixRights(&control[0])
		if err != nil || len(fds) != 1 {
			m.t.Errorf("%q with descriptors %v, %v", text, fds, err)
			return
		}
		unix.CloseOnExec(fds[0])
		m.keep(name, os.NewFile(uintptr(fds[0]), name))
	case said["FDSTOREREMOVE"] == "1":
		if f := m.stored[name]; f != nil && !m.slow {
			if err := f.Close(); err != nil {
				m.t.Error(err)
			}
		}
		delete(m.stored, name)
	}
}

func (m *manager) keep(name string, f *os.File) {
	m.stored[name] = f
	m.t.Cleanup(func() { _ = f.Close() }) // often closed already
}

// unit opens the socket of a socket unit.
func (m *manager) unit(name, network, address string) *os.File {
	m.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), network, address)
	if err != nil {
		m.t.Fatal(err)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err = errors.Join(err, l.Close()); err != nil {
		m.t.Fatal(err)
	}
	m.pass(name, f)
	return f
}

func (m *manager) pass(name string, f *os.File) {
	m.t.Cleanup(func() { _ = f.Close() }) // nothing is buffered in it
	m.mu.Lock()
	defer m.mu.Unlock()
	m.units = append(m.units, socket{name, f})
}

// since are the messages after the first n.
func (m *manager) since(n int) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.messages[n:])
}

func (m *manager) names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.stored))
}

// first are the first words of messages, without those to the watchdog.
func first(messages []string) string {
	var out []string
	for _, text := range messages {
		if line, _, _ := strings.Cut(text, "\n"); line != "WATCHDOG=1" {
			out = append(out, line)
		}
	}
	return strings.Join(out, " ")
}

// wait waits for a message behind the first n that begins with a word.
func (m *manager) wait(h *hosttest.Host, n int, word string) (text string) {
	m.t.Helper()
	h.WaitFor(word, func() bool {
		for _, text = range m.since(n) {
			if strings.HasPrefix(text, word) {
				return true
			}
		}
		return false
	})
	return text
}

// dial tries to connect.
func dial(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	return c.Close()
}

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
