package h1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxBuffered is how long a body may be that is sent together with the head:
// it fits into the socket's buffer, so that sending it cannot end in a
// deadlock with an upstream that answers first.
const maxBuffered = 32 << 10

// hasBody reports whether r has a body to send.
func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// wantsUpgrade returns the protocols that r asks to upgrade to. An upgrade to
// cleartext HTTP/2 is not passed on: it would open a way to the upstream that
// no rule of ours looks into.
func wantsUpgrade(r *http.Request) string {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || hasBody(r) || !lists(r.Header["Connection"], "Upgrade") {
		return ""
	}
	protocols := strings.Join(r.Header["Upgrade"], ", ")
	for p := range tokens(protocols) {
		if strings.EqualFold(p, "h2c") {
			return ""
		}
	}
	return protocols
}

// wantsContinue reports whether the client sends its body only when asked.
func wantsContinue(r *http.Request) bool {
	return r.ProtoAtLeast(1, 1) && hasBody(r) && strings.EqualFold(r.Header.Get("Expect"), "100-continue")
}

// idempotent reports whether a request may be sent twice (RFC 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// writeHead appends the request's head to x.out.
func (x *exchange) writeHead() error {
	r := x.req.Inbound
	if !validToken(r.Method) || r.Method == http.MethodConnect {
		return fmt.Errorf("method %.40q cannot be sent to an upstream", r.Method)
	}
	if !validTarget(x.req.Target) {
		return errors.New("the request target is empty, or has a space or a control character")
	}
	if !validValue(x.req.Host) {
		return errors.New("the host has a control character")
	}
	x.out = append(x.out, r.Method...)
	x.out = append(x.out, ' ')
	x.out = append(x.out, x.req.Target...)
	x.out = append(x.out, " HTTP/1.1\r\n"...)
	x.writeField("Host", x.req.Host)
	for name, values := range r.Header {
		if err := x.writeInbound(name, values); err != nil {
			return err
		}
	}
	for _, f := range x.req.Set {
		if !validToken(f.Name) || !validValue(f.Value) {
			return fmt.Errorf("field %q set by the caller has a control character", f.Name)
		}
		x.writeField(f.Name, f.Value)
	}
	x.writeConnection()
	x.writeFraming()
	x.out = append(x.out, "\r\n"...)
	return nil
}

func (x *exchange) writeField(name, value string) {
	x.out = append(x.out, name...)
	x.out = append(x.out, ": "...)
	x.out = append(x.out, value...)
	x.out = append(x.out, "\r\n"...)
}

// writeInbound appends a field that the client sent, if it is to be sent on.
func (x *exchange) writeInbound(name string, values []string) error {
	if !x.passes(name) {
		return nil
	}
	for _, v := range values {
		if !validToken(name) || !validValue(v) {
			return fmt.Errorf("field %q has a character that is not allowed", name)
		}
		x.writeField(name, v)
	}
	return nil
}

// passes reports whether an inbound field or trailer is sent on.
func (x *exchange) passes(name string) bool {
	name = fold(name)
	if x.req.Drop != nil && x.req.Drop(name) {
		return false
	}
	if hopByHop(name) || lists(x.req.Inbound.Header["Connection"], name) {
		return false
	}
	return !slices.ContainsFunc(x.req.Set, func(f Field) bool { return f.Name == name })
}

// writeConnection appends what is said to the upstream alone.
func (x *exchange) writeConnection() {
	trailers := lists(x.req.Inbound.Header["Te"], "Trailers")
	switch {
	case x.upgrade != "" && trailers:
		x.writeField("Connection", "Upgrade, TE")
	case x.upgrade != "":
		x.writeField("Connection", "Upgrade")
	case trailers:
		x.writeField("Connection", "TE")
	}
	if x.upgrade != "" {
		x.writeField("Upgrade", x.upgrade)
	}
	if trailers {
		x.writeField("TE", "trailers")
	}
	if x.expecting {
		x.writeField("Expect", "100-continue")
	}
}

// writeFraming appends what says where the body ends.
func (x *exchange) writeFraming() {
	r := x.req.Inbound
	_, declared := r.Header["Content-Length"]
	switch {
	case hasBody(r) && r.ContentLength > 0:
		x.out = append(x.out, "Content-Length: "...)
		x.out = strconv.AppendInt(x.out, r.ContentLength, 10)
		x.out = append(x.out, "\r\n"...)
	case hasBody(r):
		x.out = append(x.out, "Transfer-Encoding: chunked\r\n"...)
		if names := x.trailerNames(); len(names) > 0 {
			x.writeField("Trailer", strings.Join(names, ", "))
		}
	case declared, r.Method == http.MethodPost, r.Method == http.MethodPut, r.Method == http.MethodPatch:
		x.writeField("Content-Length", "0")
	}
}

// trailerNames are the trailers that the client has announced and that are
// sent on, in a fixed order.
func (x *exchange) trailerNames() []string {
	var names []string
	for name := range x.req.Inbound.Trailer {
		if validToken(name) && x.passes(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// bufferBody appends the whole body to x.out, if the caller knows that it is
// there already and it is short.
func (x *exchange) bufferBody() error {
	r := x.req.Inbound
	n := len(x.out)
	x.out = slices.Grow(x.out, int(r.ContentLength))[:n+int(r.ContentLength)]
	if _, err := io.ReadFull(r.Body, x.out[n:]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}
