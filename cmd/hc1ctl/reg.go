package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/output"
)

func (a *app) reg() *cobra.Command {
	c := &cobra.Command{Use: "reg", Short: "Registers of a card"}
	c.AddCommand(&cobra.Command{
		Use:     "dump",
		Short:   "Print every register with its fields",
		Long:    "Brings the card up, reads every register of BAR0 (docs/hci.md section 3), and\nprints them with their fields.",
		Example: "  hc1ctl reg dump --card mock:\n  hc1ctl reg dump --card mock: -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.dump(cmd.Context())
			if err != nil {
				return err
			}
			return a.printer().Print(v)
		},
	})
	return c
}

type regDump struct {
	Schema    string     `json:"schema"`
	Registers []regValue `json:"registers"`
}

type regValue struct {
	Offset  string            `json:"offset"`
	Name    string            `json:"name"`
	Value   string            `json:"value"`
	Meaning string            `json:"meaning"`
	Fields  map[string]uint64 `json:"fields"`
	order   []string
}

func (a *app) dump(ctx context.Context) (v regDump, err error) {
	c, err := a.open(ctx)
	if err != nil {
		return v, err
	}
	defer c.close(&err)
	v.Schema = "hc1.reg.dump/1"
	for i, x := range c.Registers() {
		r := hci.Registers[i]
		rv := regValue{Offset: fmt.Sprintf("0x%04x", r.Offset), Name: r.Name, Meaning: r.Meaning,
			Value: fmt.Sprintf("0x%0*x", r.Bits/4, x), Fields: map[string]uint64{}}
		for _, f := range hci.RegisterFields {
			if f.Register == r.Name {
				rv.Fields[f.Name] = f.Bits.Get(x)
				rv.order = append(rv.order, f.Name)
			}
		}
		v.Registers = append(v.Registers, rv)
	}
	return v, nil
}

func (v regDump) Table(t *output.Rows) {
	for _, r := range v.Registers {
		t.Row(r.Offset, r.Name, r.Value)
	}
	t.Line("")
	for _, r := range v.Registers {
		var fs []string
		for _, f := range r.order {
			fs = append(fs, fmt.Sprintf("%s=%d", f, r.Fields[f]))
		}
		if fs != nil {
			t.Row(r.Name, strings.Join(fs, " "))
		}
	}
}
