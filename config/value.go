package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is one setting of one table: it takes what TOML says into its field,
// or says which rule that breaks, and prints the field as sites.toml would.
type value interface {
	set(v any) error
	String() string
}

// itemErrors are the problems of the elements of one value.
type itemErrors []itemError

type itemError struct {
	at  func(*place) *place // the element's place, given that of the value
	err error
}

func (e itemErrors) Error() string {
	errs := make([]error, len(e))
	for i, item := range e {
		errs[i] = item.err
	}
	return errors.Join(errs...).Error()
}

// orNil is e as an error, nil when nothing is in it.
func (e itemErrors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// least is the smallest number that a setting may hold.
type least int64

const (
	zero     least = 0 // 0 means something
	positive least = 1
)

func (l least) check(n int64, shown string) error {
	switch {
	case n >= int64(l):
		return nil
	case l == zero:
		return fmt.Errorf("must not be negative, got %s", shown)
	default:
		return fmt.Errorf("must be greater than zero, got %s", shown)
	}
}

// boolean is true or false.
type boolean struct{ p *bool }

func (x boolean) set(v any) error {
	b, ok := v.(bool)
	if !ok {
		return fmt.Errorf("want true or false, got %s", shown(v))
	}
	*x.p = b
	return nil
}

func (x boolean) String() string { return strconv.FormatBool(*x.p) }

// count is a whole number without a unit.
type count struct {
	p   *int
	min least
}

func (c count) set(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("want a whole number such as 100, got %s", shown(v))
	}
	if err := c.min.check(n, shown(v)); err != nil {
		return err
	}
	if n > math.MaxInt32 {
		return fmt.Errorf("must be at most %d, got %d", math.MaxInt32, n)
	}
	*c.p = int(n)
	return nil
}

func (c count) String() string { return strconv.Itoa(*c.p) }

// duration is a Go duration: "30s".
type duration struct {
	p   *time.Duration
	min least // in nanoseconds, so that positive is anything above zero
}

func (d duration) set(v any) error {
	s, _ := v.(string) // anything else is no duration either
	t, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf(`want a duration with units (ms, s, m, h) such as "500ms", "30s" or "1h30m", got %s`, shown(v))
	}
	if err := d.min.check(int64(t), shown(v)); err != nil {
		return err
	}
	*d.p = t
	return nil
}

// String drops the zero units of Go's own form: 2m, not 2m0s.
func (d duration) String() string {
	s := d.p.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// size is a number of bytes: 512, "512B", "8KiB", "30MB".
type size[T int | int64] struct {
	p   *T
	min least
}

func (z size[T]) set(v any) error {
	n, ok := v.(int64)
	if !ok {
		s, _ := v.(string) // anything else is no size either
		if n, ok = parseSize(s); !ok {
			return fmt.Errorf(`want a whole number of bytes, or one with a unit (%s) such as "512MiB", got %s`,
				strings.Join(unitNames(), ", "), shown(v))
		}
	}
	if err := z.min.check(n, shown(v)); err != nil {
		return err
	}
	if int64(T(n)) != n {
		return fmt.Errorf("must be at most %d bytes on this machine, got %s", math.MaxInt, shown(v))
	}
	*z.p = T(n)
	return nil
}

func (z size[T]) String() string { return FormatSize(int64(*z.p)) }

// rate is a number of bytes per second: "240B/s", or 0 for none.
type rate struct{ p *int64 }

func (r rate) set(v any) error {
	n, ok := v.(int64)
	if !ok {
		s, _ := v.(string) // anything else is no rate either
		bytes, found := strings.CutSuffix(s, "/s")
		if n, ok = parseSize(bytes); !found || !ok {
			return fmt.Errorf(`want a rate with a unit (%s) such as "240B/s", or 0 for none, got %s`,
				strings.Join(unitNames(), ", "), shown(v))
		}
	}
	if err := zero.check(n, shown(v)); err != nil {
		return err
	}
	*r.p = n
	return nil
}

func (r rate) String() string { return FormatSize(*r.p) + "/s" }

// text is a string that is not empty.
type text struct{ p *string }

func (t text) set(v any) error {
	s, err := stringOf(v)
	if err != nil {
		return err
	}
	if s == "" {
		return errors.New("must not be empty")
	}
	*t.p = s
	return nil
}

func (t text) String() string { return quote(*t.p) }

// word is one of a few words.
type word[T ~string] struct {
	p     *T
	words []T
}

func (w word[T]) set(v any) error {
	var names, quoted []string
	for _, known := range w.words {
		names = append(names, string(known))
		quoted = append(quoted, quote(string(known)))
	}
	s, ok := v.(string)
	if !ok || !slices.Contains(names, s) {
		return fmt.Errorf("want %s, got %s", strings.Join(quoted, " or "), shown(v))
	}
	*w.p = T(s)
	return nil
}

func (w word[T]) String() string { return quote(string(*w.p)) }

// stringOf is v as a string that an operating system call can take.
func stringOf(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("want a string, got %s", shown(v))
	}
	if strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("must not hold a NUL byte, got %q", s)
	}
	return s, nil
}

// shown is a TOML value as messages show it: the value where it is short, and
// what it is where a value of another kind was wanted.
func shown(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case int64, bool:
		return fmt.Sprint(v)
	case float64:
		return fmt.Sprintf("the fraction %v", v)
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	default:
		return "an array"
	}
}

func quote(s string) string { return strconv.Quote(s) }
