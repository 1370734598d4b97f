package process

import "os"

// Contain says as whom a process runs and within what. The launch shim puts it
// in force before it executes the program, so that not one instruction of the
// program runs without it; what cannot be put in force is an *ExecError that
// names the setting. Only Linux has it: elsewhere a process that asks for a user or
// for no capabilities is not started, and the rest means nothing.
type Contain struct {
	User             *User       // nil: the host's own, with its groups
	Umask            os.FileMode // of new files
	NoNewPrivs       bool        // set-user-ID programs and file capabilities give the process nothing
	DropCapabilities bool        // it has no capability, and no way to gain one
}

// User is as whom a process runs, in the numbers of the system.
type User struct {
	UID, GID int
	Groups   []int  // supplementary, and no others
	Name     string // "" if the system has no user with that number
	Home     string // the same
}
