package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Actions are all actions, in the order in which they are shown to people.
func Actions() []Action { return []Action{Start, Stop, Recycle} }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	route := func(method, path string, serve http.HandlerFunc) {
		mux.HandleFunc(method+" "+path, serve)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", method)
			s.fail(w, &Error{Status: http.StatusMethodNotAllowed, Message: fmt.Sprintf("%s takes %s, not %s", r.URL.Path, method, r.Method)})
		})
	}
	route("GET", "/v1/status", s.serveStatus)
	route("POST", "/v1/reload", s.serveReload)
	route("GET", "/v1/queues/{name}", s.serveQueue)
	route("POST", "/v1/pools/{name}/{action}", s.servePool)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no %s in this API", r.URL.Path)})
	})
	return mux
}

func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) {
	s.reply(w, http.StatusOK, s.status())
}

func (s *Server) serveReload(w http.ResponseWriter, _ *http.Request) {
	done, err := s.host.Reload(s.base)
	if err != nil {
		s.fail(w, toError(err, http.StatusUnprocessableEntity))
		return
	}
	if done.Changes == nil {
		done.Changes = []string{}
	}
	s.reply(w, http.StatusOK, done)
}

func (s *Server) serveQueue(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	q, err := s.host.Queue(r.Context(), name)
	switch {
	case errors.Is(err, ErrUnknownPool):
		s.fail(w, s.unknownPool(name))
	case err != nil:
		s.fail(w, toError(err, http.StatusConflict))
	default:
		q.Waiting = orEmpty(q.Waiting)
		s.reply(w, http.StatusOK, q)
	}
}

func (s *Server) servePool(w http.ResponseWriter, r *http.Request) {
	name, action := r.PathValue("name"), Action(r.PathValue("action"))
	if !slices.Contains(Actions(), action) {
		s.fail(w, &Error{Status: http.StatusBadRequest, Message: fmt.Sprintf("unknown action %q: it is start, stop or recycle", action)})
		return
	}
	pool, err := s.host.Pool(s.base, name, action)
	switch {
	case errors.Is(err, ErrUnknownPool):
		s.fail(w, s.unknownPool(name))
	case err != nil:
		e := toError(err, http.StatusConflict)
		if e.Pool == nil && pool.Name != "" {
			withPool := *e
			withPool.Pool = new(pool.normal())
			e = &withPool
		}
		s.fail(w, e)
	default:
		s.reply(w, http.StatusOK, pool.normal())
	}
}

// unknownPool names the pool that was probably meant, or else all of them.
func (s *Server) unknownPool(name string) *Error {
	var names []string
	for _, p := range s.host.Status().Pools {
		names = append(names, p.Name)
	}
	message := fmt.Sprintf("%v %q", ErrUnknownPool, name)
	if near := nearest(name, names); near != "" {
		message += fmt.Sprintf(": did you mean %q?", near)
	} else if len(names) > 0 {
		slices.Sort(names)
		message += ": there are " + strings.Join(names, ", ")
	}
	return &Error{Status: http.StatusNotFound, Message: message}
}

// status is the host's status with no null in place of an empty list.
func (s *Server) status() Status {
	st := s.host.Status()
	st.Sites = orEmpty(slices.Clone(st.Sites))
	for i := range st.Sites {
		st.Sites[i].Bindings = orEmpty(st.Sites[i].Bindings)
		st.Sites[i].Apps = orEmpty(st.Sites[i].Apps)
	}
	st.Pools = orEmpty(slices.Clone(st.Pools))
	for i := range st.Pools {
		st.Pools[i] = st.Pools[i].normal()
	}
	return st
}

func (p PoolStatus) normal() PoolStatus {
	p.Workers = orEmpty(p.Workers)
	return p
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (s *Server) fail(w http.ResponseWriter, e *Error) { s.reply(w, e.Status, e) }

func (s *Server) reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		s.log.Warn("admin answer not sent", "reason", err)
	}
}
