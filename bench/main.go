// Command bench measures Aerie side by side with what people would use in its
// place, on one machine in one run, and prints ratios. See doc.go.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}
