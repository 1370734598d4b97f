package host

import (
	"errors"
	"fmt"
	"os"
)

// lock is the run folder's lock: a file that only one process can have.
type lock struct{ f *os.File }

// takeLock takes the lock at path.
func takeLock(path string) (*lock, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("another host uses this run_dir: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("take lock: %w", err)
	}
	return &lock{f}, nil
}

func (l *lock) release() error { return errors.Join(l.f.Close(), os.Remove(l.f.Name())) }
