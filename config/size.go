package config

import (
	"math"
	"strconv"
	"strings"
)

// unit is one unit of sizes.
type unit struct {
	name  string
	bytes int64
}

// units are the units of sizes, the decimal and the binary ones.
func units() []unit {
	return []unit{
		{"B", 1},
		{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	}
}

func unitNames() []string {
	var names []string
	for _, u := range units() {
		names = append(names, u.name)
	}
	return names
}

// parseSize reads "512MiB". The unit must be there: a bare number is a TOML
// integer.
func parseSize(s string) (int64, bool) {
	number := strings.TrimRight(s, "KMGTiB")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || strings.HasPrefix(s, "+") {
		return 0, false
	}
	for _, u := range units() {
		if number+u.name == s && n <= math.MaxInt64/u.bytes && n >= -math.MaxInt64/u.bytes {
			return n * u.bytes, true
		}
	}
	return 0, false
}

// FormatSize prints n, a number of bytes, with the unit that leaves the smallest
// whole number, as sites.toml writes sizes.
func FormatSize(n int64) string {
	best := unit{"B", 1}
	for _, u := range units() {
		if n != 0 && n%u.bytes == 0 && u.bytes > best.bytes {
			best = u
		}
	}
	return strconv.FormatInt(n/best.bytes, 10) + best.name
}
