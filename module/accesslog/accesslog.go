package accesslog

import (
	"cmp"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"aerie/module"
)

// Options say what an application's lines contain. Sink must be set.
type Options struct {
	Site       string
	App        string
	Pool       string
	Hosting    string
	Generation int                        // of this worker process; 0 in the host, which calls Answered
	Via        func(*http.Request) string // nil is "host"
	User       func(*http.Request) string // the name that authentication has proven; nil is nobody
	Sink       *Sink
	Now        func() time.Time // nil is time.Now
}

// Module logs the requests of one application. It is safe for concurrent use.
type Module struct {
	via  func(*http.Request) string
	user func(*http.Request) string
	now  func() time.Time
	sink *Sink

	// The parts of each line that are always the same.
	app        string
	pid        string
	generation int

	scratch sync.Pool // of *[]byte: a line while it is put together
}

var _ module.Module = (*Module)(nil)

// New returns the module of one application.
func New(opts Options) *Module {
	m := &Module{via: opts.Via, user: opts.User, now: opts.Now, sink: opts.Sink, generation: opts.Generation}
	if m.via == nil {
		m.via = func(*http.Request) string { return "host" }
	}
	if m.user == nil {
		m.user = func(*http.Request) string { return "" }
	}
	if m.now == nil {
		m.now = time.Now
	}
	b := appendString(nil, `,"site":`, opts.Site)
	b = appendString(b, `,"app":`, opts.App)
	b = appendString(b, `,"pool":`, opts.Pool)
	m.app = string(appendString(b, `,"hosting":`, opts.Hosting))
	m.pid = string(appendInt(nil, `,"pid":`, int64(os.Getpid())))
	m.scratch.New = func() any { return new(make([]byte, 0, 1024)) }
	return m
}

// Name is "accesslog".
func (m *Module) Name() string { return "accesslog" }

// Wrap returns a handler that logs each request once next has returned, also
// by a panic, which goes on to the caller with its stack.
func (m *Module) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := newRecorder(w, r, m.now())
		returned := false
		defer func() {
			if returned {
				m.log(rec, r)
				return
			}
			v := recover() // nil: the handler ended its goroutine
			rec.broken(v)
			m.log(rec, r)
			if v != nil {
				panic(v)
			}
		}()
		next.ServeHTTP(rec, r)
		returned = true
	})
}

// broken notes that the handler did not return.
func (rec *recorder) broken(v any) {
	why := "panic"
	if err, ok := v.(error); v == nil || ok && errors.Is(err, http.ErrAbortHandler) {
		why = "aborted"
	} else if rec.status == 0 && !rec.hijacked {
		rec.status = http.StatusInternalServerError
	}
	if rec.problem.Reason != "" {
		why += ": " + rec.problem.Reason
	}
	rec.problem.Reason, rec.unanswered = why, rec.status == 0
}

// log hands the sink the line of a request that is over.
func (m *Module) log(rec *recorder, r *http.Request) {
	if rec.quiet && rec.problem.Reason == "" {
		return
	}
	buf := m.scratch.Get().(*[]byte)
	*buf = m.appendLine((*buf)[:0], rec, r)
	m.sink.Add(*buf)
	m.scratch.Put(buf)
}

func (m *Module) appendLine(b []byte, rec *recorder, r *http.Request) []byte {
	status, substatus := rec.outcome()
	b = append(b, `{"time":"`...)
	b = appendTime(b, rec.began)
	b = append(b, '"')
	b = append(b, m.app...)
	b = appendString(b, `,"via":`, m.via(r))
	b = append(b, m.pid...)
	b = appendInt(b, `,"generation":`, int64(cmp.Or(rec.generation, m.generation)))
	b = appendString(b, `,"method":`, rec.method)
	b = appendString(b, `,"uri":`, rec.uri)
	b = appendString(b, `,"host":`, rec.host)
	b = appendString(b, `,"proto":`, rec.proto)
	b = appendInt(b, `,"status":`, int64(status))
	b = appendInt(b, `,"substatus":`, int64(substatus))
	b = appendString(b, `,"reason":`, rec.problem.Reason)
	b = appendInt(b, `,"bytes_in":`, rec.bytesIn())
	b = appendInt(b, `,"bytes_out":`, rec.bytesOut)
	b = appendInt(b, `,"duration_us":`, m.now().Sub(rec.began).Microseconds())
	b = appendString(b, `,"client":`, rec.client)
	b = appendString(b, `,"user":`, m.user(r))
	b = appendString(b, `,"referer":`, rec.referer)
	b = appendString(b, `,"user_agent":`, rec.userAgent)
	b = append(b, `,"request_id":"`...)
	b = rec.id.append(b)
	return append(b, "\"}\n"...)
}
