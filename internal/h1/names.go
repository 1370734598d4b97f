package h1

import (
	"iter"
	"net/http"
	"strings"
)

// isToken reports whether c may stand in a header name or method.
func isToken(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c < 0x80 && strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// validToken reports whether s is a header name or method.
func validToken(s string) bool {
	for i := range len(s) {
		if !isToken(s[i]) {
			return false
		}
	}
	return s != ""
}

// validValue reports whether s may stand in a header value: no control
// character but the tab.
func validValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// validTarget reports whether s may stand in a request line.
func validTarget(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return s != ""
}

// canonical returns name in canonical form: s itself, if it is in that form
// already. It reports false if name is not a header name.
func canonical(name string) (string, bool) {
	is := true
	upper := true
	for i := range len(name) {
		c := name[i]
		if !isToken(c) {
			return "", false
		}
		if upper && 'a' <= c && c <= 'z' || !upper && 'A' <= c && c <= 'Z' {
			is = false
		}
		upper = c == '-'
	}
	if is {
		return name, true
	}
	return http.CanonicalHeaderKey(name), true
}

// fold returns the canonical name with '-' for '_', so that no spelling of a
// name passes for another one: many servers take the two for the same.
func fold(name string) string {
	if strings.IndexByte(name, '_') < 0 {
		return name
	}
	return http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// hopByHop reports whether a field of a request belongs to one connection, or
// to the framing that we write ourselves.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Content-Length", "Expect", "Host", "Http2-Settings", "Keep-Alive",
		"Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// tokens are the elements of a comma-separated list.
func tokens(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for list != "" {
			var token string
			token, list, _ = strings.Cut(list, ",")
			if token = strings.Trim(token, " \t"); token != "" && !yield(token) {
				return
			}
		}
	}
}

// lists reports whether one of the lists has name, in any spelling.
func lists(values []string, name string) bool {
	for _, v := range values {
		for token := range tokens(v) {
			if strings.EqualFold(token, name) || fold(http.CanonicalHeaderKey(token)) == name {
				return true
			}
		}
	}
	return false
}
