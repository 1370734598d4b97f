// Package systemd speaks with the service manager that has started this
// process, over what sd_listen_fds(3) and sd_notify(3) define: sockets that it
// passes, messages to it, the store in which it keeps descriptors while the
// service is away, and its watchdog. Only Linux has one; elsewhere, and in a
// process that no service manager started, everything here does nothing.
package systemd

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Service is what the service manager has given this process. Its methods are
// safe for concurrent use and, on nil, do nothing.
type Service struct {
	sockets  []Socket
	notify   string // path of the socket for messages, "@" first if abstract; "" if there is none
	watchdog time.Duration
}

// Socket is a descriptor that was passed. Whoever uses it closes it.
type Socket struct {
	File *os.File
	Name string // FileDescriptorName= of the socket unit, or the name in the store
}

// firstPassed is the number of the first descriptor passed (SD_LISTEN_FDS_START).
const firstPassed = 3

// variables are those of the protocols. They are for this process alone: one
// that inherited them would take the descriptors and messages for its own.
var variables = []string{
	"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES",
	"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE",
}

// Sockets are the descriptors that were passed, in their order. They are closed
// on exec.
func (s *Service) Sockets() []Socket {
	if s == nil {
		return nil
	}
	return s.sockets
}

// Notified says whether the service manager takes messages and descriptors.
func (s *Service) Notified() bool { return s != nil && s.notify != "" }

// environment is what the variables say.
type environment struct {
	names    []string // one per descriptor passed
	notify   string
	watchdog time.Duration
}

// parse reads the variables as the process pid has to. What is meant for another
// process is as if it were not there.
func parse(get func(string) string, pid int) (environment, error) {
	var e environment
	var err error
	if e.names, err = parseListen(get, pid); err != nil {
		return environment{}, err
	}
	e.notify = get("NOTIFY_SOCKET")
	if n := e.notify; n != "" && (len(n) < 2 || n[0] != '/' && n[0] != '@') {
		return environment{}, fmt.Errorf("NOTIFY_SOCKET=%q: want the path of a unix socket, or @ and an abstract name", n)
	}
	if usec := get("WATCHDOG_USEC"); usec != "" && forProcess(get("WATCHDOG_PID"), pid) {
		n, err := strconv.ParseInt(usec, 10, 64)
		if err != nil || n <= 0 || n > int64(maxWatchdog/time.Microsecond) {
			return environment{}, fmt.Errorf("WATCHDOG_USEC=%q: want a number of microseconds above 0", usec)
		}
		e.watchdog = time.Duration(n) * time.Microsecond
	}
	return e, nil
}

const maxWatchdog = 10 * 365 * 24 * time.Hour // only so that nothing overflows

// forProcess says whether a variable that names a process means pid; one that is
// not there means everybody.
func forProcess(value string, pid int) bool { return value == "" || value == strconv.Itoa(pid) }

func parseListen(get func(string) string, pid int) ([]string, error) {
	fds := get("LISTEN_FDS")
	if fds == "" || get("LISTEN_PID") != strconv.Itoa(pid) {
		return nil, nil
	}
	const most = 1 << 16 // descriptors: more than systemd passes
	n, err := strconv.Atoi(fds)
	if err != nil || n < 0 || n > most {
		return nil, fmt.Errorf("LISTEN_FDS=%q: want a number of descriptors", fds)
	}
	names := strings.Split(get("LISTEN_FDNAMES"), ":")
	switch {
	case get("LISTEN_FDNAMES") == "" && n != 1:
		names = make([]string, n)
	case n == 0:
		return nil, nil
	case len(names) != n:
		return nil, fmt.Errorf("LISTEN_FDNAMES has %d names for LISTEN_FDS=%d descriptors", len(names), n)
	}
	for i, name := range names {
		if name == "" {
			names[i] = "unknown" // as sd_listen_fds_with_names has it
		}
	}
	return names, nil
}
