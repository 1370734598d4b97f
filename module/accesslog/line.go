package accesslog

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// maxField bounds what one string of a client takes of a line.
const maxField = 8 << 10

// appendInt appends a field; key has its quotes, comma and colon.
func appendInt(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(b, key...), n, 10)
}

// appendString appends a field; key has its quotes, comma and colon.
func appendString(b []byte, key, s string) []byte {
	return appendQuoted(append(b, key...), s)
}

// appendQuoted appends s as a JSON string. What is not UTF-8 becomes U+FFFD;
// what is past maxField is left out and stands as "...".
func appendQuoted(b []byte, s string) []byte {
	cut := false
	if len(s) > maxField {
		s, cut = s[:maxField], true
	}
	b = append(b, '"')
	done := 0 // s[:done] is appended
	for i := plain(s); i < len(s); i += plain(s[i:]) {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		b = append(b, s[done:i]...)
		b = appendEscaped(b, c)
		i++
		done = i
	}
	b = append(b, s[done:]...)
	if cut {
		b = append(b, "..."...)
	}
	return append(b, '"')
}

// plain is the length of the longest prefix of s that stands in a JSON string
// as it is: printable ASCII but the quote and the backslash. It looks at eight
// bytes at a time, as most of a line is such.
func plain(s string) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		quote, backslash := w^ones*'"', w^ones*'\\'
		// A top bit is set where a byte is below the space, is zero after the
		// exclusive or, or is not ASCII. A borrow only makes a byte after such
		// a one suspect, and the loop below looks again.
		if ((w-ones*' ')|(quote-ones)|(backslash-ones)|w)&tops != 0 {
			break
		}
	}
	for i < len(s) && s[i] >= ' ' && s[i] != '"' && s[i] != '\\' && s[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// appendEscaped appends a byte that cannot stand in a JSON string as it is.
func appendEscaped(b []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c >= utf8.RuneSelf:
		return append(b, `\ufffd`...)
	case c == '"', c == '\\':
		return append(b, '\\', c)
	case c == '\n':
		return append(b, `\n`...)
	case c == '\r':
		return append(b, `\r`...)
	case c == '\t':
		return append(b, `\t`...)
	}
	return append(append(b, `\u00`...), hex[c>>4], hex[c&0xf])
}

// appendTime appends t in UTC as RFC 3339 with milliseconds. The
// time package's own AppendFormat takes several times as long for this layout.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendDigits(b, year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), second, 2)
	b = appendDigits(append(b, '.'), t.Nanosecond()/1e6, 3)
	return append(b, 'Z')
}

// appendDigits appends n with leading zeros; n has at most width digits.
func appendDigits(b []byte, n, width int) []byte {
	b = append(b, "0000"[:width]...)
	for i := len(b) - 1; n > 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}
