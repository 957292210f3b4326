package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hc1-toolkit/hc1/internal/doctor"
	"github.com/hc1-toolkit/hc1/internal/output"
)

var (
	errSick      = errors.New("something is wrong")
	errUnchecked = errors.New("something could not be checked")
)

func (a *app) doctorCommand() *cobra.Command {
	var root string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps a card from working, with the fix",
		Long: `Looks at the machine and at each card: IOMMU, driver, kernel interface, locked
memory, huge pages; group, link, BARs and permissions of each card. What is
wrong comes with its fix. Exit code: 0 good, 1 something is bad, 2 something
could not be checked. Nothing is changed.`,
		Example: "  hc1ctl doctor\n  hc1ctl doctor -o json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			l := doctor.Limits{Root: os.Geteuid() == 0}
			var r unix.Rlimit
			if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r) == nil {
				l.MemLock = r.Cur
			}
			if l.Root {
				l.MemLock = ^uint64(0) // root may lock what it likes (CAP_IPC_LOCK)
			}
			v := doctorView{Schema: "hc1.doctor/1", Verdict: doctor.Good, Findings: doctor.Examine(root, l)}
			for _, f := range v.Findings {
				if f.Verdict == doctor.Bad || f.Verdict == doctor.Unknown && v.Verdict == doctor.Good {
					v.Verdict = f.Verdict
				}
			}
			if err := a.printer().Print(v); err != nil {
				return err
			}
			switch v.Verdict {
			case doctor.Bad:
				return tag(errReported, tag(errSick, errors.New("see the findings that are bad")))
			case doctor.Unknown:
				return tag(errReported, tag(errUnchecked, errors.New("see the findings that are unknown")))
			}
			return nil
		},
	}
	c.Flags().StringVar(&root, "sysfs", "/", "root of the file system that has sysfs")
	if err := c.Flags().MarkHidden("sysfs"); err != nil {
		panic(err)
	}
	return c
}

type doctorView struct {
	Schema   string           `json:"schema"`
	Verdict  doctor.Verdict   `json:"verdict"`
	Findings []doctor.Finding `json:"findings"`
}

func (v doctorView) Table(t *output.Rows) {
	last := ""
	for _, f := range v.Findings {
		if f.Card != nil && *f.Card != last {
			t.Line("")
			t.Line("%s", *f.Card)
			last = *f.Card
		}
		for i, line := range output.Wrap(f.Found, 52) {
			if i == 0 {
				t.Line("%-8s%-20s%s", f.Verdict, f.Check, line)
			} else {
				t.Line("%28s%s", "", line)
			}
		}
		if f.Fix != nil {
			for i, line := range output.Wrap(*f.Fix, 50) {
				lead := "  "
				if i == 0 {
					lead = "> "
				}
				t.Line("%28s%s%s", "", lead, line)
			}
		}
	}
	t.Line("")
	t.Line("in all: %s", fmt.Sprint(v.Verdict))
}
