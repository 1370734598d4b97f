package config

import (
	"strings"
	"testing"
	"time"
)

func TestTimeOfDay(t *testing.T) {
	for _, text := range []string{"00:00", "23:59", "03:05 Europe/Berlin", "12:00 UTC"} {
		tod, err := parseTimeOfDay(text)
		if err != nil || tod.String() != text {
			t.Errorf("%s: got %s, %v", text, tod, err)
		}
	}
	if tod, _ := parseTimeOfDay("07:08"); tod != (TimeOfDay{7, 8, time.Local}) {
		t.Errorf("got %+v", tod)
	}
}

// What another system cannot measure is refused there.
func TestMeasuredTriggers(t *testing.T) {
	const text = `
[pools.shop.recycle]
memory = "1GiB"
private_memory = "1GiB"
cpu = 90
requests = 1
[pools.blog.recycle]
requests = 1
`
	for system, want := range map[string]int{"linux": 0, "darwin": 3, "windows": 3} {
		d := &decoder{file: "sites.toml", system: system}
		d.decode("/sites.toml", text)
		if len(d.problems) != want {
			t.Errorf("%s: %v, want %d problems", system, d.problems, want)
		}
		for _, p := range d.problems {
			if !strings.HasPrefix(p.Key, "pools.shop.recycle.") || !strings.Contains(p.Message, "is refused on "+system) {
				t.Errorf("%s: %v", system, p)
			}
		}
	}
}
