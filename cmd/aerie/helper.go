package main

import "aerie/internal/process"

// helper carries out the verbs by which the host starts its own binary. They
// are no part of the command line that people use, and come before it so that
// nothing of it stands in their way.
func helper(args []string) (code int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	switch args[0] {
	case "launch":
		return process.LaunchMain(args[1:]), true
	case "guard":
		return process.GuardMain(args[1:]), true
	}
	return 0, false
}
