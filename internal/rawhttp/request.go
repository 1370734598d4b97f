package rawhttp

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"time"
)

// request is one request of a Load, as it goes over the wire.
type request struct {
	id, method, shape string
	head              int    // length of the head
	wire              []byte // head and body
	want              []byte // the body that Answer must answer to GET and POST
	sentAt            time.Time
}

func (r *request) String() string { return r.id + " " + r.shape }

// builder makes the requests of one connection.
type builder struct {
	rng    *rand.Rand
	path   string
	host   string
	prefix string // makes ids unique among connections and runs
	n      int
}

func (b *builder) build(method, shape string) *request {
	b.n++
	r := &request{id: fmt.Sprintf("%s.%d", b.prefix, b.n), method: method, shape: shape}
	pad := 0
	if b.rng.IntN(4) == 0 {
		pad = b.rng.IntN(6000) // past 2 KiB net/http answers chunked
	}
	r.wire = fmt.Appendf(r.wire, "%s %s?id=%s&pad=%d HTTP/1.1\r\nHost: %s\r\nX-Id: %[3]s\r\n",
		method, b.path, r.id, pad, b.host)
	var body []byte
	if method == "POST" {
		body = make([]byte, 1+b.rng.IntN(5000))
		Pattern(body, int64(b.n))
	}
	switch shape {
	case "post":
		r.wire = fmt.Appendf(r.wire, "Content-Length: %d\r\n\r\n", len(body))
		r.head = len(r.wire)
		r.wire = append(r.wire, body...)
	case "chunked":
		r.wire = append(r.wire, "Transfer-Encoding: chunked\r\n\r\n"...)
		r.head = len(r.wire)
		for rest := body; len(rest) > 0; {
			n := 1 + b.rng.IntN(len(rest))
			r.wire = fmt.Appendf(r.wire, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		r.wire = append(r.wire, "0\r\n\r\n"...)
	default:
		r.wire = append(r.wire, "\r\n"...)
		r.head = len(r.wire)
	}
	sum := sha256.Sum256(body)
	r.want = answerBody(r.id, int64(len(body)), sum[:], pad)
	return r
}

// simple builds a GET, HEAD or POST at random.
func (b *builder) simple() *request {
	switch b.rng.IntN(4) {
	case 0:
		return b.build("HEAD", "head")
	case 1:
		return b.build("POST", "post")
	}
	return b.build("GET", "get")
}
