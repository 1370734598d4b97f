package main

import (
	"cmp"

	"aerie/bench/hello"
)

// target is a server under load.
type target struct {
	addr string // host:port
	host string // the field Host; "" is addr
	proc *process
}

// authority is what requests name.
func (t *target) authority() string { return cmp.Or(t.host, t.addr) }

func (t *target) url() string { return "http://" + t.addr + hello.Path }
