package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// result is what a run has found; it is printed as a table and kept as JSON.
type result struct {
	Date        string      `json:"date"`
	Versions    versionSet  `json:"versions"`
	Load        string      `json:"load_average"` // before the run: other people's
	Rounds      int         `json:"rounds"`
	Seconds     int         `json:"seconds"` // of a measurement
	Connections int         `json:"connections"`
	Threads     int         `json:"threads"` // of the load generator
	Rows        []rowResult `json:"rows"`
	Figures     []figure    `json:"figures"`
}

// rowResult is one ratio.
type rowResult struct {
	Workload string    `json:"workload"`
	Mode     mode      `json:"mode"`
	Against  string    `json:"against"`
	Goal     float64   `json:"goal,omitzero"`
	Met      *bool     `json:"met,omitzero"` // nil: there is no goal, or no ratio
	Ratio    spread    `json:"ratio"`
	Problems []string  `json:"problems,omitempty"` // why a round does not count
	Pairs    []measure `json:"measured"`           // of the rounds that count
}

// measure is what one ratio was taken of.
type measure struct {
	Ratio float64 `json:"ratio"`
	Aerie count   `json:"aerie"`
	Peer  count   `json:"peer"`
}

// spread is the ratio of all rounds.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func newResult(rows []row) *result {
	r := &result{Connections: connections, Threads: threads()}
	for _, row := range rows {
		r.Rows = append(r.Rows, rowResult{Workload: row.workload, Mode: row.mode, Against: row.against, Goal: row.goal})
	}
	return r
}

// add takes the measurements of one round and returns their ratio.
func (r *rowResult) add(aerie, peer count) float64 {
	m := measure{Ratio: aerie.perSecond() / peer.perSecond(), Aerie: aerie, Peer: peer}
	r.Pairs = append(r.Pairs, m)
	ratios := make([]float64, len(r.Pairs))
	for i, p := range r.Pairs {
		ratios[i] = p.Ratio
	}
	r.Ratio = spreadOf(ratios)
	if r.Goal > 0 {
		r.Met = new(r.Ratio.Median >= r.Goal)
	}
	return m.Ratio
}

// spreadOf returns the spread of at least one ratio.
func spreadOf(ratios []float64) spread {
	sorted := slices.Sorted(slices.Values(ratios))
	n := len(sorted)
	median := sorted[n/2]
	if n%2 == 0 {
		median = (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return spread{Median: median, Min: sorted[0], Max: sorted[n-1]}
}

// counts reports whether every measurement of the run counts.
func (r *result) counts() bool {
	for _, row := range r.Rows {
		if len(row.Problems) > 0 || len(row.Pairs) == 0 {
			return false
		}
	}
	return true
}

// save writes the result to file, whole or not at all.
func (r *result) save(file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("save result: %w", err)
	}
	temp := file + ".new"
	if err := os.WriteFile(temp, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("save result: %w", err)
	}
	if err := os.Rename(temp, file); err != nil {
		return fmt.Errorf("save result: %w", err)
	}
	return nil
}
