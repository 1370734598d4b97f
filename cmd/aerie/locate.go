package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"

	"aerie/admin"
	"aerie/config"
)

// client returns a client of the host that runs the named sites.toml, which
// it also returns as an absolute path. The file need not be valid: a running
// host can be asked and stopped while its sites.toml is being repaired.
func (c *cli) client() (client *admin.Client, file string, err error) {
	file, err = filepath.Abs(c.config)
	if err != nil {
		return nil, "", err
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("there is no %s: go to its folder, or name it with -c FILE", c.config)
	}
	if err != nil {
		return nil, "", err
	}
	socket, err := socketOf(filepath.Dir(file), string(text))
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w (where the host listens cannot be read)", c.config, err)
	}
	return admin.NewClient(shorten(socket)), file, nil
}

// socketOf reads from a sites.toml in dir where the host listens. It looks at
// two keys only, by the rules that config.Load has for them.
func socketOf(dir, text string) (string, error) {
	var sites struct {
		Host struct {
			RunDir string `toml:"run_dir"`
			Admin  string `toml:"admin"`
		} `toml:"host"`
	}
	sites.Host.RunDir = config.DefaultHost().RunDir
	if _, err := toml.Decode(text, &sites); err != nil {
		return "", err
	}
	path, ok := strings.CutPrefix(sites.Host.Admin, "unix:")
	if !ok {
		path = filepath.Join(sites.Host.RunDir, "admin.sock")
	}
	if path = filepath.FromSlash(path); filepath.IsAbs(path) {
		return path, nil
	}
	return filepath.Join(dir, path), nil
}

// shorten returns path as seen from the working directory if it lies below:
// it reads better, and a socket's path must be short.
func shorten(path string) string {
	dir, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// sameFile says whether two paths name one file.
func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
