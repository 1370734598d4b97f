package worker

import (
	"strings"
	"testing"
)

func TestFieldScan(t *testing.T) {
	tests := []struct {
		head     string
		doubtful bool
	}{
		{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", false},
		{"POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n", false},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", true},
		{"POST / HTTP/1.1\r\nCONTENT-LENGTH:3\r\ntransfer-encoding: chunked\r\n\r\n", true},
		{"POST / HTTP/1.1\ncontent-length: 3\n\n", true},
		{"POST / HTTP/1.1\r\nX-Content-Length: 3\r\nContent-Length-X: 3\r\n\r\n", false},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nContent-Length: 3\r\n", false},
		{"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", true},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", true},
	}
	for _, test := range tests {
		for cut := 1; cut <= len(test.head); cut++ {
			var f fieldScan
			f.feed([]byte(test.head[:cut]))
			if rest := test.head[cut:]; rest != "" {
				f.feed([]byte(rest))
			}
			if got := f.doubtful(); got != test.doubtful {
				t.Fatalf("%q cut at %d: doubtful %v", test.head, cut, got)
			}
		}
		var f fieldScan
		for _, b := range strings.Split(test.head, "") {
			f.feed([]byte(b))
		}
		if got := f.doubtful(); got != test.doubtful {
			t.Errorf("%q byte by byte: doubtful %v", test.head, got)
		}
	}
}
