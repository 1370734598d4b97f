package cgroup

import (
	"crypto/sha256"
	"encoding/hex"
)

// Name is what the tree of the host is called whose own folder is dir: as short as
// such names should be, and another one for each host of a machine.
func Name(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "aerie-" + hex.EncodeToString(sum[:4])
}

// Limits are bounds for all processes of a group together; zero is none.
type Limits struct {
	CPU       float64 // in CPUs: 1.5 is one and a half of them all the time
	Memory    int64   // bytes, swap included
	Processes int     // processes and threads
}

// The names of the limits.
const (
	CPU       = "cpu"
	Memory    = "memory"
	Processes = "processes"
)

// Refusal is a limit that cannot be set here, and why.
type Refusal struct {
	Limit string // CPU, Memory or Processes
	Err   error
}

// asked are the names of the limits that l sets.
func (l Limits) asked() []string {
	var names []string
	if l.CPU > 0 {
		names = append(names, CPU)
	}
	if l.Memory > 0 {
		names = append(names, Memory)
	}
	if l.Processes > 0 {
		names = append(names, Processes)
	}
	return names
}

// Without is l without the limits that were refused.
func (l Limits) Without(refused []Refusal) Limits {
	for _, r := range refused {
		switch r.Limit {
		case CPU:
			l.CPU = 0
		case Memory:
			l.Memory = 0
		case Processes:
			l.Processes = 0
		}
	}
	return l
}

// Refuse refuses all of the limits for the same reason.
func (l Limits) Refuse(err error) []Refusal {
	var refused []Refusal
	for _, limit := range l.asked() {
		refused = append(refused, Refusal{limit, err})
	}
	return refused
}

// controller is what the kernel calls the part of it that keeps a limit.
func controller(limit string) string {
	if limit == Processes {
		return "pids"
	}
	return limit
}

// period is the time in which a group may use its share of the CPUs, in
// microseconds: the kernel's own default.
const period = 100_000

func (l Limits) quota() int64 { return int64(l.CPU * period) }
