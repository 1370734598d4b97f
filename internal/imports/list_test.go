package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// module is the path of the module, and root its folder as seen from here.
const (
	module = "aerie"
	root   = "../.."
)

// systems are those that files are chosen for.
func systems() []string { return []string{"linux", "darwin", "windows"} }

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Module       *struct{ Path string }
}

// name is the package's path in its module; of the module's root package, the
// module's.
func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// list runs go list in the module's root, for one system.
func list(t *testing.T, system string, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports,Module"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var packages []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// way is a shortest chain of imports from the last of packages to path.
// `go list -deps` lists a package after all that it imports.
func way(packages []pkg, path string) string {
	imports := map[string][]string{}
	for _, p := range packages {
		imports[p.ImportPath] = p.Imports
	}
	start := packages[len(packages)-1].ImportPath
	from := map[string]string{start: ""}
	for queue := []string{start}; len(queue) > 0; queue = queue[1:] {
		for _, next := range imports[queue[0]] {
			if _, known := from[next]; !known {
				from[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	var chain []string
	for p := path; p != ""; p = from[p] {
		chain = append(chain, p)
	}
	slices.Reverse(chain)
	return strings.Join(chain, " -> ")
}
