// Package process starts, contains and ends the worker processes of a host.
//
// On Linux every process starts through the launch shim: the host's own binary
// with the verb "launch", which does what fork cannot and then executes the
// program under the same pid. So a program that cannot be executed is a typed
// error (ExecError) with a reason, never an exit status that the program itself
// could have had; and the program does not run before the host has everything
// in place to end it.
//
// A process leads its own session and its own process group. Its tree is that
// group, and ends with it: when the process ends, for whatever reason, the rest
// of the group is killed while the dead leader still holds the group's number.
// A process that leaves the group on purpose (setsid) leaves the tree as well.
//
// Who dies with the host: a process started with EndWithHost, by a signal that
// the kernel sends when the host's thread dies, and the rest of its group by
// the guard, a small helper process that notices the host's death by the end of
// a pipe. A process without EndWithHost lives on.
//
// A process that a host before this one has started can be adopted: see Adopt.
//
// Elsewhere than on Linux programs are executed directly and there is neither
// shim nor guard: those systems are for development.
package process
