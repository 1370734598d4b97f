package apppool

import (
	"time"

	"aerie/config"
)

// nextTime is the first moment after a given one at which one of the times of
// day comes. ok is false without any.
func nextTime(times []config.TimeOfDay, after time.Time) (next time.Time, ok bool) {
	for _, t := range times {
		at := after.In(t.Zone)
		// The day before, because one that the clocks skip may come after
		// midnight; two more, because the clocks may skip a whole day.
		for day := -1; day <= 2; day++ {
			when := onDay(t, at.Year(), at.Month(), at.Day()+day)
			if when.After(after) {
				if !ok || when.Before(next) {
					next, ok = when, true
				}
				break
			}
		}
	}
	return next, ok
}

// onDay is the moment of a time of day on one day. If the clocks show it twice
// that is the first time; if they skip it, as much later as they skip.
// time.Date promises neither.
func onDay(t config.TimeOfDay, year int, month time.Month, day int) time.Time {
	want := time.Date(year, month, day, t.Hour, t.Minute, 0, 0, time.UTC)
	// No zone is further from UTC than a day, and none changes twice in two days.
	_, before := want.Add(-24 * time.Hour).In(t.Zone).Zone()
	_, after := want.Add(24 * time.Hour).In(t.Zone).Zone()
	first := want.Add(-time.Duration(max(before, after)) * time.Second)
	if shows(first.In(t.Zone), want) {
		return first
	}
	if second := want.Add(-time.Duration(min(before, after)) * time.Second); shows(second.In(t.Zone), want) {
		return second
	}
	return want.Add(-time.Duration(before) * time.Second)
}

// shows says whether the clock at a moment shows the date and time of want.
func shows(at, want time.Time) bool {
	_, offset := at.Zone()
	return at.Unix()+int64(offset) == want.Unix()
}
