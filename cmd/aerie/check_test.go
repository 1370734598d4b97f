package main

import (
	"encoding/json"
	"strings"
	"testing"
)

const broken = `[[sites]]
name     = "shop"
bindnigs = ["http://shop.localhost:8080"]
apps     = [{ pool = "shop", process = "shop", hosting = "inproces" }]

[pools.shop]
queue_length = -1
`

func TestCheckValid(t *testing.T) {
	project(t, sites)
	code, out, _ := exec(t, "check")
	if code != 0 || out != "sites.toml is valid: 2 sites, 2 pools\n" {
		t.Errorf("code %d, %q", code, out)
	}
}

// All problems come at once, and what starts the host refuses with the same.
func TestCheckProblems(t *testing.T) {
	project(t, broken)
	code, out, errOut := exec(t, "check")
	if code != 1 || out != "" {
		t.Errorf("code %d, stdout %q", code, out)
	}
	golden(t, "check.txt", errOut)
	if code, out, runOut := exec(t, "run"); code != 1 || out != "" || runOut != errOut {
		t.Errorf("run: code %d, %q, %q", code, out, runOut)
	}

	code, out, errOut = exec(t, "check", "--json")
	if code != 1 || errOut != "" {
		t.Errorf("--json: code %d, stderr %q", code, errOut)
	}
	golden(t, "check.json", out)
}

func TestCheckWarnings(t *testing.T) {
	project(t, sites+"[pools.unused]\n")
	code, out, errOut := exec(t, "check")
	want := "warning: sites.toml:24: pools.unused: no app names this pool: it runs nothing\n"
	if code != 0 || !strings.Contains(errOut, want) || !strings.HasPrefix(out, "sites.toml is valid") {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
	}
	code, out, _ = exec(t, "check", "--json")
	var findings []finding
	if err := json.Unmarshal([]byte(out), &findings); err != nil || code != 0 {
		t.Fatalf("code %d, %v", code, err)
	}
	last := findings[len(findings)-1]
	if last.Severity != "warning" || last.Key != "pools.unused" || last.Line != 24 {
		t.Errorf("finding %+v", last)
	}
}

func TestCheckNoFile(t *testing.T) {
	project(t, sites)
	code, out, errOut := exec(t, "check", "-c", "nowhere.toml")
	if code != 1 || out != "" || !strings.Contains(errOut, "nowhere.toml") {
		t.Errorf("code %d, %q, %q", code, out, errOut)
	}
}
