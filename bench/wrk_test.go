package main

import (
	"strings"
	"testing"
	"time"
)

const wrkOutput = `Running 1s test @ http://127.0.0.1:8080/hello
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.43ms    2.19ms  20.33ms   86.01%
    Req/Sec    98.13k     9.21k  110.77k    63.64%
  107365 requests in 1.10s, 13.31MB read
Requests/sec:  97612.08
Transfer/sec:     12.10MB
counted requests=107365 bytes=13957450 microseconds=1099915 connect=0 read=0 write=0 timeout=0 status=0
`

func TestParseCount(t *testing.T) {
	c, err := parseCount(wrkOutput)
	if err != nil {
		t.Fatal(err)
	}
	want := count{Requests: 107365, Bytes: 13957450, Took: 1099915 * time.Microsecond}
	if c != want {
		t.Errorf("count %+v, want %+v", c, want)
	}
	if got := int(c.perSecond()); got != 97612 {
		t.Errorf("%d requests/s, want wrk's 97612", got)
	}
}

// What is not a clean measurement is an error.
func TestParseCountRefuses(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"a connect error", "connect=0", "connect=1", "1 connect errors"},
		{"a read error", "read=0", "read=2", "2 read errors"},
		{"a write error", "write=0", "write=3", "3 write errors"},
		{"a late answer", "timeout=0", "timeout=4", "4 timeout errors"},
		{"another status", "status=0", "status=5", "5 status errors"},
		{"no requests", "requests=107365", "requests=0", "no answer"},
		{"no time", "microseconds=1099915", "microseconds=0", "no answer"},
		{"a number that is none", "bytes=13957450", "bytes=many", `"bytes=many"`},
		{"a count that is missing", " timeout=0", "", "lack timeout"},
		{"no line", "counted", "", "no counts"},
		{"half a line", "status=0\n", "status=0", "no counts"},
	} {
		out := strings.Replace(wrkOutput, test.old, test.new, 1)
		if out == wrkOutput {
			t.Fatalf("%s: nothing replaced", test.name)
		}
		if _, err := parseCount(out); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
}
