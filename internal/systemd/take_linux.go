package systemd

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Take takes over what the service manager has given this process, and removes
// the variables that say so from its environment. It is called once, before the
// process starts others. It does not block. An error means that a variable is not
// what its protocol asks for, or names a descriptor that is not open.
func Take() (*Service, error) {
	e, err := parse(os.Getenv, os.Getpid())
	for _, name := range variables {
		_ = os.Unsetenv(name) // it fails for malformed names only
	}
	if err != nil {
		return nil, fmt.Errorf("environment of the service manager: %w", err)
	}
	s := &Service{notify: e.notify, watchdog: e.watchdog}
	for i, name := range e.names {
		fd := firstPassed + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("LISTEN_FDS=%d: descriptor %d (%s): %w", len(e.names), fd, name, os.NewSyscallError("fcntl", err))
		}
		s.sockets = append(s.sockets, Socket{File: os.NewFile(uintptr(fd), name), Name: name})
	}
	return s, nil
}
