package outproc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"aerie/internal/process"
)

// ephemeral returns the range from which the system takes local ports.
func ephemeral() (low, high int) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(b), &low, &high)
	}
	if err != nil {
		return 32768, 60999 // the kernel's own default
	}
	return low, high
}

// ownsPort reports whether all who listen on the port belong to the tree of the
// process pid. With nobody listening it is false.
func ownsPort(pid, port int) (bool, error) {
	listeners, err := listenersOn(port)
	if err != nil || len(listeners) == 0 {
		return false, err
	}
	sockets, all, err := socketsOf(pid)
	if err != nil {
		return false, err
	}
	for _, l := range listeners {
		if sockets[l.inode] {
			continue
		}
		if all || !sameUser(pid, l.uid) {
			return false, nil
		}
	}
	return true, nil
}

// listener is a socket that listens on some local address.
type listener struct {
	inode string
	uid   string
}

func listenersOn(port int) ([]listener, error) {
	const stateListen = "0A"
	suffix := fmt.Sprintf(":%04X", port)
	var found []listener
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if errors.Is(err, fs.ErrNotExist) { // no IPv6
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) > 9 && strings.HasSuffix(f[1], suffix) && f[3] == stateListen {
				found = append(found, listener{inode: f[9], uid: f[7]})
			}
		}
	}
	return found, nil
}

// socketsOf returns the inodes of the sockets that the tree of pid holds, and
// whether all of the tree let itself be looked into.
func socketsOf(pid int) (sockets map[string]bool, all bool, err error) {
	tree, err := process.Tree(pid)
	if err != nil {
		return nil, false, err
	}
	sockets, all = make(map[string]bool), true
	for _, member := range tree {
		dir := filepath.Join("/proc", strconv.Itoa(member), "fd")
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrPermission) {
			all = false
		}
		if err != nil {
			continue // ended meanwhile
		}
		for _, e := range entries {
			target, err := os.Readlink(filepath.Join(dir, e.Name()))
			if err != nil {
				continue // closed meanwhile
			}
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				sockets[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	return sockets, all, nil
}

// sameUser is what can be said of a process that does not let itself be looked
// into: whether the listener is its user's.
func sameUser(pid int, uid string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			f := strings.Fields(ids) // real, effective, saved, file system
			return len(f) > 1 && f[1] == uid
		}
	}
	return false
}
