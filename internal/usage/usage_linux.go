package usage

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// userHZ is the unit of times in /proc: Linux tells it to programs as 100 on
// every architecture that Go knows, whatever its own clock is.
const userHZ = 100

// Of reads what the process uses now. It makes two short reads in /proc, and
// never one that walks the process's page tables, as smaps_rollup does. A
// process that has ended is an error.
func Of(pid int) (Usage, error) {
	var u Usage
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	var swapped int64
	for key, to := range map[string]*int64{"VmRSS:": &u.RSS, "RssAnon:": &u.Private, "VmSwap:": &swapped} {
		if *to, err = kilobytes(status, key); err != nil {
			return Usage{}, fmt.Errorf("memory of process %d: %w", pid, err)
		}
	}
	u.Private += swapped
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	if u.CPU, err = cpuTime(stat); err != nil {
		return Usage{}, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return u, nil
}

// kilobytes finds a line such as "VmRSS:  1234 kB".
func kilobytes(status []byte, key string) (int64, error) {
	for line := range bytes.Lines(status) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == key {
			n, err := strconv.ParseInt(string(f[1]), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("/proc does not say %s", key) // of a process that has ended and is not reaped
}

// cpuTime is utime and stime, fields 14 and 15 of proc_pid_stat(5). The second
// field is the name in parentheses, which may hold anything.
func cpuTime(stat []byte) (time.Duration, error) {
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from field 3 on
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc says %q", stat)
	}
	var sum int64
	for _, ticks := range f[11:13] {
		n, err := strconv.ParseInt(string(ticks), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * (time.Second / userHZ), nil
}
