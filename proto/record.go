package proto

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// RecordHeader is the one header field that carries a Record. The host drops
// it, in every spelling, from whatever a client sends.
const RecordHeader = "Aerie-Record"

// ErrRecord is the error of a record that is missing, doubled, malformed or
// not signed with the generation's token. Its request must be refused.
var ErrRecord = errors.New("proto: request without a valid " + RecordHeader)

// Record is what the sender of a relayed or forwarded request knows of the
// client's connection. It travels as one header field and is believed only
// with the token of the generation that it is sent to, so nothing that a
// client writes can pass for it.
type Record struct {
	Token    string         // the receiving generation's token
	Hop      int            // 0 from the host; 1 on a request that was relayed once and is not relayed again
	Config   uint64         // version of the configuration that the sender routed by
	Scheme   string         // "http" or "https", as the client spoke
	Remote   netip.AddrPort // the client's address; from a worker: ignored by the host
	Local    netip.AddrPort // the address it connected to; from a worker: ignored by the host
	Trusted  bool           // the peer is in trusted_proxies: its X-Forwarded-* stand
	Conn     uint64         // from a worker: the number that the host gave the connection
	PathBase string         // path of the application, "" for the root
}

const recordVersion = "1"

// Append appends the record's wire form to b: fields separated by one space.
func (r *Record) Append(b []byte) []byte {
	b = append(b, recordVersion...)
	b = append(b, ' ')
	b = append(b, r.Token...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(r.Hop), 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, r.Config, 10)
	b = append(b, ' ')
	b = append(b, r.Scheme...)
	b = append(b, ' ')
	b = r.Remote.AppendTo(b)
	b = append(b, ' ')
	b = r.Local.AppendTo(b)
	b = append(b, ' ')
	if r.Trusted {
		b = append(b, '1')
	} else {
		b = append(b, '0')
	}
	b = append(b, ' ')
	b = strconv.AppendUint(b, r.Conn, 10)
	b = append(b, " /"...)
	b = append(b, (&url.URL{Path: strings.TrimPrefix(r.PathBase, "/")}).EscapedPath()...)
	return b
}

// String is the wire form. It contains the token: never log it.
func (r *Record) String() string { return string(r.Append(nil)) }

// TakeRecord removes the record from h and returns it. There must be exactly
// one and it must carry token; otherwise the error is ErrRecord, and h has none
// of it left either way.
func TakeRecord(h http.Header, token string) (Record, error) {
	return TakeRecordOf(h, func(t string) bool {
		return token != "" && subtle.ConstantTimeCompare([]byte(t), []byte(token)) == 1
	})
}

// TakeRecordOf is TakeRecord for a receiver of several senders: known says
// whether a token is one of theirs.
func TakeRecordOf(h http.Header, known func(token string) bool) (Record, error) {
	values := h[RecordHeader]
	delete(h, RecordHeader)
	if len(values) != 1 {
		return Record{}, fmt.Errorf("%w: %d of them", ErrRecord, len(values))
	}
	return parseRecord(values[0], known)
}

func parseRecord(s string, known func(token string) bool) (Record, error) {
	f := strings.Split(s, " ")
	if len(f) != 10 || f[0] != recordVersion {
		return Record{}, fmt.Errorf("%w: not of version %s", ErrRecord, recordVersion)
	}
	if !known(f[1]) {
		return Record{}, fmt.Errorf("%w: wrong token", ErrRecord)
	}
	r := Record{Token: f[1], Scheme: f[4], Trusted: f[7] == "1"}
	var errs [6]error
	r.Hop, errs[0] = strconv.Atoi(f[2])
	r.Config, errs[1] = strconv.ParseUint(f[3], 10, 64)
	r.Remote, errs[2] = parseAddrPort(f[5])
	r.Local, errs[3] = parseAddrPort(f[6])
	r.Conn, errs[4] = strconv.ParseUint(f[8], 10, 64)
	r.PathBase, errs[5] = url.PathUnescape(f[9])
	if err := errors.Join(errs[:]...); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.PathBase == "/" {
		r.PathBase = ""
	}
	return r, nil
}

// parseAddrPort reads what netip.AddrPort.AppendTo writes; the zero value, of
// a client without an address (a unix socket), is written as "invalid AddrPort"
// by String but as nothing by AppendTo.
func parseAddrPort(s string) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, nil
	}
	return netip.ParseAddrPort(s)
}
