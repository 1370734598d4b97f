// Package procfs reads from /proc what tests measure of a process.
package procfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Memory returns the resident memory of a process, now and at its peak, in bytes.
func Memory(pid int) (rss, peak int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	if rss, err = number(b, "VmRSS:"); err != nil {
		return 0, 0, err
	}
	peak, err = number(b, "VmHWM:")
	return rss << 10, peak << 10, err
}

// ResetPeak makes the peak of a process its memory of now.
func ResetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// Calls returns how many calls like read and like write a process has made;
// one sendfile counts as both.
func Calls(pid int) (reads, writes int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, 0, err
	}
	if reads, err = number(b, "syscr:"); err != nil {
		return 0, 0, err
	}
	writes, err = number(b, "syscw:")
	return reads, writes, err
}

func number(b []byte, key string) (int64, error) {
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) > 1 && string(f[0]) == key {
			return strconv.ParseInt(string(f[1]), 10, 64)
		}
	}
	return 0, fmt.Errorf("procfs: no %s", key)
}
