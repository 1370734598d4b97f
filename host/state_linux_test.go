package host

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"aerie/inproc"
	"aerie/internal/process"
)

func TestStateRoundTrip(t *testing.T) {
	boot, err := process.BootID()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	m, left, problem, err := remember(dir)
	if err != nil || problem != nil || len(left) != 0 || m.epoch() != 1 {
		t.Fatalf("first start: %v, %v, left %v, epoch %d", err, problem, left, m.epoch())
	}
	one := inproc.Record{Pool: "a", Generation: 1, Pid: 10, Ticks: 1 << 60, Token: "x"}
	two := inproc.Record{Pool: "a", Generation: 2, Pid: 11, Ticks: 6}
	for _, r := range []inproc.Record{one, two, one} {
		if err := m.keep(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.drop(11); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dir, stateName))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	// The host is killed, and so is the next one before it does anything.
	for epoch := uint64(2); epoch < 4; epoch++ {
		m, left, problem, err = remember(dir)
		if err != nil || problem != nil || m.epoch() != epoch || !reflect.DeepEqual(left, []inproc.Record{one}) {
			t.Fatalf("%v, %v, left %+v, epoch %d, want %d", err, problem, left, m.epoch(), epoch)
		}
	}
	if m.state.Boot != boot {
		t.Errorf("boot %q", m.state.Boot)
	}
	if err := m.close(false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, stateName)); err != nil {
		t.Errorf("a host that did not open has removed it: %v", err)
	}
	if m, _, _, err = remember(dir); err != nil {
		t.Fatal(err)
	}
	if err := m.close(true); err != nil {
		t.Error(err)
	}
	if err := m.drop(10); err != nil { // late news
		t.Error(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("left: %v, %v", names, err)
	}
}

// TestStaleStates: a file that cannot be true names nobody.
func TestStaleStates(t *testing.T) {
	workers := []inproc.Record{{Pool: "a", Pid: 10}}
	encoded := func(s state) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	whole := encoded(state{Version: stateVersion, Boot: "another", Epoch: 4, Workers: workers})
	for name, tt := range map[string]struct {
		text    string
		epoch   uint64
		problem string
	}{
		"another boot": {whole, 5, ""},
		"no boot":      {encoded(state{Version: stateVersion, Workers: workers}), 1, ""},
		"version":      {encoded(state{Version: 2, Workers: workers}), 1, "version 2"},
		"truncated":    {whole[:len(whole)/2], 1, "unexpected end"},
		"garbage":      {"\x00\x01", 1, "invalid character"},
		"types":        {`{"version":1,"workers":[{"pid":"x"}]}`, 1, "cannot unmarshal"},
		"empty":        {"", 1, "unexpected end"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateName), []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		m, left, problem, err := remember(dir)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(left) > 0 || m.epoch() != tt.epoch {
			t.Errorf("%s: left %v, epoch %d, want %d", name, left, m.epoch(), tt.epoch)
		}
		if (problem == nil) != (tt.problem == "") || problem != nil && !strings.Contains(problem.Error(), tt.problem) {
			t.Errorf("%s: problem %v, want %q", name, problem, tt.problem)
		}
		if err := m.close(true); err != nil {
			t.Error(err)
		}
	}
}
