package imports

import (
	"maps"
	"slices"
	"testing"
)

// appModules are the modules of others that come with package app, so into the
// go.sum of everybody who writes an application. It is to stay as short as it
// is.
func appModules() map[string]string {
	return map[string]string{
		"github.com/BurntSushi/toml":                "package config reads sites.toml with it; the worker needs config's types",
		"github.com/hashicorp/go-plugin":            "the control channel of in-process workers",
		"github.com/hashicorp/go-hclog":             "go-plugin's",
		"github.com/hashicorp/yamux":                "go-plugin's",
		"github.com/oklog/run":                      "go-plugin's",
		"github.com/golang/protobuf":                "go-plugin's",
		"github.com/fatih/color":                    "go-hclog's",
		"github.com/mattn/go-colorable":             "go-hclog's",
		"github.com/mattn/go-isatty":                "go-hclog's",
		"google.golang.org/grpc":                    "go-plugin's, and the control service's generated code",
		"google.golang.org/protobuf":                "the control service's generated code",
		"google.golang.org/genproto/googleapis/rpc": "grpc's",
		"golang.org/x/net":                          "grpc's",
		"golang.org/x/text":                         "grpc's",
		"golang.org/x/sys":                          "descriptors passed between processes",
	}
}

func TestAppModules(t *testing.T) {
	want, got := appModules(), map[string]bool{}
	for _, system := range systems() {
		packages := list(t, system, "-deps", "./app")
		for _, p := range packages {
			if p.Module == nil || p.Module.Path == module || got[p.Module.Path] {
				continue
			}
			got[p.Module.Path] = true
			if want[p.Module.Path] == "" {
				t.Errorf("package app now needs %s (on %s): %s", p.Module.Path, system, way(packages, p.ImportPath))
			}
		}
	}
	t.Logf("package app needs %d modules: %v", len(got), slices.Sorted(maps.Keys(got)))
	for path := range want {
		if !got[path] {
			t.Errorf("package app no longer needs %s: take it off the list", path)
		}
	}
}
