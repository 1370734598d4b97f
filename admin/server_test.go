package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestClientAndServer(t *testing.T) {
	want := sampleStatus()
	var gotName string
	var gotAction Action
	_, path := start(t, &fakeHost{
		status: want,
		reload: func(context.Context) (Reload, error) {
			return Reload{ConfigVersion: 9, Changes: []string{"pool shop: hosting"}}, nil
		},
		pool: func(_ context.Context, name string, action Action) (PoolStatus, error) {
			gotName, gotAction = name, action
			if name != "shop" {
				return want.Pools[0], errors.New("did not start")
			}
			return want.Pools[0], nil
		},
	})
	c := client(t, path)
	got, err := c.Status(t.Context())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Status = %+v, %v", got, err)
	}
	reload, err := c.Reload(t.Context())
	if err != nil || reload.ConfigVersion != 9 || len(reload.Changes) != 1 {
		t.Errorf("Reload = %+v, %v", reload, err)
	}
	pool, err := c.Pool(t.Context(), "shop", Recycle)
	if err != nil || pool.Generation != 3 || gotName != "shop" || gotAction != Recycle {
		t.Errorf("Pool = %+v, %v; host saw %q %q", pool, err, gotName, gotAction)
	}
	_, err = c.Pool(t.Context(), "a/b c", Stop)
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 409 || e.Message != "did not start" || e.Pool == nil || e.Pool.Generation != 3 {
		t.Errorf("Pool error = %#v", err)
	}
	if gotName != "a/b c" || gotAction != Stop {
		t.Errorf("host saw %q %q", gotName, gotAction)
	}
}

func TestNoHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	check := func() {
		t.Helper()
		_, err := client(t, path).Status(t.Context())
		want := "no host is running on " + path + " (start it with: aerie run)"
		if !errors.Is(err, ErrNoHost) || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	check()
	stale(t, path)
	check()
}

// stale leaves a socket behind as a killed host does.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)

	t.Run("modes", func(t *testing.T) {
		_, path := start(t, &fakeHost{})
		for file, want := range map[string]os.FileMode{path: os.ModeSocket | 0o600, filepath.Dir(path): os.ModeDir | 0o711} {
			info, err := os.Lstat(file)
			if err != nil || info.Mode() != want {
				t.Errorf("%s: %v, %v, want %v", file, info.Mode(), err, want)
			}
		}
	})
	t.Run("stale socket is replaced", func(t *testing.T) {
		path := filepath.Join(dir, "stale.sock")
		stale(t, path)
		s := NewServer(&fakeHost{}, log)
		if err := s.Listen("unix:" + path); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("socket is still there after Close: %v", err)
		}
	})
	t.Run("live socket stays", func(t *testing.T) {
		_, path := start(t, &fakeHost{status: Status{Pid: 5}})
		err := NewServer(&fakeHost{}, log).Listen(path)
		if err == nil || !strings.Contains(err.Error(), "another host answers on it") {
			t.Errorf("error %v", err)
		}
		if st, err := client(t, path).Status(t.Context()); err != nil || st.Pid != 5 {
			t.Errorf("first host: %+v, %v", st, err)
		}
	})
	t.Run("file stays", func(t *testing.T) {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := NewServer(&fakeHost{}, log).Listen(path)
		if err == nil || !strings.Contains(err.Error(), "not a socket") {
			t.Errorf("error %v", err)
		}
		if b, err := os.ReadFile(path); string(b) != "precious" {
			t.Errorf("file: %q, %v", b, err)
		}
	})
	t.Run("path too long", func(t *testing.T) {
		err := NewServer(&fakeHost{}, log).Listen(filepath.Join(dir, strings.Repeat("x", 100)))
		if err == nil || !strings.Contains(err.Error(), "may have 100 bytes") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("after Close", func(t *testing.T) {
		s := NewServer(&fakeHost{}, log)
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		if err := s.Listen(filepath.Join(dir, "x.sock")); err != http.ErrServerClosed {
			t.Errorf("Listen: %v", err)
		}
		if err := s.Serve(); err != http.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
}

// An order outlives its client, and Shutdown waits for it.
func TestShutdownWaits(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	var cause error
	s, path := start(t, &fakeHost{pool: func(ctx context.Context, _ string, _ Action) (PoolStatus, error) {
		close(began)
		<-goOn
		cause = context.Cause(ctx)
		return PoolStatus{Name: "shop"}, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() {
		_, err := client(t, path).Pool(ctx, "shop", Recycle)
		asked <- err
	}()
	<-began
	cancel()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Errorf("client: %v", err)
	}
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v while an order ran", err)
	default:
	}
	close(goOn)
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if cause != nil {
		t.Errorf("the order's context ended: %v", cause)
	}
}

// When Shutdown's time is over, and in Close, orders are told to end.
func TestShutdownInTime(t *testing.T) {
	began, returned := make(chan struct{}), make(chan struct{})
	early := false
	s, path := start(t, &fakeHost{reload: func(ctx context.Context) (Reload, error) {
		close(began)
		<-ctx.Done()
		select {
		case <-returned:
			early = true
		case <-time.After(50 * time.Millisecond):
		}
		return Reload{}, ctx.Err()
	}})
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if _, err := client(t, path).Reload(context.Background()); err == nil {
			t.Error("the client was told that an ended reload was done")
		}
	}()
	<-began
	over := errors.New("time is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	if err := s.Shutdown(ctx); !errors.Is(err, over) {
		t.Errorf("Shutdown: %v", err)
	}
	close(returned)
	<-asked
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if early {
		t.Error("Shutdown returned before the order had ended")
	}
}
