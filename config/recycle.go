package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// schedule is a list of times of day: "03:00", in the machine's time zone, or
// "03:00 Europe/Berlin".
type schedule struct{ p *[]TimeOfDay }

func (s schedule) set(v any) error {
	var times []TimeOfDay
	err := eachString(v, func(_ int, text string) error {
		t, err := parseTimeOfDay(text)
		if err != nil {
			return err
		}
		times = append(times, t)
		return nil
	})
	*s.p = times
	return err
}

func (s schedule) String() string {
	texts := make([]string, len(*s.p))
	for i, t := range *s.p {
		texts[i] = t.String()
	}
	return quoteAll(texts)
}

// String is the time as sites.toml writes it.
func (t TimeOfDay) String() string {
	s := fmt.Sprintf("%02d:%02d", t.Hour, t.Minute)
	if t.Zone != time.Local {
		s += " " + t.Zone.String()
	}
	return s
}

func parseTimeOfDay(text string) (TimeOfDay, error) {
	clock, zone, zoned := strings.Cut(text, " ")
	m := regexp.MustCompile(`^([01][0-9]|2[0-3]):([0-5][0-9])$`).FindStringSubmatch(clock)
	if m == nil {
		return TimeOfDay{}, fmt.Errorf(`want a time of day such as "03:00" or "03:00 Europe/Berlin", got %s`, quote(text))
	}
	t := TimeOfDay{Zone: time.Local}
	var hourErr, minuteErr error
	t.Hour, hourErr = strconv.Atoi(m[1])
	t.Minute, minuteErr = strconv.Atoi(m[2])
	if err := errors.Join(hourErr, minuteErr); err != nil {
		return TimeOfDay{}, err
	}
	if zoned {
		loc, err := time.LoadLocation(zone)
		if err != nil || zone == "" || zone == "Local" {
			return TimeOfDay{}, fmt.Errorf(`unknown time zone %s: want a name of the IANA database such as "Europe/Berlin", or "UTC"`, quote(zone))
		}
		t.Zone = loc
	}
	return t, nil
}

// checkRecycle compares the keys of [pools.NAME.recycle] with each other and with
// what the system can tell.
func (d *decoder) checkRecycle(t *table, r *Recycle) {
	if r.Interval > 0 && r.Interval < r.Spacing && !t.bad("interval") && !t.bad("spacing") {
		d.problem(t.key("interval"), "interval %s must not be shorter than spacing %s",
			duration{&r.Interval, zero}, duration{&r.Spacing, positive})
	}
	if d.system == "linux" {
		return
	}
	for key, set := range map[string]bool{"memory": r.Memory > 0, "private_memory": r.PrivateMemory > 0, "cpu": r.CPU > 0} {
		if set {
			d.problem(t.key(key), "is refused on %s: the host can measure other processes on Linux only", d.system)
		}
	}
}
