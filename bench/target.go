package main

import "aerie/bench/hello"

// target is a server under load.
type target struct {
	addr string // host:port
	proc *process
}

func (t *target) url() string { return "http://" + t.addr + hello.Path }
