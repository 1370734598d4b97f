// Package cgroup makes control groups of the kernel: bounds on what a process and
// all that it starts may use, and the only way to find all of that again. It
// works on version 2 and, where the machine has those, on the controllers of
// version 1 (cgroups(7)).
//
//	Tree    the part of the machine's groups that is the host's: <own>/NAME, where
//	        <own> is the group that the host runs in itself. Open makes nothing.
//	Group   one group in it, for one process and its descendants
//
// Groups are made and given their limits by github.com/containerd/cgroups. On
// version 2 a group that hands controllers down may hold no process itself, so a
// host that sets limits moves into <own>/NAME.host first.
//
// Nothing here needs the machine's systemd. A host that is not root needs the
// groups delegated to it (systemd: Delegate=yes, DelegateSubgroup=).
package cgroup
