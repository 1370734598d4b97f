package config

import (
	"strconv"
	"strings"
)

// scanLines finds the line of every key, table and array element of text. The
// TOML module keeps the positions that it knows to itself; this scanner only
// has to follow text that has already been parsed, so it checks nothing. On
// text that is not TOML it returns something of no use, but it does return.
func scanLines(text string) lineMap {
	s := &lineScanner{
		text:   strings.TrimPrefix(text, "\ufeff"),
		line:   1,
		lines:  lineMap{},
		tables: map[string]int{},
	}
	table := ""
	for s.blank(); !s.end(); s.blank() {
		if s.peek() == '[' {
			table = s.header()
		} else {
			s.keyValue(table)
		}
		s.until("\n") // at most a comment is left
	}
	return s.lines
}

// maxID bounds the ids of nested arrays: far beyond any key of ours, and
// without it a file of brackets takes quadratic time.
const maxID = 1000

type lineScanner struct {
	text   string
	pos    int
	line   int
	lines  lineMap
	tables map[string]int // how many [[headers]] each array of tables has had
}

func (s *lineScanner) end() bool { return s.pos >= len(s.text) }

func (s *lineScanner) peek() byte {
	if s.end() {
		return 0
	}
	return s.text[s.pos]
}

func (s *lineScanner) next() {
	if s.peek() == '\n' {
		s.line++
	}
	s.pos++
}

// has skips prefix if it is next.
func (s *lineScanner) has(prefix string) bool {
	if !strings.HasPrefix(s.text[min(s.pos, len(s.text)):], prefix) {
		return false
	}
	s.pos += len(prefix)
	return true
}

// until skips to the next byte that is one of stops, or to the end.
func (s *lineScanner) until(stops string) {
	for !s.end() && strings.IndexByte(stops, s.peek()) < 0 {
		s.next()
	}
}

// blank skips white space, line ends and comments.
func (s *lineScanner) blank() {
	for !s.end() {
		switch s.peek() {
		case ' ', '\t', '\r', '\n':
			s.next()
		case '#':
			s.until("\n")
		default:
			return
		}
	}
}

func (s *lineScanner) note(id string, line int) {
	if _, ok := s.lines[id]; !ok {
		s.lines[id] = line
	}
}

// header reads "[a.b]" or "[[a.b]]" and returns the id of the table that it
// opens.
func (s *lineScanner) header() string {
	line := s.line
	s.next()
	array := s.has("[")
	id := ""
	parts := s.key()
	for i, part := range parts {
		id = joinKey(id, part)
		s.note(id, line)
		n := s.tables[id]
		if array && i == len(parts)-1 {
			s.tables[id] = n + 1
			n++
		}
		if n > 0 {
			id += itemID(n - 1)
			s.note(id, line)
		}
	}
	s.until("]\n")
	return id
}

// key reads a dotted key.
func (s *lineScanner) key() []string {
	var parts []string
	for {
		s.blank()
		if c := s.peek(); c == '"' || c == '\'' {
			parts = append(parts, s.str())
		} else {
			start := s.pos
			s.until(" \t\r\n.=]#,}")
			parts = append(parts, s.text[start:s.pos])
		}
		s.blank()
		if !s.has(".") {
			return parts
		}
	}
}

// keyValue reads "key = value" of the table.
func (s *lineScanner) keyValue(table string) {
	line := s.line
	id := table
	for _, part := range s.key() {
		id = joinKey(id, part)
		s.note(id, line)
	}
	if s.has("=") {
		s.value(id)
	}
}

// value skips the value of id, noting what stands inside it.
func (s *lineScanner) value(id string) {
	s.blank()
	switch s.peek() {
	case '"', '\'':
		s.str()
	case '[':
		s.next()
		for i := 0; s.more(']'); i++ {
			before := s.pos
			item := id
			if len(id) < maxID {
				item += itemID(i)
				s.note(item, s.line)
			}
			s.value(item)
			if s.pos == before {
				return // not TOML
			}
		}
	case '{':
		s.next()
		for s.more('}') {
			before := s.pos
			s.keyValue(id)
			if s.pos == before {
				return // not TOML
			}
		}
	default:
		s.until(",]}#\n")
	}
}

// more goes to the next element of an array or inline table, and says whether
// there is one before the closing byte, which it skips.
func (s *lineScanner) more(closing byte) bool {
	for s.blank(); s.peek() == ','; s.blank() {
		s.next()
	}
	if s.end() {
		return false
	}
	if s.peek() == closing {
		s.next()
		return false
	}
	return true
}

// str reads a string of any of the four kinds and returns what it says.
func (s *lineScanner) str() string {
	quote := s.text[s.pos : s.pos+1]
	basic := quote == `"`
	if s.has(strings.Repeat(quote, 3)) {
		for !s.end() && !s.has(strings.Repeat(quote, 3)) {
			s.skipChar(basic)
		}
		for s.peek() == quote[0] { // up to two quotes may stand before the closing three
			s.next()
		}
		return "" // a key is never of several lines
	}
	s.next()
	start := s.pos
	for !s.end() && s.peek() != quote[0] && s.peek() != '\n' {
		s.skipChar(basic)
	}
	raw := s.text[start:min(s.pos, len(s.text))]
	s.has(quote)
	if !basic {
		return raw
	}
	if plain, err := strconv.Unquote(quote + raw + quote); err == nil {
		return plain
	}
	return raw // an escape that only TOML has
}

// skipChar skips one byte of a string, or two when it is escaped.
func (s *lineScanner) skipChar(escapes bool) {
	if escapes && s.peek() == '\\' {
		s.next()
	}
	s.next()
}
