// Command aerie is the host and everything that an operator does with it.
package main

import (
	"context"
	"os"
	_ "time/tzdata" // schedules name time zones, and not every machine has them
)

func main() {
	if code, ok := helper(os.Args[1:]); ok {
		os.Exit(code)
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
