package suite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"

	"aerie/test/behave"
)

const (
	helperEnv     = "AERIE_SUITE_SERVER"
	targetEnv     = "AERIE_SUITE_TARGET"
	headerTimeout = 400 * time.Millisecond
	maxHeader     = 32 << 10
	maxURL        = 4096
	maxBody       = 2 << 20
)

// TestMain is the server too: started with helperEnv, the test binary serves
// the app with plain net/http and prints its address.
func TestMain(m *testing.M) {
	if mode := os.Getenv(helperEnv); mode != "" {
		log.Fatal(serve(mode))
	}
	os.Exit(m.Run())
}

func serve(mode string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: behave.Handler()}
	switch flaw, ok := flaws[mode]; {
	case ok:
		server.Handler = flaw.wrap(server.Handler)
	case mode == "limited":
		server.Handler = limited(server.Handler)
		server.ReadHeaderTimeout = headerTimeout
		server.IdleTimeout = time.Minute
		server.MaxHeaderBytes = maxHeader
	case mode != "plain":
		return fmt.Errorf("no server %q", mode)
	}
	fmt.Println(l.Addr())
	return server.Serve(l)
}

// limited adds the limits that net/http has no answers for.
func limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse := func(status int) {
			w.Header().Set("Connection", "close")
			http.Error(w, "limit", status)
		}
		switch {
		case len(r.URL.Path) > maxURL:
			refuse(http.StatusRequestURITooLong)
		case strings.HasPrefix(r.URL.Path, "/sink") && r.ContentLength > maxBody:
			refuse(http.StatusRequestEntityTooLarge)
		case strings.HasPrefix(r.URL.Path, "/sink"):
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			next.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// start starts the server and returns its address.
func start(t *testing.T, mode string) (addr string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+mode, "BEHAVE_NAME=bare")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it ends by nothing else
		_ = cmd.Wait()
	})
	if _, err := fmt.Fscanln(out, &addr); err != nil {
		t.Fatal(err)
	}
	return addr
}

// bare is the target of a server that start has started.
func bare(addr string) Target {
	return Target{Name: "bare", Addr: addr, Host: addr, OtherHost: "other.localhost", Mode: Bare, AppName: "bare",
		PanicCloses: true, TimeoutVaries: true, DoubtStays: true}
}

// TestTarget runs the suite against the target that is described, as JSON, by
// targetEnv; without it, against plain net/http.
func TestTarget(t *testing.T) {
	var target Target
	if text := os.Getenv(targetEnv); text == "" {
		target = bare(start(t, "plain"))
	} else if err := json.Unmarshal([]byte(text), &target); err != nil {
		t.Fatal(err)
	}
	Run(t, target)
}

func TestLimits(t *testing.T) {
	target := bare(start(t, "limited"))
	target.HeaderTimeout, target.MaxHeader, target.MaxURL, target.MaxBody = headerTimeout, maxHeader, maxURL, maxBody
	for _, test := range newSuite(target).limits() {
		t.Run(test.name, test.run)
	}
}

// TestSuiteNotices starts servers with one flaw each and the suite against them
// in a process of its own, where the named subtests must fail.
func TestSuiteNotices(t *testing.T) {
	for name, flaw := range flaws {
		t.Run(name, func(t *testing.T) {
			target, err := json.Marshal(bare(start(t, name)))
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestTarget$/^bare$/^("+strings.Join(flaw.fail, "|")+")$")
			cmd.Env = append(os.Environ(), targetEnv+"="+string(target))
			out, err := cmd.CombinedOutput()
			if _, ok := errors.AsType[*exec.ExitError](err); !ok {
				t.Errorf("the suite did not fail: %v", err)
			}
			for _, test := range flaw.fail {
				if !strings.Contains(string(out), "--- FAIL: TestTarget/bare/"+test) {
					t.Errorf("%s did not fail", test)
				}
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}

// flaw is what may be wrong with a server.
type flaw struct {
	wrap func(http.Handler) http.Handler
	fail []string // the subtests that must notice, as in the names of go test
}

// before makes a flaw that changes what the handler gets.
func before(change func(http.ResponseWriter, *http.Request) http.ResponseWriter) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(change(w, r), r) })
	}
}

var flaws = map[string]flaw{
	"another remote address": {before(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		r.RemoteAddr = "127.0.0.1:1"
		return w
	}), []string{"facts:_remote_address"}},
	"clean URI": {before(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		r.RequestURI = path.Clean(r.URL.Path)
		return w
	}), []string{"facts:_raw_request_URI"}},
	"body cut short": {before(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(r.Body, 1<<20), r.Body}
		return w
	}), []string{"large_upload_with_a_length", "large_upload_in_chunks", "large_body_both_ways"}},
	"body held in memory": {before(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if b, err := io.ReadAll(r.Body); err == nil {
			r.Body = io.NopCloser(bytes.NewReader(b))
		}
		return w
	}), []string{"large_upload_with_a_length", "large_upload_in_chunks"}},
	"no sendfile": {before(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		return unwrapped{w}
	}), []string{"sendfile_kept", "facts:_response_writer"}},
	"no early hints": {before(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		return finalOnly{unwrapped{w}}
	}), []string{"103_early_hints"}},
	"one token for all": {before(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if q := r.URL.Query(); r.URL.Path == "/id" && q.Get("id") != "usable" {
			r.URL.RawQuery, r.Header = "id=one", http.Header{"X-Id": {"one"}}
		}
		return w
	}), []string{"pipelined_requests", "head_split_at_each_byte", "load"}},
	"seen twice": {func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/facts" {
				next.ServeHTTP(httptest.NewRecorder(), r.Clone(r.Context()))
			}
			next.ServeHTTP(w, r)
		})
	}, []string{"doubtful:_underscore"}},
	"panics hidden": {func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { _ = recover() }() // the flaw
			next.ServeHTTP(w, r)
		})
	}, []string{"panic", "panic_after_the_answer_has_begun"}},
	"connections closed": {before(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		w.Header().Set("Connection", "close")
		return w
	}), []string{"load", "methods", "full_duplex", "facts:_remote_address"}},
}

// unwrapped has no methods but the three, and leaves the rest to Unwrap.
type unwrapped struct{ http.ResponseWriter }

func (u unwrapped) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// finalOnly drops 1xx answers.
type finalOnly struct{ unwrapped }

func (f finalOnly) WriteHeader(status int) {
	if status >= 200 {
		f.unwrapped.WriteHeader(status)
	}
}
