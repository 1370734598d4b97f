package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"sync"
)

// Limits bound the room that a log takes: at most MaxFiles+1 files of about
// MaxSize bytes each.
type Limits struct {
	MaxSize  int64 // bytes after which a file is rotated; 0 never rotates
	MaxFiles int   // rotated files kept: name.1 is the newest; 0 keeps none
}

// File is a log file opened for appending. It is rotated before the Write that
// would take it past its size. Other processes may write to it through the
// descriptor that they were given; RotateIfLarge looks after those writes.
type File struct {
	path   string
	limits Limits

	mu   sync.Mutex // guards below
	file *os.File   // nil when closed, or when a rotation could not open the new file
	prev *os.File   // the file before the last rotation, see File
	shut bool
}

// Open opens or creates the log file at path. Its folder must exist. The caller
// closes it.
func Open(path string, limits Limits) (*File, error) {
	f := &File{path: path, limits: limits}
	file, err := f.open()
	if err != nil {
		return nil, err
	}
	f.file = file
	return f, nil
}

// Path is the name of the current file.
func (f *File) Path() string { return f.path }

// Write appends p, which should be whole lines: what is written in one call
// stays together. If the file could not be rotated p is written nevertheless,
// and the error says so.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rotateErr := f.readyLocked(int64(len(p)))
	if f.file == nil {
		return 0, rotateErr
	}
	n, err := f.file.Write(p)
	if err != nil {
		err = fmt.Errorf("write log: %w", err)
	}
	return n, errors.Join(rotateErr, err)
}

// RotateIfLarge rotates the file if it has reached its size, whoever wrote it.
// If it has rotated, the processes that hold the old descriptor need the new
// one, which is what it returns; the File keeps owning it.
func (f *File) RotateIfLarge() (newFile *os.File, rotated bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.file
	err = f.readyLocked(0)
	return f.file, f.file != nil && f.file != before, err
}

// File is the current file, to be passed to another process as a descriptor.
// The caller must not close it. It stays open through one rotation, so that a
// process that is just being started with it does not find it closed. It is nil
// once f is closed.
func (f *File) File() *os.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file
}

// Reopen opens the file by its name again, for when somebody else has renamed
// or removed it.
func (f *File) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return f.closedError()
	}
	file, err := f.open()
	if err != nil {
		return err
	}
	return f.replaceLocked(file)
}

// Close closes the file. It is repeatable.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut = true
	err := errors.Join(closeFile(f.file), closeFile(f.prev))
	f.file, f.prev = nil, nil
	return err
}

// readyLocked makes f.file the file that the next n bytes belong into. It
// leaves f.file nil only if there is no file to write to.
func (f *File) readyLocked(n int64) error {
	if f.shut {
		return f.closedError()
	}
	if f.file == nil {
		file, err := f.open()
		if err != nil {
			return err
		}
		f.file = file
	}
	if f.limits.MaxSize <= 0 {
		return nil
	}
	info, err := f.file.Stat() // other processes write too: only the file knows its size
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	size := info.Size()
	if size == 0 || (size < f.limits.MaxSize && size+n <= f.limits.MaxSize) {
		return nil
	}
	if err := f.rotateLocked(); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	return nil
}

func (f *File) rotateLocked() error {
	var closeErr error
	if runtime.GOOS == "windows" { // does not rename open files
		closeErr = errors.Join(closeFile(f.file), closeFile(f.prev))
		f.file, f.prev = nil, nil
	}
	moveErr := f.moveAway()
	if moveErr != nil && f.file != nil {
		return errors.Join(closeErr, moveErr)
	}
	file, err := f.open()
	if err != nil {
		return errors.Join(closeErr, moveErr, err)
	}
	return errors.Join(closeErr, moveErr, f.replaceLocked(file))
}

// moveAway renames the current file and those before it one number up.
func (f *File) moveAway() error {
	if f.limits.MaxFiles <= 0 {
		return ignoreMissing(os.Remove(f.path))
	}
	for i := f.limits.MaxFiles - 1; i >= 0; i-- {
		if err := ignoreMissing(os.Rename(f.name(i), f.name(i+1))); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) name(i int) string {
	if i == 0 {
		return f.path
	}
	return f.path + "." + strconv.Itoa(i)
}

// replaceLocked makes file the current one. The one before it stays open, and
// the one before that is closed.
func (f *File) replaceLocked(file *os.File) error {
	old := f.prev
	f.prev, f.file = f.file, file
	return closeFile(old)
}

func (f *File) open() (*os.File, error) {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return file, nil
}

func (f *File) closedError() error {
	return fmt.Errorf("log %s: %w", f.path, fs.ErrClosed)
}

func closeFile(file *os.File) error {
	if file == nil {
		return nil
	}
	return file.Close()
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
