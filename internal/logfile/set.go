package logfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Set owns the log files of one folder. A file has exactly one File, however
// many generations and hosting modes write to it, because two would rotate it
// under each other's hands. The zero value with a Dir is ready to use.
type Set struct {
	Dir    string // created when the first file is opened
	Limits Limits // of each file

	mu    sync.Mutex // guards below
	files map[string]*File
	shut  bool
}

// Open returns the file called name in the folder, opening it if it is the
// first to ask. The file stays open until the Set is closed: callers must not
// close it.
func (s *Set) Open(name string) (*File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return nil, fmt.Errorf("open log %q: %w", name, os.ErrClosed)
	}
	if f := s.files[name]; f != nil {
		return f, nil
	}
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return nil, fmt.Errorf("open log %q: must be a plain file name", name)
	}
	if err := os.MkdirAll(s.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("create log folder: %w", err)
	}
	f, err := Open(filepath.Join(s.Dir, name), s.Limits)
	if err != nil {
		return nil, err
	}
	if s.files == nil {
		s.files = make(map[string]*File)
	}
	s.files[name] = f
	return f, nil
}

// Close closes all files. It is repeatable.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	s.files = nil
	return errors.Join(errs...)
}
