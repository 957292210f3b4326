package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/output"
)

// version is set by the linker from the tree's description.
var version = "unknown"

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print versions",
		Long:    "Prints the version of this program, of the host-card interface that it speaks,\nand of Go.",
		Example: "  hc1ctl version",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versions{Schema: "hc1.version/1", Version: version, HCI: fmt.Sprintf("%d.%d", hci.VersionMajor, hci.VersionMinor),
				Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					switch s.Key {
					case "vcs.revision":
						v.Revision = &s.Value
					case "vcs.time":
						v.Time = &s.Value
					case "vcs.modified":
						dirty := s.Value == "true"
						v.Modified = &dirty
					}
				}
			}
			return a.printer().Print(v)
		},
	}
}

type versions struct {
	Schema   string  `json:"schema"`
	Version  string  `json:"version"`
	Revision *string `json:"revision"`
	Time     *string `json:"revision_time"`
	Modified *bool   `json:"modified"`
	HCI      string  `json:"hci"`
	Go       string  `json:"go"`
	Platform string  `json:"platform"`
}

func (v versions) Table(t *output.Rows) {
	t.Row("hc1ctl", v.Version)
	rev := orMissing(v.Revision)
	if v.Modified != nil && *v.Modified {
		rev += ", modified"
	}
	t.Row("revision", rev)
	t.Row("HCI", v.HCI)
	t.Row("Go", v.Go+" "+v.Platform)
}
