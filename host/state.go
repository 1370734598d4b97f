package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"aerie/inproc"
	"aerie/internal/process"
)

// stateName is the file in run_dir from which a restarted host learns which
// worker processes the one before it has left. It is a hint: each process has to
// prove itself. It holds tokens, so only the host's user may read it.
const stateName = "state.json"

// stateVersion is of the file's form. A file of another one is not used.
const stateVersion = 1

// state is what is in the file.
type state struct {
	Version int             `json:"version"`
	Boot    string          `json:"boot"`  // process ids and start times of another boot mean nothing
	Epoch   uint64          `json:"epoch"` // of the start of the host that wrote it
	Workers []inproc.Record `json:"workers"`
}

// memory is the state of this start of the host, and its file.
type memory struct {
	root *os.Root // run_dir

	mu    sync.Mutex // guards below; held while the file is written
	state state
	over  bool // the file is not written any more
}

// remember reads what the host before has left in the run folder, and begins a new
// epoch there. What cannot be read is returned as problem, and was left by nobody.
// The caller has the folder's lock, and ends the memory with close.
func remember(runDir string) (m *memory, left []inproc.Record, problem, err error) {
	root, err := os.OpenRoot(runDir)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("state: %w", err)
	}
	m = &memory{root: root}
	old, problem := readState(root)
	boot, err := process.BootID()
	if err != nil {
		boot = "" // this system lets nobody adopt processes
	}
	if boot != "" && old.Boot == boot {
		left = old.Workers
	}
	m.state = state{Version: stateVersion, Boot: boot, Epoch: old.Epoch + 1, Workers: slices.Clone(left)}
	if err := m.writeLocked(); err != nil {
		return nil, nil, nil, errors.Join(err, root.Close())
	}
	return m, left, problem, nil
}

// readState reads the file. Without one, or with one that makes no sense, it
// returns the zero state; a missing one is no problem.
func readState(root *os.Root) (state, error) {
	b, err := root.ReadFile(stateName)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	var s state
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && s.Version != stateVersion {
		err = fmt.Errorf("version %d, want %d", s.Version, stateVersion)
	}
	if err != nil {
		return state{}, fmt.Errorf("state of the host before, %s: %w", stateName, err)
	}
	return s, nil
}

// epoch grows with each start of the host.
func (m *memory) epoch() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Epoch
}

// keep notes a worker process that is ready.
func (m *memory) keep(r inproc.Record) error {
	return m.change(func(all []inproc.Record) []inproc.Record {
		return append(slices.DeleteFunc(all, same(r.Pid)), r)
	})
}

// drop forgets a worker process that has ended, or is none of this host's.
func (m *memory) drop(pid int) error {
	return m.change(func(all []inproc.Record) []inproc.Record { return slices.DeleteFunc(all, same(pid)) })
}

func same(pid int) func(inproc.Record) bool {
	return func(r inproc.Record) bool { return r.Pid == pid }
}

// change changes the workers and writes the file.
func (m *memory) change(do func([]inproc.Record) []inproc.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.state.Workers)
	m.state.Workers = do(slices.Clone(m.state.Workers))
	if m.over || before == 0 && len(m.state.Workers) == 0 {
		return nil
	}
	return m.writeLocked()
}

// writeLocked replaces the file: whoever reads it finds all of the old one or all
// of the new one, also after a power cut.
func (m *memory) writeLocked() error {
	b, err := json.MarshalIndent(&m.state, "", "  ")
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	const draft = stateName + ".new"
	if err := m.root.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write state: %w", err)
	}
	f, err := m.root.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = m.root.Rename(draft, stateName)
	}
	if err == nil {
		err = m.syncDir()
	}
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// syncDir makes a rename last. Where folders cannot be synced it is not needed.
func (m *memory) syncDir() error {
	d, err := m.root.Open(".")
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrInvalid) {
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

// close ends the memory. inOrder removes the file: the host has ended all workers.
func (m *memory) close(inOrder bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return nil
	}
	m.over = true
	var err error
	if inOrder {
		err = m.root.Remove(stateName)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, m.root.Close())
}
