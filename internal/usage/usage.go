// Package usage tells what a process uses of the machine.
package usage

import "time"

// Usage is what one process, without its children, uses.
type Usage struct {
	RSS     int64         // bytes of its memory that lie in RAM
	Private int64         // bytes that nobody shares with it and no file holds, swapped ones included
	CPU     time.Duration // that it has used since its start, in user and system mode
}
