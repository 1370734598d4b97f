// Package config is sites.toml: its types, its defaults, how it is read and
// checked, and what differs between two of them. It has no behaviour beyond
// that and starts no goroutine.
//
// Load reads a file in four steps: the defaults, the TOML over them, then what
// follows from other keys (paths made absolute, the program of each pool
// gathered from its apps), then the rules that span tables. Whatever is wrong
// is collected, so that one Load reports everything at once as a *Problems.
// The only exception is TOML that cannot be parsed, which is reported alone.
//
// Every table of the file is described once, as a list of settings (see
// schema.go): reading, the suggestions for mistyped keys, and Diff all work
// from it. A new key is one line there, one field, one default, and a paragraph
// in the annotated sites.toml, whose test names a key that is missing.
//
// A *Config is immutable and safe for concurrent use once Load has returned it.
package config
