package accesslog

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestAppendQuoted(t *testing.T) {
	for in, want := range map[string]string{
		"":                   `""`,
		"plain":              `"plain"`,
		`a"b\c`:              `"a\"b\\c"`,
		"a\nb\rc\td":         `"a\nb\rc\td"`,
		"\x00\x1f\x7f":       "\"\\u0000\\u001f\x7f\"",
		"grün €":             `"grün €"`,
		"a\xffb\xc3":         `"a\ufffdb\ufffd"`,
		"\xed\xa0\x80":       `"\ufffd\ufffd\ufffd"`,
		"\ufffd":             "\"\ufffd\"",
		"</script>\u2028":    "\"</script>\u2028\"",
		"\"\xff\\\n" + "end": `"\"\ufffd\\\nend"`,
	} {
		got := string(appendQuoted(nil, in))
		if got != want {
			t.Errorf("appendQuoted(%q) = %s, want %s", in, got, want)
		}
	}
}

// Whatever the bytes, a JSON decoder reads back what it would make of them.
func FuzzAppendQuoted(f *testing.F) {
	for _, s := range []string{"", "a", "\x00\"\\\xff", "é\xc3", "\xf0\x9f\x98"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > maxField {
			return
		}
		var got string
		line := appendQuoted([]byte("x"), s)[1:]
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		var want strings.Builder
		for _, r := range s {
			want.WriteRune(r)
		}
		if got != want.String() {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}

func TestAppendQuotedIsBounded(t *testing.T) {
	line := appendQuoted(nil, strings.Repeat("€", maxField))
	var got string
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(got, "...") || len(got) > maxField+len("...")+utf8.UTFMax {
		t.Errorf("%d bytes, end %q", len(got), got[len(got)-10:])
	}
}

func TestAppendTime(t *testing.T) {
	const layout = "2006-01-02T15:04:05.000Z07:00"
	zone := time.FixedZone("", 3600)
	for _, at := range []time.Time{
		time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC),
		time.Date(2026, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(2026, 1, 1, 0, 30, 0, 45_600_000, zone),
		time.Date(12, 1, 1, 0, 0, 0, 1_000_000, time.UTC),
	} {
		if got, want := string(appendTime(nil, at)), at.UTC().Format(layout); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
