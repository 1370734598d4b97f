package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"aerie/config"
)

func ask(t *testing.T, host Host, method, path string) (int, http.Header, string) {
	t.Helper()
	s := NewServer(host, slog.New(slog.DiscardHandler))
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("%s %s: Content-Type %q", method, path, got)
	}
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, w.Header(), string(body)
}

func TestStatusGolden(t *testing.T) {
	code, _, body := ask(t, &fakeHost{status: sampleStatus()}, "GET", "/v1/status")
	if code != 200 {
		t.Errorf("code %d", code)
	}
	golden(t, "status.json", []byte(body))
}

// No list is ever null, so that scripts can iterate without a check.
func TestStatusOfEmptyHost(t *testing.T) {
	_, _, body := ask(t, &fakeHost{status: Status{Sites: []SiteStatus{{}}, Pools: []PoolStatus{{}}}}, "GET", "/v1/status")
	golden(t, "status-empty.json", []byte(body))
}

func TestAnswers(t *testing.T) {
	running := PoolStatus{Name: "shop", State: "running"}
	failed := PoolStatus{Name: "shop", State: "failed", LastOutput: []string{"panic: no database"}}
	host := func(reload error, pool PoolStatus, poolErr error) Host {
		return &fakeHost{
			status: sampleStatus(),
			reload: func(context.Context) (Reload, error) { return Reload{ConfigVersion: 8}, reload },
			pool:   func(context.Context, string, Action) (PoolStatus, error) { return pool, poolErr },
			queue: func(name string) (Queue, error) {
				switch name {
				case "shop":
					return Queue{Pool: name, Length: 10, Waiting: []Waiter{
						{Since: sampleStatus().StartedAt, Client: "127.0.0.1:9"},
						{Pid: 5, Since: sampleStatus().StartedAt, Client: "127.0.0.1:10", Request: "GET /<a>?b&c"},
					}}, nil
				case "calm":
					return Queue{Pool: name, Length: 10}, nil
				case "deaf":
					return Queue{}, errors.New("process 5: no answer")
				}
				return Queue{}, ErrUnknownPool
			},
		}
	}
	var answers strings.Builder
	refused := &config.Problems{List: []config.Problem{
		{File: "sites.toml", Line: 3, Key: "sites.shop.pool", Message: "unknown pool"},
		{File: "sites.toml", Message: "no sites"},
	}}
	fine := host(nil, running, nil)
	for _, test := range []struct {
		name, method, path string
		host               Host
		code               int
	}{
		{"reload", "POST", "/v1/reload", fine, 200},
		{"reload-problems", "POST", "/v1/reload", host(fmt.Errorf("reload: %w", refused), running, nil), 422},
		{"reload-refused", "POST", "/v1/reload", host(errors.New("run_dir cannot change while the host runs"), running, nil), 422},
		{"reload-conflict", "POST", "/v1/reload", host(&Error{Status: 409, Message: "a reload is running"}, running, nil), 409},
		{"reload-ending", "POST", "/v1/reload", host(fmt.Errorf("reload: %w", ErrUnavailable), running, nil), 503},
		{"pool", "POST", "/v1/pools/shop/recycle", fine, 200},
		{"pool-unknown", "POST", "/v1/pools/shpo/recycle", host(nil, PoolStatus{}, ErrUnknownPool), 404},
		{"pool-unknown-far", "POST", "/v1/pools/zebra/recycle", host(nil, PoolStatus{}, ErrUnknownPool), 404},
		{"pool-action", "POST", "/v1/pools/shop/restart", fine, 400},
		{"pool-failed", "POST", "/v1/pools/shop/start", host(nil, failed, errors.New("did not start (exit status 2)")), 409},
		{"pool-ending", "POST", "/v1/pools/shop/start", host(nil, failed, context.Canceled), 503},
		{"queue", "GET", "/v1/queues/shop", fine, 200},
		{"queue-empty", "GET", "/v1/queues/calm", fine, 200},
		{"queue-unknown", "GET", "/v1/queues/shpo", fine, 404},
		{"queue-failed", "GET", "/v1/queues/deaf", fine, 409},
		{"queue-method", "POST", "/v1/queues/shop", fine, 405},
		{"method", "GET", "/v1/reload", fine, 405},
		{"path", "GET", "/v2/status", fine, 404},
	} {
		code, header, body := ask(t, test.host, test.method, test.path)
		if code != test.code {
			t.Errorf("%s: code %d, want %d", test.name, code, test.code)
		}
		if allow := header.Get("Allow"); code == 405 && (allow != "POST" && allow != "GET" || allow == test.method) {
			t.Errorf("%s: Allow %q", test.name, header.Get("Allow"))
		}
		fmt.Fprintf(&answers, "# %s: %s %s\n%d %s\n", test.name, test.method, test.path, code, body)
	}
	golden(t, "answers.txt", []byte(answers.String()))
}

func TestNearest(t *testing.T) {
	names := []string{"shop", "blog", "intranet"}
	for word, want := range map[string]string{
		"shpo": "shop", "hsop": "shop", "shops": "shop", "bog": "blog", "intarnet": "intranet", "inranett": "intranet",
		"zebra": "", "": "", "x": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
