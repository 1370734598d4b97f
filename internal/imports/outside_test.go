//go:build unix

package imports

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// An application in a module of its own, as the README shows it.
const (
	outsideMod = "module example.org/outside\n\ngo 1.26.0\n\nrequire aerie v0.0.0\n\nreplace aerie => %s\n"

	outsideMain = `package main

import (
	"fmt"
	"log"
	"net/http"

	"aerie/app"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "outside, base %q", app.PathBase(r)) })
	if err := app.Run(http.DefaultServeMux); err != nil {
		log.Fatal(err)
	}
}
`
)

// TestAppOutside builds an application in another module and runs it alone.
func TestAppOutside(t *testing.T) {
	dir := t.TempDir()
	source, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(source, "go.sum")) // what `go mod tidy` would fetch
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod": fmt.Sprintf(outsideMod, source), "go.sum": string(sums), "main.go": outsideMain,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", "outside")
	build.Dir, build.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	url := start(t, exec.Command(filepath.Join(dir, "outside")))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true // nothing is left open for SIGTERM to wait for
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := `outside, base ""`; err != nil || resp.StatusCode != http.StatusOK || string(body) != want {
		t.Errorf("%s: %d %q %v, want 200 %q", url, resp.StatusCode, body, err, want)
	}
}

// start runs an application on any port and returns its URL. At the end of the
// test SIGTERM must end it with exit code 0.
func start(t *testing.T, cmd *exec.Cmd) (url string) {
	t.Helper()
	cmd.Env = append(os.Environ(), "PORT=0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stderr)
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(t.Output(), lines) // to the end of the application
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
	})
	first, err := lines.ReadString('\n')
	_, addr, ok := strings.Cut(strings.TrimSpace(first), "serving on http://")
	if err != nil || !ok {
		t.Fatalf("it printed %q, %v", first, err)
	}
	return "http://" + strings.Replace(addr, "[::]", "127.0.0.1", 1)
}
