package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker: -X main.version=v1.2.3.
var version string

// build says what this binary was made of.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"` // "" if the build did not see the repository
	Modified bool   `json:"modified"` // the sources differed from the revision
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

// thisBuild describes this binary.
func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if b.Version == "" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	return b
}

// String is the description in one line.
func (b build) String() string {
	s := "aerie " + b.Version
	if b.Revision != "" {
		s += " (" + b.Revision
		if b.Modified {
			s += ", modified"
		}
		s += ")"
	}
	return fmt.Sprintf("%s %s %s/%s", s, b.Go, b.OS, b.Arch)
}

func (c *cli) versionVerb() *cobra.Command {
	return c.jsonFlag(&cobra.Command{
		Use:   "version",
		Short: "Print which version this is and how it was built",
		Long:  "Print which version this is and how it was built.",
		Example: `  aerie version
  aerie version --json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if c.json {
				return c.printJSON(thisBuild())
			}
			return c.print(thisBuild().String() + "\n")
		},
	})
}
