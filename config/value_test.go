package config

import (
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	tests := []struct {
		text  string
		bytes int64
		ok    bool
	}{
		{"0B", 0, true},
		{"7B", 7, true},
		{"1KB", 1000, true},
		{"8KiB", 8192, true},
		{"30MB", 30_000_000, true},
		{"512MiB", 512 << 20, true},
		{"2GB", 2e9, true},
		{"2GiB", 2 << 30, true},
		{"3TB", 3e12, true},
		{"3TiB", 3 << 40, true},
		{"-1KiB", -1024, true},
		{"8388607TiB", 8388607 << 40, true},
		{"8388608TiB", 0, false}, // one more than fits
		{"", 0, false},
		{"7", 0, false},
		{"B", 0, false},
		{"7b", 0, false},
		{"7K", 0, false},
		{"7Ki", 0, false},
		{"7iB", 0, false},
		{"7KBB", 0, false},
		{"7 KB", 0, false},
		{"+7KB", 0, false},
		{"0x7B", 0, false},
		{"1.5KB", 0, false},
	}
	for _, test := range tests {
		bytes, ok := parseSize(test.text)
		if bytes != test.bytes || ok != test.ok {
			t.Errorf("%q: got %d, %v; want %d, %v", test.text, bytes, ok, test.bytes, test.ok)
		}
		if again, _ := parseSize(FormatSize(bytes)); again != bytes {
			t.Errorf("%d is printed as %s, which is %d", bytes, FormatSize(bytes), again)
		}
	}
}

func TestFormat(t *testing.T) {
	for want, bytes := range map[string]int64{"0B": 0, "240B": 240, "1KB": 1000, "1KiB": 1024, "30MB": 30_000_000, "64MiB": 64 << 20, "1001B": 1001} {
		if got := FormatSize(bytes); got != want {
			t.Errorf("%d: got %s, want %s", bytes, got, want)
		}
	}
	for want, d := range map[string]time.Duration{"0s": 0, "500ms": 500 * time.Millisecond, "2m": 2 * time.Minute,
		"1m30s": 90 * time.Second, "1h": time.Hour, "1h0m1s": time.Hour + time.Second, "10m": 10 * time.Minute, "20h": 20 * time.Hour} {
		if got := (duration{&d, zero}).String(); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "0": true, "a.b_c-d": true, strings.Repeat("a", 63): true,
		"": false, "A": false, "-a": false, ".a": false, "..": false, "a/b": false, "ä": false, "a b": false,
		strings.Repeat("a", 64): false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("%q: got %v, want it valid: %v", name, err, ok)
		}
	}
}

func TestNearest(t *testing.T) {
	candidates := []string{"max_body", "max_url", "path", "pool", "args", "default"}
	for word, want := range map[string]string{
		"maxBody": "max_body", "max-url": "max_url", "defualt": "default", "pth": "path", "pools": "pool",
		"arg": "args", "root": "", "x": "", "": "", "upstreams": "",
	} {
		if got := nearest(word, candidates); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	if got := nearest("web1", []string{"wxy1", "web2"}); got != "web2" {
		t.Errorf("got %q, want the nearest, web2", got)
	}
}
