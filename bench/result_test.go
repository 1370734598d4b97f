package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func counted(requests int64) count {
	return count{Requests: requests, Bytes: requests * 130, Took: time.Second}
}

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		ratios []float64
		want   spread
	}{
		{[]float64{0.9}, spread{0.9, 0.9, 0.9}},
		{[]float64{1.5, 0.5}, spread{1, 0.5, 1.5}},
		{[]float64{3, 1, 2}, spread{2, 1, 3}},
		{[]float64{4, 1, 100, 2}, spread{3, 1, 100}},
	} {
		if got := spreadOf(test.ratios); got != test.want {
			t.Errorf("spread of %v is %+v, want %+v", test.ratios, got, test.want)
		}
	}
}

func TestGoal(t *testing.T) {
	r := rowResult{Goal: 0.97}
	if got := r.add(counted(970), counted(1000)); got != 0.97 {
		t.Errorf("ratio %v, want 0.97", got)
	}
	if r.Met == nil || !*r.Met {
		t.Error("0.97 misses a goal of 0.97")
	}
	r.add(counted(960), counted(1000))
	if *r.Met {
		t.Errorf("a median of %v meets a goal of 0.97", r.Ratio.Median)
	}
	none := rowResult{}
	none.add(counted(1), counted(1))
	if none.Met != nil {
		t.Error("a row without a goal has met it or not")
	}
}

func TestRatioIsOfRates(t *testing.T) {
	var r rowResult
	twice := counted(1000)
	twice.Took = 500 * time.Millisecond
	if got := r.add(twice, counted(1000)); got != 2 {
		t.Errorf("the same in half the time is %v times as fast, want 2", got)
	}
}

func TestCounts(t *testing.T) {
	good := rowResult{}
	good.add(counted(1), counted(1))
	bad := good
	bad.Problems = []string{"wrong bytes"}
	for _, test := range []struct {
		name string
		rows []rowResult
		want bool
	}{
		{"all good", []rowResult{good, good}, true},
		{"one with a problem", []rowResult{good, bad}, false},
		{"one without a ratio", []rowResult{good, {}}, false},
	} {
		if got := (&result{Rows: test.rows}).counts(); got != test.want {
			t.Errorf("%s: counts is %v", test.name, got)
		}
	}
}

func TestSizes(t *testing.T) {
	var s sizes
	s.add(130)
	s.add(128)
	for _, test := range []struct {
		bytes int64
		ok    bool
	}{
		{1000*128 - 1, false},
		{1000 * 128, true},
		{1000*130 + connections*130, true}, // what was half read at the end
		{1000*130 + connections*130 + 1, false},
	} {
		if err := s.admit(count{Requests: 1000, Bytes: test.bytes}); (err == nil) != test.ok {
			t.Errorf("%d bytes for 1000 answers of 128 to 130: %v", test.bytes, err)
		}
	}
}

// The table as people see it.
func TestTable(t *testing.T) {
	r := &result{Load: "0.1 0.2 0.3", Rounds: 2, Seconds: 3, Connections: 64, Threads: 1,
		Versions: versionSet{Aerie: "v1", Go: "go1.26", Wrk: "wrk 4", System: "linux/amd64", Kernel: "6", CPUs: 2},
		Rows: []rowResult{
			{Workload: "fast", Mode: keepAlive, Against: "bare", Goal: 0.97},
			{Workload: "slower", Mode: onePerConnection, Against: "a proxy", Goal: 1.5},
			{Workload: "free", Mode: keepAlive, Against: "bare"},
			{Workload: "broken", Mode: keepAlive, Against: "bare", Goal: 1, Problems: []string{"round 1, aerie: wrong bytes"}},
		}}
	r.Rows[0].add(counted(9690), counted(10000))
	r.Rows[0].add(counted(9900), counted(10000))
	r.Rows[1].add(counted(1499), counted(1000))
	r.Rows[2].add(counted(123), counted(100))
	r.Figures = []figure{newFigure("small", "KiB", 100, 99.991), newFigure("slow", "ms", 20, -1, 20.001, 30), newFigure("any", "ms", 0, 1.5)}
	r.Figures[1].Note = "of 3"
	want := `
aerie v1, peers net/http and httputil of go1.26, wrk 4, linux/amd64, kernel 6, 2 CPUs
2 rounds of 3 s a side, 64 connections, 1 wrk thread(s), all on this machine; load average before: 0.1 0.2 0.3
Ratios of requests per second, Aerie's over its peer's:

WORKLOAD                            AGAINST  MEDIAN  MIN   MAX   GOAL
fast, keep-alive                    bare     0.97    0.96  0.99  ≥ 0.97  met
slower, one request per connection  a proxy  1.49    1.49  1.49  ≥ 1.50  missed
free, keep-alive                    bare     1.23    1.23  1.23  -
broken, keep-alive                  bare     -       -     -     ≥ 1.00  does not count

Of Aerie alone, on this machine:

FIGURE  MEDIAN  MIN     MAX     LIMIT     UNIT
small   100.00  100.00  100.00  ≤ 100.00  KiB   met
slow    20.01   -1.00   30.00   ≤ 20.00   ms    missed
any     1.50    1.50    1.50    -         ms

slow: of 3

Does not count: broken, keep-alive: round 1, aerie: wrong bytes
`
	if got := r.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// That others were using the machine is said, and only then.
func TestTableSaysNoise(t *testing.T) {
	const note = "In 1 of 1 rows the greatest ratio is more than 1.5 times the least"
	r := newResult([]row{{workload: "w", against: "a", mode: keepAlive}})
	r.Rows[0].add(counted(100), counted(100))
	r.Rows[0].add(counted(150), counted(100))
	if got := r.String(); strings.Contains(got, "In 1 of 1") {
		t.Errorf("1.00 to 1.50 is called wide:\n%s", got)
	}
	r.Rows[0].add(counted(151), counted(100))
	if got := r.String(); !strings.Contains(got, note) {
		t.Errorf("1.00 to 1.51 is not called wide:\n%s", got)
	}
}

func TestSave(t *testing.T) {
	file := filepath.Join(t.TempDir(), "docs", "bench.json")
	r := newResult([]row{{workload: "w", against: "a", goal: 1.5, mode: keepAlive}})
	r.Rows[0].add(counted(200), counted(100))
	for range 2 { // the second takes the place of the first
		if err := r.save(file); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var back result
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	row := back.Rows[0]
	if row.Ratio != (spread{2, 2, 2}) || row.Met == nil || !*row.Met || row.Pairs[0].Aerie != counted(200) {
		t.Errorf("read back %+v", row)
	}
	if left, err := filepath.Glob(file + "?*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		args string
		want options
	}{
		{"", options{rounds: 8, seconds: 2, limit: 4 * time.Minute}},
		{"-quick", options{rounds: 5, seconds: 1, limit: 90 * time.Second}},
		{"-rounds 2 -quick -limit 1m", options{rounds: 2, seconds: 1, limit: time.Minute}},
	} {
		got, err := parseOptions(strings.Fields(test.args), t.Output())
		got.out = ""
		if err != nil || got != test.want {
			t.Errorf("%q: %+v, %v", test.args, got, err)
		}
	}
	for _, args := range []string{"-rounds 0", "-seconds 0", "-limit 0s", "now", "-what"} {
		if _, err := parseOptions(strings.Fields(args), t.Output()); err != errUsage {
			t.Errorf("%q: error %v", args, err)
		}
	}
}
