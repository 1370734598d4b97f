package apppool

import (
	"testing"
	"time"

	"aerie/config"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestNextTime(t *testing.T) {
	for _, tt := range []struct {
		name   string
		hour   int
		minute int
		zone   string
		after  string
		want   []string // one after the other
	}{
		{"later today", 15, 30, "UTC", "2026-03-01T12:00:00Z", []string{"2026-03-01T15:30:00Z", "2026-03-02T15:30:00Z"}},
		{"that very moment is over", 15, 30, "UTC", "2026-03-01T15:30:00Z", []string{"2026-03-02T15:30:00Z"}},
		{"end of the year", 0, 0, "UTC", "2026-12-31T23:59:59Z", []string{"2027-01-01T00:00:00Z"}},
		{"another day there", 1, 0, "Pacific/Auckland", "2026-06-01T12:30:00Z", []string{"2026-06-01T13:00:00Z", "2026-06-02T13:00:00Z"}},

		{"spring: skipped", 2, 30, "Europe/Berlin", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"}}, // 02:30 +1, 03:30 +2, 02:30 +2
		{"spring: just before", 1, 59, "Europe/Berlin", "2026-03-29T00:00:00Z", []string{"2026-03-29T00:59:00Z", "2026-03-29T23:59:00Z"}},
		{"spring: just after", 3, 0, "Europe/Berlin", "2026-03-29T00:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"}},
		{"autumn: twice", 2, 30, "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}}, // 02:30 +2, not again at +1
		{"autumn: between the two", 2, 30, "Europe/Berlin", "2026-10-25T01:00:00Z", []string{"2026-10-26T01:30:00Z"}},
		{"autumn: after it", 3, 0, "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T02:00:00Z"}},

		{"skipped at midnight", 0, 30, "America/Asuncion", "2023-09-30T12:00:00Z",
			[]string{"2023-10-01T04:30:00Z", "2023-10-02T03:30:00Z"}}, // 00:30 -4 does not exist: 01:30 -3
		{"half an hour", 2, 15, "Australia/Lord_Howe", "2026-10-03T00:00:00Z",
			[]string{"2026-10-03T15:45:00Z", "2026-10-04T15:15:00Z"}}, // 02:15 +10:30 does not exist: 02:45 +11
		{"a day that there was not", 9, 0, "Pacific/Apia", "2011-12-29T00:00:00Z",
			[]string{"2011-12-29T19:00:00Z", "2011-12-30T19:00:00Z", "2011-12-31T19:00:00Z"}},
	} {
		at, err := time.Parse(time.RFC3339, tt.after)
		if err != nil {
			t.Fatal(err)
		}
		times := []config.TimeOfDay{{Hour: tt.hour, Minute: tt.minute, Zone: zone(t, tt.zone)}}
		for _, want := range tt.want {
			next, ok := nextTime(times, at)
			if got := next.UTC().Format(time.RFC3339); !ok || got != want {
				t.Errorf("%s: after %s comes %s, want %s", tt.name, at.UTC().Format(time.RFC3339), got, want)
				break
			}
			at = next
		}
	}
}

// Over ten years of every clock change there are, each day has its time once.
func TestNextTime_OnceADay(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca", "UTC"} {
		z := zone(t, name)
		for _, hour := range []int{0, 1, 2, 3, 12, 23} {
			times := []config.TimeOfDay{{Hour: hour, Minute: 30, Zone: z}}
			at := time.Date(2020, 1, 1, 0, 0, 0, 0, z)
			for day := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2030; day = day.AddDate(0, 0, 1) {
				next, ok := nextTime(times, at)
				if y, m, d := next.In(z).Date(); !ok || y != day.Year() || m != day.Month() || d != day.Day() {
					t.Fatalf("%s %02d:30: after %v comes %v, want one on %s", name, hour, at, next.In(z), day.Format(time.DateOnly))
				}
				at = next
			}
		}
	}
}

func TestNextTime_Several(t *testing.T) {
	utc := func(hour int) config.TimeOfDay { return config.TimeOfDay{Hour: hour, Zone: time.UTC} }
	times := []config.TimeOfDay{utc(22), utc(4), {Hour: 4, Zone: zone(t, "Asia/Tokyo")}} // 19:00 UTC
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, want := range []int{19, 22, 4, 19} {
		next, ok := nextTime(times, at)
		if !ok || next.UTC().Hour() != want {
			t.Fatalf("after %v comes %v, want %d:00", at, next, want)
		}
		at = next
	}
	if _, ok := nextTime(nil, at); ok {
		t.Error("no times have a next one")
	}
}
