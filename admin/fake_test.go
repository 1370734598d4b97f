package admin

import (
	"context"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// fakeHost answers from its fields.
type fakeHost struct {
	status Status
	reload func(context.Context) (Reload, error)
	pool   func(context.Context, string, Action) (PoolStatus, error)
	queue  func(string) (Queue, error)
}

var _ Host = (*fakeHost)(nil)

func (f *fakeHost) Status() Status { return f.status }

func (f *fakeHost) Reload(ctx context.Context) (Reload, error) { return f.reload(ctx) }

func (f *fakeHost) Pool(ctx context.Context, name string, action Action) (PoolStatus, error) {
	return f.pool(ctx, name, action)
}

func (f *fakeHost) Queue(_ context.Context, name string) (Queue, error) { return f.queue(name) }

// sampleStatus has every field set.
func sampleStatus() Status {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	return Status{
		Version: "v1", Pid: 100, StartedAt: at, Config: "/srv/sites.toml", ConfigVersion: 7, Connections: 12,
		Sites: []SiteStatus{{
			Name: "shop", Bindings: []string{"http://shop.localhost:8080"}, Connections: 12,
			Apps: []AppStatus{{Path: "/", Pool: "shop", Hosting: "inprocess"}},
		}},
		Pools: []PoolStatus{{
			Name: "shop", Hosting: "inprocess", State: "running", Generation: 3, Queued: 1, Crashes: 2, Recycles: 4,
			LastReason: "recycle: <asked>", LastOutput: []string{"bye"},
			Workers: []WorkerStatus{{
				Pid: 101, Generation: 3, State: "running", Requests: 5, Active: 6, Connections: 7, RSSBytes: 8, StartedAt: at,
			}},
		}},
	}
}

// start serves host on a socket until the test ends.
func start(t *testing.T, host Host) (*Server, string) {
	t.Helper()
	s := NewServer(host, slog.New(slog.NewTextHandler(t.Output(), nil)))
	path := filepath.Join(t.TempDir(), "run", "a.sock")
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-served; err != http.ErrServerClosed {
			t.Errorf("Serve: %v, want http.ErrServerClosed", err)
		}
	})
	return s, path
}

func client(t *testing.T, path string) *Client {
	t.Helper()
	c := NewClient("unix:" + path)
	t.Cleanup(c.Close)
	return c
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("differs from %s:\n%s", file, got)
	}
}
