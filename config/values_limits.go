package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// cores is a number of CPUs, with a fraction.
type cores struct{ p *float64 }

// The least that the kernel can give a process, and the most CPUs that it can
// have.
const (
	minCores = 0.01
	maxCPUs  = 8192
)

func (c cores) set(v any) error {
	n, ok := v.(float64)
	if i, whole := v.(int64); whole {
		n, ok = float64(i), true
	}
	text := strconv.FormatFloat(n, 'f', -1, 64)
	switch {
	case !ok:
		return fmt.Errorf("want a number of CPUs such as 1.5, got %s", shown(v))
	case math.IsNaN(n) || math.IsInf(n, 0):
		return fmt.Errorf("want a number of CPUs such as 1.5, got %s", text)
	case n < 0:
		return fmt.Errorf("must not be negative, got %s", text)
	case n > 0 && n < minCores:
		return fmt.Errorf("must be 0 or at least %v, got %s", minCores, text)
	case n > maxCPUs:
		return fmt.Errorf("must be at most %d, got %s", maxCPUs, text)
	}
	*c.p = n
	return nil
}

func (c cores) String() string { return strconv.FormatFloat(*c.p, 'f', -1, 64) }

// CPUSet is a set of CPUs by their numbers, sorted.
type CPUSet []int

// String is the set as sites.toml writes it: "0-1,4".
func (s CPUSet) String() string {
	var parts []string
	for i := 0; i < len(s); {
		j := i
		for j+1 < len(s) && s[j+1] == s[j]+1 {
			j++
		}
		part := strconv.Itoa(s[i])
		if j > i {
			part += "-" + strconv.Itoa(s[j])
		}
		parts, i = append(parts, part), j+1
	}
	return strings.Join(parts, ",")
}

type cpuSet struct{ p *CPUSet }

func (c cpuSet) set(v any) error {
	s, err := stringOf(v)
	if err != nil {
		return err
	}
	var set CPUSet
	for part := range strings.SplitSeq(s, ",") {
		if s == "" {
			break
		}
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			high = low
		}
		from, err1 := strconv.ParseUint(low, 10, 16)
		to, err2 := strconv.ParseUint(high, 10, 16)
		if err1 != nil || err2 != nil || from > to || to >= maxCPUs {
			return fmt.Errorf(`bad CPUs %q: want numbers and ranges from low to high, such as "0-1,4"`, s)
		}
		for n := from; n <= to; n++ {
			set = append(set, int(n))
		}
	}
	slices.Sort(set)
	*c.p = slices.Compact(set)
	return nil
}

func (c cpuSet) String() string { return quote(c.p.String()) }

// Rlimit is a limit of the kernel's for a single process (getrlimit(2)).
type Rlimit struct {
	Set   bool   // otherwise it is left as the host has it
	Value uint64 // Unlimited is none
}

// Unlimited is the value of an Rlimit that does not limit.
const Unlimited = math.MaxUint64

// rlimit is "host", or a size or "unlimited" if bytes is set, a number otherwise.
type rlimit struct {
	p     *Rlimit
	bytes bool
}

func (r rlimit) set(v any) error {
	n, ok := v.(int64)
	s, _ := v.(string) // anything else is neither
	switch {
	case s == "host":
		*r.p = Rlimit{}
		return nil
	case s == "unlimited" && r.bytes:
		*r.p = Rlimit{true, Unlimited}
		return nil
	case !ok && r.bytes:
		n, ok = parseSize(s)
	}
	rule, min := `a whole number or "host"`, positive
	if r.bytes {
		rule, min = `a size such as "512MiB", "unlimited" or "host"`, zero
	}
	if !ok {
		return fmt.Errorf("want %s, got %s", rule, shown(v))
	}
	if err := min.check(n, shown(v)); err != nil {
		return err
	}
	*r.p = Rlimit{true, uint64(n)}
	return nil
}

func (r rlimit) String() string {
	switch {
	case !r.p.Set:
		return `"host"`
	case r.p.Value == Unlimited:
		return `"unlimited"`
	case r.bytes:
		return FormatSize(int64(r.p.Value))
	default:
		return strconv.FormatUint(r.p.Value, 10)
	}
}
