// Package logfile keeps log files within bounds: File is an append-only file
// that is rotated by size, Set owns all files of one folder, Tail remembers
// the last lines that a process printed.
//
// Everything in it is safe for concurrent use.
package logfile
