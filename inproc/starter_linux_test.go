package inproc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"aerie/apppool"
	"aerie/config"
	"aerie/worker"
)

func (f *fixture) start(t *testing.T, helper string) *Worker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := f.Start(ctx, f.spec(t, helper))
	if err != nil {
		t.Fatalf("%v\n%s", err, f.poolLog(t))
	}
	t.Cleanup(func() {
		if err := w.Stop(ended()); err != nil {
			t.Error(err)
		}
	})
	return w.(*Worker)
}

// ended is a context that has ended: there is no time to be polite.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// siteOn makes the worker serve on the ports of the addresses.
func siteOn(t *testing.T, w *Worker, addrs ...net.Addr) {
	t.Helper()
	s := settings()
	site := worker.Site{Name: "shop", Paths: []string{"/"}}
	for _, a := range addrs {
		site.Bindings = append(site.Bindings, config.Binding{Port: netip.MustParseAddrPort(a.String()).Port()})
	}
	s.Sites = []worker.Site{site}
	if err := w.Configure(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// TestLife starts a worker process, hands it a connection, relays it a request,
// takes the connection back and stops it.
func TestLife(t *testing.T) {
	descriptors := openDescriptors(t)
	f := newFixture(t)
	w := f.start(t, "chatty")
	if len(f.tokens) != 1 || !f.alive[w] || w.Pool() != "shop" || w.Generation() != 7 || w.Pid() <= 0 {
		t.Errorf("tokens %v, alive %v, %s %d", f.tokens, f.alive, w.Pool(), w.Generation())
	}
	host, client := tcp(t)
	siteOn(t, w, host.LocalAddr())
	if err := w.HandOver(clientOf(host, 3)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(client)
	get := func(path string) string {
		t.Helper()
		if _, err := fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: shop.test\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%d %q, %v", r.StatusCode, body, err)
		}
		return string(body)
	}
	if got := get("/"); got != fmt.Sprint(w.Pid()) {
		t.Errorf("answered by %s, the worker is %d", got, w.Pid())
	}
	var env []string
	if err := json.Unmarshal([]byte(get("/env")), &env); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(env, "GREETING=hello") {
		t.Errorf("the program's own environment is not there: %q", env)
	}
	for _, kv := range env {
		if strings.HasPrefix(kv, "AERIE_") || strings.HasPrefix(kv, "PLUGIN_") {
			t.Errorf("a child of the application would see %s", kv)
		}
	}
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Requests == 0 || s.Connections != 1 || s.StartedAt.IsZero() {
		t.Errorf("%+v", s)
	}
	relayed(t, w)
	drained := make(chan error, 1)
	go func() { drained <- w.Drain(t.Context()) }()
	returned, _ := f.owner.await(t, 1)
	if err := <-drained; err != nil || returned[3] == nil || !returned[3].Resumed {
		t.Fatalf("%v, %+v", err, returned)
	}
	if err := w.HandOver(clientOf(returned[3].Conn, 4)); !errors.Is(err, ErrNotTaken) {
		t.Errorf("while draining: %v", err)
	}
	if err := returned[3].Conn.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 2 {
		if err := w.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	if e := w.Exit(); e.Status != "exit status 0" || !e.Expected {
		t.Errorf("%+v", e)
	}
	contains(t, f.poolLog(t), "before\n1|too few\n", strings.Repeat("x", 100<<10)+"\n")
	_, _ = client.Close(), host.Close() // the other end is closed too
	f.nothingLeft(t, descriptors+4)     // the two logs, the launcher's
}

// relayed has a server relay a request to the worker.
func relayed(t *testing.T, w *Worker) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	siteOn(t, w, l.Addr())
	s := worker.NewServer(worker.Options{Logger: slog.New(slog.DiscardHandler), Limits: settings().Limits})
	s.SetTable(worker.OneApplication(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := w.Serve(rw, r); err != nil {
			worker.FailExchange(rw, r, err)
		}
	}), slog.New(slog.DiscardHandler)))
	if err := s.Listen(l, worker.Source{}); err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close(), s.Close()); err != nil || string(body) != fmt.Sprint(w.Pid()) {
		t.Errorf("relayed: %q, %v", body, err)
	}
}

// TestCrash: a worker process that ends by itself takes its connections with it;
// the last lines are known.
func TestCrash(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, "app")
	host, client := tcp(t)
	siteOn(t, w, host.LocalAddr())
	if err := w.HandOver(clientOf(host, 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(client, "GET /exit HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.Done():
	case <-time.After(patience):
		t.Fatal("it lives")
	}
	f.owner.await(t, 1)
	e := w.Exit()
	if e.Status != "exit status 9" || e.Expected || !slices.Contains(e.Output, "last words") {
		t.Errorf("%+v", e)
	}
	if err := w.Drain(t.Context()); err != nil {
		t.Errorf("drain after the end: %v", err)
	}
}

func TestFailedStarts(t *testing.T) {
	unknownField := func(f *fixture) {
		f.Settings = func(*Worker) (*worker.Settings, error) { return nil, errors.New("pool is gone") }
	}
	tests := map[string]struct {
		helper               string
		change               func(f *fixture)
		process              string
		limit                time.Duration
		status, reason, exit string
		output               string
	}{
		"exits":          {helper: "quits", status: "500.30", reason: "does it call app.Run?", exit: "exit status 4"},
		"prints, exits":  {helper: "prints", status: "500.30", reason: "does it call app.Run?", exit: "exit status 5", output: "two"},
		"leaves an heir": {helper: "heir", status: "500.30", reason: "does it call app.Run?", exit: "exit status 6", output: "heir"},
		"start hook":     {helper: "hook", status: "500.30", reason: "does it call app.Run?", exit: "exit status 1", output: "start hook: no database"},
		"not healthy":    {helper: "ill", status: "500.30", reason: "disk full"},
		"silent":         {helper: "silent", limit: 500 * time.Millisecond, status: "500.37", reason: "startup_timeout", output: "waiting"},
		"missing":        {process: "/nonexistent", status: "500.30", reason: "no such file"},
		"not executable": {process: "/etc/passwd", status: "500.30", reason: "not executable"},
		"no settings":    {helper: "app", change: unknownField, status: "500.30", reason: "pool is gone"},
		"no log": {helper: "app", status: "500.30", reason: "access log is away", change: func(f *fixture) {
			f.AccessLog = func() (*os.File, error) { return nil, errors.New("access log is away") }
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if _, err := f.Start(t.Context(), f.spec(t, "quits")); err == nil { // opens what stays open
				t.Fatal("started")
			}
			descriptors := openDescriptors(t)
			if test.change != nil {
				test.change(f)
			}
			spec := f.spec(t, test.helper)
			if test.process != "" {
				spec.Program.Process = test.process
			}
			if test.limit == 0 {
				test.limit = patience
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), test.limit, errors.New("startup is over"))
			defer cancel()
			began := time.Now()
			_, err := f.Start(ctx, spec)
			e, ok := errors.AsType[*apppool.StartError](err)
			if !ok {
				t.Fatalf("%v", err)
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("took %v", took)
			}
			output := strings.Join(e.Output, " ")
			if e.SubStatus != test.status || !strings.Contains(e.Reason, test.reason) || e.Exit != test.exit || !strings.Contains(output, test.output) || test.helper == "prints" && len(e.Output) != 2 {
				t.Errorf("%s %q exit %q output %q", e.SubStatus, e.Reason, e.Exit, output)
			}
			if _, heir, ok := strings.Cut(output, "heir "); ok {
				var pid int
				if _, err := fmt.Sscan(heir, &pid); err != nil {
					t.Fatal(err)
				}
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}
			f.nothingLeft(t, descriptors)
		})
	}
}

// TestRefusedSettings: settings that the worker does not know are named.
func TestRefusedSettings(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, "app")
	_, err := w.configureBytes(t.Context(), []byte(`{"Pool":"shop","Compression":true}`))
	if err == nil || !strings.Contains(err.Error(), "Compression") {
		t.Errorf("%v", err)
	}
}

// TestRotatedLogs: after UseLogs the process writes to the new files.
func TestRotatedLogs(t *testing.T) {
	f := newFixture(t)
	w := f.start(t, "app")
	host, client := tcp(t)
	siteOn(t, w, host.LocalAddr())
	var files []*os.File
	for _, name := range []string{"log", "access"} {
		file, err := os.OpenFile(filepath.Join(t.TempDir(), name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }() // nothing was written here
		files = append(files, file)
	}
	if err := w.UseLogs(files[0], files[1]); err != nil {
		t.Fatal(err)
	}
	if err := w.HandOver(clientOf(host, 3)); err != nil { // behind the logs
		t.Fatal(err)
	}
	if _, err := io.WriteString(client, "GET /exit HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-w.Done()
	b, err := os.ReadFile(files[0].Name())
	if err != nil || string(b) != "last words\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestCancelledWhileStarting(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.Started = func(string, int, string) func() { // the last thing before the process
		cancel()
		return func() {}
	}
	_, err := f.Start(ctx, f.spec(t, "silent"))
	if e, ok := errors.AsType[*apppool.StartError](err); !ok || e.SubStatus != "500.30" || e.Exit != "" {
		t.Errorf("%+v", err)
	}
}
