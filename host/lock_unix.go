//go:build unix

package host

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// lock is the run folder's lock: while a host holds it no other one can use the
// folder. The kernel releases it when the host ends, however it ends.
type lock struct{ f *os.File }

// takeLock takes the lock at path, or says who has it.
func takeLock(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		who, _ := os.ReadFile(path) // only to be helpful
		err = fmt.Errorf("another host uses this run_dir: %s is locked by pid %s", path, strings.TrimSpace(string(who)))
		return nil, errors.Join(err, f.Close())
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write lock: %w", err), f.Close())
	}
	return &lock{f}, nil
}

func (l *lock) release() error { return l.f.Close() }
