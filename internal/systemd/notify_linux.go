package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sendLimit is how long a message waits for a service manager that is busy.
const sendLimit = 5 * time.Second

// Notify sends one message of assignments such as "READY=1", as sd_notify(3) has
// them. A line break within one becomes a space. It blocks while the service
// manager's queue is full, for 5 seconds at most.
func (s *Service) Notify(assignments ...string) error {
	lines := make([]string, len(assignments))
	for i, a := range assignments {
		lines[i] = strings.NewReplacer("\n", " ", "\r", " ").Replace(a)
	}
	return s.send(strings.Join(lines, "\n"), nil)
}

// Reloading tells that a reload begins, with the time that systemd wants to have
// with it. "READY=1" ends it.
func (s *Service) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return os.NewSyscallError("clock_gettime", err)
	}
	return s.Notify("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/1000, 10))
}

// Store has the service manager keep a copy of f, and pass it under that name to
// the next process of this service, if it has FileDescriptorStoreMax=. A copy that it has
// already is kept once. f stays the caller's. A name has neither ":" nor control
// characters, and at most 255 characters.
func (s *Service) Store(name string, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("store descriptor %s: %w", name, err)
	}
	var sent error
	err = raw.Control(func(fd uintptr) { sent = s.send("FDSTORE=1\nFDNAME="+name, unix.UnixRights(int(fd))) })
	if err = errors.Join(err, sent); err != nil {
		return fmt.Errorf("store descriptor %s: %w", name, err)
	}
	return nil
}

// Forget has the service manager close what it keeps under a name.
func (s *Service) Forget(name string) error {
	if err := s.send("FDSTOREREMOVE=1\nFDNAME="+name, nil); err != nil {
		return fmt.Errorf("remove stored descriptor %s: %w", name, err)
	}
	return nil
}

// send sends one message on a socket of its own, so that it arrives also after
// the service manager has opened its own end anew.
func (s *Service) send(message string, rights []byte) (err error) {
	if !s.Notified() {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.notify, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetWriteDeadline(time.Now().Add(sendLimit)); err != nil {
		return err
	}
	raw, err := conn.SyscallConn() // package net sends no descriptors on a connected socket of datagrams
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		for sent = unix.EINTR; sent == unix.EINTR; {
			sent = unix.Sendmsg(int(fd), []byte(message), rights, nil, unix.MSG_NOSIGNAL)
		}
		return sent != unix.EAGAIN
	})
	return errors.Join(err, os.NewSyscallError("sendmsg", sent))
}
