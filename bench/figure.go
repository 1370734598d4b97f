package main

import "fmt"

// figure is what is measured of Aerie alone, beside the limit that it keeps. The
// values are this machine's, unlike ratios.
type figure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Limit  float64   `json:"limit,omitzero"` // of the median; 0 is none
	Met    *bool     `json:"met,omitzero"`   // nil: there is no limit, or no value
	Value  spread    `json:"value"`
	Note   string    `json:"note,omitempty"` // what the value is to be read with
	Values []float64 `json:"measured"`
}

// newFigure returns a figure of at least one value.
func newFigure(name, unit string, limit float64, values ...float64) figure {
	f := figure{Name: name, Unit: unit, Limit: limit, Value: spreadOf(values), Values: values}
	if limit > 0 {
		f.Met = new(f.Value.Median <= limit)
	}
	return f
}

// places has two places, cut up, so that what is over a limit does not look as
// if it kept it.
func places(v float64) string {
	cut := float64(int(v * 100))
	if cut < v*100-1e-9 {
		cut++
	}
	return fmt.Sprintf("%.2f", cut/100)
}

func (f *figure) cells() []string {
	line := []string{f.Name, places(f.Value.Median), places(f.Value.Min), places(f.Value.Max), "-", f.Unit, ""}
	if f.Limit > 0 {
		line[4] = "≤ " + places(f.Limit)
	}
	switch {
	case f.Met == nil:
	case *f.Met:
		line[6] = "met"
	default:
		line[6] = "missed"
	}
	return line
}
