package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// RSS is the memory of the process that lies in RAM, in bytes. It is 0 where
// the system does not say.
func RSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0, fmt.Errorf("memory of process %d: /proc says %q", pid, b)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// Tree returns the process pid and all that belong to it: the members of its
// session and group, and their descendants.
func Tree(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make(map[int]stat)
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		s, err := readStat(id)
		if errors.Is(err, errProcessGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all[id] = s
	}
	var tree []int
	for id := range all {
		for at, up := id, 0; at > 1 && up <= len(all); at, up = all[at].parent, up+1 {
			if s := all[at]; at == pid || s.group == pid || s.session == pid {
				tree = append(tree, id)
				break
			}
		}
	}
	return tree, nil
}

// stat is what we need of /proc/<pid>/stat.
type stat struct {
	parent, group, session int
	started                uint64 // clock ticks after boot
	dead                   bool   // it has ended, and its parent has not yet asked how
}

var errProcessGone = errors.New("process is gone")

// startTime tells a process from a later one with the same number.
func startTime(pid int) (uint64, error) {
	s, err := readStat(pid)
	return s.started, err
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return parseStat(pid, b, err)
}

// parseStat is what the reading of the file has given.
func parseStat(pid int, b []byte, err error) (stat, error) {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) { // it ended before the file was opened, or after
		return stat{}, fmt.Errorf("look at process %d: %w", pid, errProcessGone)
	}
	if err != nil {
		return stat{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	// The second field is the program's name in brackets, and may contain
	// anything, brackets and spaces included.
	end := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[end+1:]))
	if end < 0 || len(fields) < 20 {
		return stat{}, fmt.Errorf("look at process %d: %w", pid, errProcessGone)
	}
	s := stat{dead: fields[0] == "Z"}
	var errs [4]error
	s.parent, errs[0] = strconv.Atoi(fields[1])
	s.group, errs[1] = strconv.Atoi(fields[2])
	s.session, errs[2] = strconv.Atoi(fields[3])
	s.started, errs[3] = strconv.ParseUint(fields[19], 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return stat{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return s, nil
}
