//go:build unix

package host

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"aerie/config"
	"aerie/worker"
)

// TestServiceSocket: only the pool's user reaches it, and close leaves nothing.
func TestServiceSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "ae")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder
	s := newService(dir, startID(time.Now()))
	srv := worker.NewServer(worker.Options{Logger: slog.New(slog.DiscardHandler)})
	s.server = srv
	shop := config.DefaultPool("shop")
	for range 2 { // the second time it is there already
		got, err := s.socketDir(shop, nil)
		if err != nil || got != s.poolDir(shop) {
			t.Fatal(got, err)
		}
	}
	for path, want := range map[string]os.FileMode{s.poolDir(shop): 0o700, filepath.Dir(s.poolDir(shop)): 0o711, filepath.Join(s.poolDir(shop), hostSocket): 0o600} {
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %o", path, st.Mode(), err, want)
		}
	}
	if s.poolDir(shop) == s.poolDir(config.DefaultPool("shop2")) {
		t.Error("two pools in one folder")
	}
	for range 2 {
		if err := s.close("shop"); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(s.poolDir(shop)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
}
