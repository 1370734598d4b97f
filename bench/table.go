package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// String is the result for people.
func (r *result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n%d rounds of %d s a side, %d connections, %d wrk thread(s), all on this machine; load average before: %s\n",
		r.Versions, r.Rounds, r.Seconds, r.Connections, r.Threads, r.Load)
	b.WriteString("Ratios of requests per second, Aerie's over its peer's:\n\n")
	cells := [][]string{{"WORKLOAD", "AGAINST", "MEDIAN", "MIN", "MAX", "GOAL", ""}}
	for _, row := range r.Rows {
		cells = append(cells, row.cells())
	}
	b.WriteString(table(cells))
	b.WriteString(r.figureTable())
	if n := r.wide(); n > 0 {
		fmt.Fprintf(&b, "\nIn %d of %d rows the greatest ratio is more than %.1f times the least: the machine was not quiet, and a median says little.\n",
			n, len(r.Rows), wideSpread)
	}
	for _, row := range r.Rows {
		for _, p := range row.Problems {
			fmt.Fprintf(&b, "\nDoes not count: %s, %s: %s\n", row.Workload, row.Mode, p)
		}
	}
	return b.String()
}

// figureTable is what was measured of Aerie alone.
func (r *result) figureTable() string {
	if len(r.Figures) == 0 {
		return ""
	}
	cells, notes := [][]string{{"FIGURE", "MEDIAN", "MIN", "MAX", "LIMIT", "UNIT", ""}}, ""
	for _, f := range r.Figures {
		cells = append(cells, f.cells())
		if f.Note != "" {
			notes += fmt.Sprintf("\n%s: %s\n", f.Name, f.Note)
		}
	}
	return "\nOf Aerie alone, on this machine:\n\n" + table(cells) + notes
}

// wideSpread is how far apart the ratios of a row may be on a quiet machine.
const wideSpread = 1.5

// wide is the number of rows whose ratios are further apart than that.
func (r *result) wide() int {
	n := 0
	for _, row := range r.Rows {
		if row.Ratio.Max > wideSpread*row.Ratio.Min {
			n++
		}
	}
	return n
}

func (r *rowResult) cells() []string {
	line := []string{r.Workload + ", " + string(r.Mode), r.Against, "-", "-", "-", "-", ""}
	if len(r.Pairs) > 0 {
		line[2], line[3], line[4] = ratio(r.Ratio.Median), ratio(r.Ratio.Min), ratio(r.Ratio.Max)
	}
	if r.Goal > 0 {
		line[5] = "≥ " + ratio(r.Goal)
	}
	switch {
	case len(r.Problems) > 0:
		line[6] = "does not count"
	case r.Met == nil:
	case *r.Met:
		line[6] = "met"
	default:
		line[6] = "missed"
	}
	return line
}

// ratio has two places, cut off: 0.969 is not 0.97.
func ratio(v float64) string { return fmt.Sprintf("%.2f", float64(int(v*100+1e-9))/100) }

// table lays out rows of cells in columns.
func table(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}
