//go:build !linux

package cgroup

import "errors"

var errOther = errors.New("only Linux has control groups")

// Tree is what only Linux has.
type Tree struct{}

// Open fails.
func Open(string) (*Tree, error) { return nil, errOther }

// Refused refuses all limits.
func (t *Tree) Refused(l Limits) []Refusal { return l.Refuse(errOther) }

// New fails.
func (t *Tree) New(string, Limits) (*Group, error) { return nil, errOther }

// Sweep does nothing.
func (t *Tree) Sweep(func(string) bool) error { return nil }

// Close does nothing.
func (t *Tree) Close() error { return nil }

// Group is what only Linux has.
type Group struct{}

// Find fails.
func Find(string, map[string]string, int) (*Group, error) { return nil, errOther }

// Folders are none.
func (g *Group) Folders() map[string]string { return nil }

// Kill does nothing: there is no group.
func (g *Group) Kill() error { return nil }
