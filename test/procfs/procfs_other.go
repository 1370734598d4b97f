//go:build !linux

// Package procfs reads from /proc what tests measure of a process.
package procfs

import "errors"

// Memory is not known here.
func Memory(int) (rss, peak int64, err error) { return 0, 0, errors.ErrUnsupported }

// ResetPeak is not possible here.
func ResetPeak(int) error { return errors.ErrUnsupported }

// Calls are not counted here.
func Calls(int) (reads, writes int64, err error) { return 0, 0, errors.ErrUnsupported }
