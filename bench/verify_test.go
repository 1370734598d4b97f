package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"aerie/bench/hello"
)

func serve(t *testing.T, h http.HandlerFunc) *target {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &target{addr: strings.TrimPrefix(s.URL, "http://")}
}

func TestVerify(t *testing.T) {
	var served atomic.Int64
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		hello.Handler().ServeHTTP(w, r)
	})
	for _, m := range []mode{keepAlive, onePerConnection} {
		served.Store(0)
		s, err := verify(t.Context(), target, m)
		if err != nil {
			t.Fatalf("%s: %v", m, err)
		}
		if n := served.Load(); n != verifyConns*verifyEach {
			t.Errorf("%s: %d requests were served, want %d", m, n, verifyConns*verifyEach)
		}
		if min := int64(len(hello.Body) + len("HTTP/1.1 200 OK\r\n")); s.least <= min || s.least != s.most {
			t.Errorf("%s: sizes %+v", m, s)
		}
	}
}

// One wrong answer among many is found.
func TestVerifyFinds(t *testing.T) {
	for _, test := range []struct {
		name  string
		wrong http.HandlerFunc
		want  string
	}{
		{"a wrong byte", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", hello.ContentType)
			_, _ = io.WriteString(w, strings.ToUpper(hello.Body)) // the verifier reads it
		}, "body"},
		{"another type", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, hello.Body) // as above
		}, "content type"},
		{"another status", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}, "status 503"},
		{"a close", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			hello.Handler().ServeHTTP(w, r)
		}, "closing is true"},
		{"no answer", func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, "wait for an answer"},
	} {
		var n atomic.Int64
		target := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) == verifyConns*verifyEach/2 {
				test.wrong(w, r)
				return
			}
			hello.Handler().ServeHTTP(w, r)
		})
		if _, err := verify(t.Context(), target, keepAlive); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
}
