package process

import (
	"os"

	"aerie/internal/cgroup"
)

// Contain says as whom a process runs and within what. The launch shim puts it
// in force before it executes the program, so that not one instruction of the
// program runs without it; what cannot be put in force is an *ExecError that
// names the setting. Only Linux has it: elsewhere a process that asks for a user,
// for no capabilities or for limits is not started, and the rest means nothing.
type Contain struct {
	User             *User       // nil: the host's own, with its groups
	Umask            os.FileMode // of new files
	NoNewPrivs       bool        // set-user-ID programs and file capabilities give the process nothing
	DropCapabilities bool        // it has no capability, and no way to gain one
	ClearAmbient     bool        // it does not inherit what capabilities were given to the host beside those of its user
	Rlimits          []Rlimit    // beside those of the host
	CPUs             []int       // on which it may run; none is where the host may

	// NewGroup makes the control group of one process: the process is put into it
	// before its program is executed, everything that is in it ends with the
	// process, and then it is removed. Nil is no group; so is a nil group.
	NewGroup func() (*cgroup.Group, error) `json:"-"`

	// Memory is the group's limit of memory in bytes; 0 is none. The program is
	// told, see Environment.
	Memory int64

	// OutOfMemory is what Status says of a process that the kernel killed because
	// its group was at its limit of memory; "" says how it was killed.
	OutOfMemory string `json:"-"`
}

// Rlimit is a limit of a single process, soft and hard (getrlimit(2)).
type Rlimit struct {
	Name  string // OpenFiles, CoreSize or LockedMemory
	Value uint64 // math.MaxUint64 is none
}

// The names of limits.
const (
	OpenFiles    = "open_files"
	CoreSize     = "core_size"
	LockedMemory = "locked_memory"
)

// newGroup makes the group that c asks for; nil if it asks for none.
func (c *Contain) newGroup() (*cgroup.Group, error) {
	if c == nil || c.NewGroup == nil {
		return nil, nil
	}
	return c.NewGroup()
}

// User is as whom a process runs, in the numbers of the system.
type User struct {
	UID, GID int
	Groups   []int  // supplementary, and no others
	Name     string // "" if the system has no user with that number
	Home     string // the same
}
