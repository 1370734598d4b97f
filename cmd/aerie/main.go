// Command aerie is the host and everything that an operator does with it.
package main

import (
	"context"
	"os"
)

func main() {
	if code, ok := helper(os.Args[1:]); ok {
		os.Exit(code)
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
