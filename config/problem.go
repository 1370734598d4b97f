package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, or doubtful, in a sites.toml.
type Problem struct {
	File    string `json:"file"`             // as it was given to Load
	Line    int    `json:"line"`             // from 1; 0 when it belongs to no line
	Column  int    `json:"column,omitempty"` // from 1; only for TOML that cannot be parsed
	Key     string `json:"key"`              // "sites.blog.apps[0].pool"; "" when it belongs to no key
	Message string `json:"message"`          // what the rule is
}

// String is the problem in one line: "file:line: key: message".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Column > 0 {
		fmt.Fprintf(&b, ":%d", p.Column)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is the error of a file that was read and is not valid. It holds at
// least one problem, in the order of the file.
type Problems struct {
	List []Problem
}

// Error prints one problem per line.
func (p *Problems) Error() string { return strings.Join(p.Problems(), "\n") }

// Problems is each problem as one line.
func (p *Problems) Problems() []string {
	lines := make([]string, len(p.List))
	for i, problem := range p.List {
		lines[i] = problem.String()
	}
	return lines
}

// sortProblems puts problems into the order of the file.
func sortProblems(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int { return a.Line - b.Line })
}
