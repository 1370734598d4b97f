package rawhttp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
)

// readLine reads a line that must end with CRLF and returns it without. It is
// valid until the next read.
func readLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, malformed(fmt.Sprintf("line of more than %d bytes", len(line)))
	case err != nil:
		return nil, err
	case len(line) < 2 || line[len(line)-2] != '\r':
		return nil, malformed(fmt.Sprintf("line %q does not end with CRLF", line))
	}
	line = line[:len(line)-2]
	if bytes.IndexByte(line, '\r') >= 0 {
		return nil, malformed(fmt.Sprintf("line %q has a CR inside", line))
	}
	return line, nil
}

func expectCRLF(br *bufio.Reader) error {
	line, err := readLine(br)
	if err == nil && len(line) > 0 {
		err = malformed(fmt.Sprintf("%q after the data of a chunk", line))
	}
	return err
}

// readFields reads header or trailer fields up to the empty line.
func readFields(br *bufio.Reader) (Header, error) {
	var h Header
	for {
		line, err := readLine(br)
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			return h, nil
		}
		if len(h) == maxFields {
			return nil, malformed(fmt.Sprintf("more than %d fields", maxFields))
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isToken(name) {
			return nil, malformed(fmt.Sprintf("field %q", line))
		}
		value = bytes.Trim(value, " \t")
		for _, b := range value {
			if b < 0x20 && b != '\t' || b == 0x7f {
				return nil, malformed(fmt.Sprintf("field %q has a control character", line))
			}
		}
		h = append(h, Field{string(name), string(value)})
	}
}

// isToken says whether b is a token of RFC 9110, 5.6.2.
func isToken(b []byte) bool {
	for _, c := range b {
		alnum := c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !alnum && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

// digits reads a decimal number without sign, of at most 18 digits.
func digits(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
