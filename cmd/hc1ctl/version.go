package main

import (
	"fmt"
	"runtime"

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
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.printer().Print(versions{"hc1.version/1", version,
				fmt.Sprintf("%d.%d", hci.VersionMajor, hci.VersionMinor), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH})
		},
	}
}

type versions struct {
	Schema   string `json:"schema"`
	Version  string `json:"version"`
	HCI      string `json:"hci"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (v versions) Table(t *output.Rows) {
	t.Row("hc1ctl", v.Version)
	t.Row("HCI", v.HCI)
	t.Row("Go", v.Go+" "+v.Platform)
}
