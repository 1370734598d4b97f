package worker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"

	"aerie/internal/h1"
	"aerie/module"
	"aerie/proto"
)

// Relay passes one request to another process of Aerie: the host to a worker
// process, or a worker process to its host. Apart from rec, which replaces any
// record that the request has, the other process sees the request as this one
// got it. It blocks until the response is delivered, or returns why it was not:
// an *h1.Error, which FailExchange answers.
func Relay(to *h1.Upstream, w http.ResponseWriter, r *http.Request, rec proto.Record) error {
	c := ConnOf(r.Context())
	return to.Exchange(w, &h1.Request{
		Inbound: r, Target: r.RequestURI, Host: r.Host,
		Set:      []h1.Field{{Name: proto.RecordHeader, Value: rec.String()}},
		Buffered: c != nil && r.ProtoMajor == 1 && c.BodyBuffered(r.ContentLength),
	})
}

// NeverSent reports, of the error of an exchange, whether no connection to the
// upstream could be made: nothing of the request was sent or read.
func NeverSent(err error) bool {
	e, ok := errors.AsType[*h1.Error](err)
	return ok && e.Stage == h1.Dial && !e.Answered
}

// FailExchange answers a request whose exchange with an upstream did not
// succeed, with IIS's codes. If a part of the response has reached the client
// already, it ends the client's connection instead, by the panic that net/http
// has for it.
func FailExchange(w http.ResponseWriter, r *http.Request, err error) {
	p := exchangeProblem(r, err)
	var e *h1.Error
	answered := errors.As(err, &e) && e.Answered
	if answered || p.Status == statusClientGone {
		if n := module.NoterOf(w); n != nil {
			n.Note(p)
		}
		if answered {
			_ = http.NewResponseController(w).Flush() // what did come is the client's; if it is gone, nothing is lost
		}
		panic(http.ErrAbortHandler)
	}
	if p.Status < 500 {
		w.Header().Set("Connection", "close") // the rest of the body is not to be read
	}
	Fail(w, p)
}

// statusClientGone is what logs show for a client that did not wait for its
// answer; nginx has made it common.
const statusClientGone = 499

func exchangeProblem(r *http.Request, err error) module.Problem {
	p := module.Problem{Status: http.StatusBadGateway, SubStatus: 3, Reason: err.Error()}
	var e *h1.Error
	if !errors.As(err, &e) {
		return p
	}
	var tooLarge *http.MaxBytesError
	switch {
	case e.Stage == h1.ClientGone:
		p.Status, p.SubStatus = statusClientGone, 0
	case e.Stage == h1.Refused:
		p.Status, p.SubStatus = http.StatusBadRequest, 0
	case e.Stage == h1.ClientBody && errors.As(err, &tooLarge):
		p.Status, p.SubStatus = http.StatusRequestEntityTooLarge, 1
	case e.Stage == h1.ClientBody && errors.Is(err, os.ErrDeadlineExceeded):
		p.Status, p.SubStatus = http.StatusRequestTimeout, 0
	case e.Stage == h1.ClientBody && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled)):
		p.Status, p.SubStatus = statusClientGone, 0
	case e.Stage == h1.ClientBody:
		p.Status, p.SubStatus = http.StatusBadRequest, 0
	case e.Stage == h1.Upgrade:
		p.Status, p.SubStatus = http.StatusInternalServerError, 0
	}
	return p
}

// Foreign answers, in a worker process, requests for sites that its pool does
// not have, on connections that were handed over. The host relays them, which
// is right only where both pools run as one user; otherwise the host gives no
// socket to relay to. A request that was relayed once is never relayed again,
// so tables that differ during a reload cannot send it round for ever.
func Foreign(host *h1.Upstream, token string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := OriginOf(r)
		if host == nil || o.Relayed || o.Conn == nil || o.Conn.Number() == 0 || r.ProtoMajor != 1 {
			w.Header().Set("Connection", "close")
			Fail(w, module.Problem{Status: http.StatusMisdirectedRequest, Reason: "host " + r.Host + " is not a site of this pool"})
			return
		}
		rec := proto.Record{Token: token, Hop: 1, Scheme: "http", Trusted: o.Trusted, Conn: o.Conn.Number()}
		if err := Relay(host, w, r, rec); err != nil {
			FailExchange(w, r, err)
		}
	})
}
