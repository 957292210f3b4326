package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/internal/output"
	"github.com/hc1-toolkit/hc1/internal/pci"
	"github.com/hc1-toolkit/hc1/vfio"
)

// bindBound is how long the kernel may take to move a function: unbinding one
// that a process has waits until that lets go.
const bindBound = 15 * time.Second

var (
	errNotCard   = errors.New("not an hc1 card")
	errUnviable  = errors.New("its IOMMU group is shared")
	errNoIOMMU   = errors.New("it has no IOMMU group")
	errAskFirst  = errors.New("not confirmed")
	errStillHeld = errors.New("a process has it")
)

// bindCommands are bind and unbind.
func (a *app) bindCommands() []*cobra.Command {
	var dry, yes bool
	var root string
	flags := func(c *cobra.Command) *cobra.Command {
		c.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and do nothing")
		c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
		c.Flags().StringVar(&root, "sysfs", "/", "root of the file system that has sysfs")
		if err := c.Flags().MarkHidden("sysfs"); err != nil {
			panic(err)
		}
		return c
	}
	bind := flags(&cobra.Command{
		Use:   "bind BDF|SERIAL",
		Short: "Give a card to vfio-pci, which lends it to us",
		Long: `Gives one card, named by PCI address or serial number, to the kernel's driver
vfio-pci, which lends it to programs: by driver_override, so that no other
function with the same ids is touched. Every step is one write to sysfs; it is
verified afterwards. Needs root. See "hc1ctl doctor" for what else it takes.`,
		Example: "  hc1ctl bind 0000:01:00.0 --dry-run\n  hc1ctl bind HC1-0000000000000001 -y",
		Args:    oneArg("BDF or serial number"),
		RunE: func(_ *cobra.Command, args []string) error {
			t, f, err := findFunction(root, args[0])
			if err != nil {
				return err
			}
			if err := bindable(t, f); err != nil {
				return err
			}
			v := bindView{Schema: "hc1.bind/1", Card: f.BDF, Was: f.Driver, DryRun: dry, Steps: t.PlanBind(f)}
			return a.move(&v, yes, "bind "+f.BDF+" to vfio-pci?", func(done func(pci.Step)) error {
				defer func() { v.Node = t.DevNode(f) }()
				if err := t.Bind(f, bindBound, done); err != nil {
					return err
				}
				f, err = t.Get(f.BDF)
				v.Driver = f.Driver
				return err
			})
		},
	})
	unbind := flags(&cobra.Command{
		Use:   "unbind BDF|SERIAL",
		Short: "Take a card back from vfio-pci",
		Long: `Takes a card from vfio-pci, clears its driver_override, and has the kernel look
for its own driver. A program that has the card is named, and nothing is done.
Needs root.`,
		Example: "  hc1ctl unbind 0000:01:00.0 --dry-run\n  hc1ctl unbind 0000:01:00.0 -y",
		Args:    oneArg("BDF or serial number"),
		RunE: func(_ *cobra.Command, args []string) error {
			t, f, err := findFunction(root, args[0])
			if err != nil {
				return err
			}
			if f.Driver == pci.VFIO {
				if who := vfio.HoldersOf(t.DevNode(f)); len(who) > 0 {
					return tag(errStillHeld, fmt.Errorf("%s is held by %s", f.BDF, strings.Join(who, ", ")))
				}
			}
			v := bindView{Schema: "hc1.bind/1", Card: f.BDF, Was: f.Driver, DryRun: dry, Steps: t.PlanUnbind(f)}
			return a.move(&v, yes, "take "+f.BDF+" from "+orDash(f.Driver)+"?", func(done func(pci.Step)) error {
				if err := t.Unbind(f, bindBound, done); err != nil {
					return err
				}
				f, err = t.Get(f.BDF)
				v.Driver = f.Driver
				return err
			})
		},
	})
	return []*cobra.Command{bind, unbind}
}

func findFunction(root, name string) (pci.Tree, pci.Function, error) {
	t := pci.Tree(root)
	if !strings.HasPrefix(strings.ToUpper(name), "HC1-") {
		name = strings.ToLower(name)
		if strings.Count(name, ":") == 1 {
			name = "0000:" + name
		}
	} else {
		name = strings.ToUpper(name)
	}
	f, err := t.Find(name)
	return t, f, err
}

// bindable says what stands in the way of lending a function.
func bindable(t pci.Tree, f pci.Function) error {
	if !f.IsCard() {
		return tag(errNotCard, fmt.Errorf("%s has class %#06x and ids %04x:%04x: not an hc1 card", f.BDF, f.Class, f.Vendor, f.Device))
	}
	if f.Group < 0 {
		return tag(errNoIOMMU, fmt.Errorf("%s has no IOMMU group: turn the IOMMU on (intel_iommu=on or amd_iommu=on, and in the firmware)", f.BDF))
	}
	with, err := t.Companions(f)
	if err != nil {
		return err
	}
	var bad []string
	for _, c := range with {
		if c.Driver != "" && c.Driver != pci.VFIO && c.Driver != "pcieport" {
			bad = append(bad, c.BDF+" is on "+c.Driver)
		}
	}
	if bad != nil {
		return tag(errUnviable, fmt.Errorf("%s shares IOMMU group %d: %s; unbind those too, or use a slot with ACS", f.BDF, f.Group, strings.Join(bad, ", ")))
	}
	return nil
}

// move carries a plan out, or only tells it.
func (a *app) move(v *bindView, yes bool, question string, do func(func(pci.Step)) error) error {
	v.Driver = v.Was
	if len(v.Steps) == 0 || v.DryRun {
		return a.printer().Print(v)
	}
	if !yes {
		ok, err := a.confirm(question)
		if err != nil || !ok {
			return tag(errAskFirst, errors.Join(err, errors.New("nothing was done: say y, or use -y")))
		}
	}
	if err := do(func(s pci.Step) { fmt.Fprintf(a.err, "%s: %s\n", s.Path, s.Why) }); err != nil {
		return err
	}
	v.Done = true
	return a.printer().Print(v)
}

// confirm asks a person.
func (a *app) confirm(question string) (bool, error) {
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	var b [16]byte
	n, err := a.in.Read(b[:])
	if n == 0 && err != nil {
		return false, fmt.Errorf("no answer: %w", err)
	}
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(string(b[:n]))), "y"), nil
}

func orDash(s string) string {
	if s == "" {
		return "no driver"
	}
	return s
}

// bindView is the result of bind and unbind.
type bindView struct {
	Schema string     `json:"schema"`
	Card   string     `json:"card"`
	Was    string     `json:"driver_before"`
	Driver string     `json:"driver"`
	Node   string     `json:"node"`
	DryRun bool       `json:"dry_run"`
	Done   bool       `json:"done"`
	Steps  []pci.Step `json:"steps"`
}

func (v bindView) Table(t *output.Rows) {
	switch {
	case len(v.Steps) == 0:
		t.Line("%s is with %s already: nothing to do", v.Card, orDash(v.Driver))
		return
	case v.DryRun:
		t.Line("%s is with %s; this would be written:", v.Card, orDash(v.Was))
	default:
		t.Line("%s was with %s and is with %s now (verified)", v.Card, orDash(v.Was), orDash(v.Driver))
	}
	t.Line("")
	for _, s := range v.Steps {
		t.Line("%-13s > %s", strings.TrimSpace(s.Value), s.Path)
		t.Line("    %s", s.Why)
	}
	if v.Node != "" {
		t.Line("")
		t.Line("programs reach it as %s", v.Node)
	}
}
