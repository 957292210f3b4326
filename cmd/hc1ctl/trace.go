package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/card/trace"
	"github.com/hc1-toolkit/hc1/internal/output"
)

func (a *app) traces() *cobra.Command {
	c := &cobra.Command{Use: "trace", Short: "Traces of an emulated card"}
	var kinds []string
	var diff string
	var untimed bool
	show := &cobra.Command{
		Use:   "show FILE",
		Short: "Show a trace, or compare two",
		Long: `Shows what passed between a card and its host: registers, DMA and interrupts, as
written by an emulated card with trace=FILE in its address. Payloads are hashes.
With --diff two traces are compared, times left out, and the first difference
is shown; the exit code is then 1. --untimed keeps what does not depend on
timing: register accesses (of reads that poll, the last), commands and resets,
and token records. That is the same on every face of a card.`,
		Example: `  hc1ctl run --card 'mock:?clock=virtual&trace=t.txt' --greedy hello
  hc1ctl trace show t.txt --kind MW,IRQ
  hc1ctl trace show t.txt --diff other.txt
  hc1ctl trace show in-process.txt --diff over-socket.txt --untimed`,
		Args: oneArg("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			for i, k := range kinds {
				if kinds[i] = strings.ToUpper(k); !slices.Contains(traceKinds(), kinds[i]) {
					return usagef("--kind %q: use %s", k, strings.Join(traceKinds(), ", "))
				}
			}
			load := func(path string) (*trace.Trace, error) {
				t, err := readTrace(path)
				if err == nil && untimed {
					t.Entries = trace.Untimed(t.Entries)
				}
				return t, err
			}
			t, err := load(args[0])
			if err != nil {
				return err
			}
			keep := func(e trace.Entry) bool { return len(kinds) == 0 || slices.Contains(kinds, e.Kind.String()) }
			if diff == "" {
				v := traceView{Schema: "hc1.trace.show/1", Seed: t.Seed, Entries: []string{}}
				for _, e := range t.Entries {
					if keep(e) {
						v.Entries = append(v.Entries, e.String())
					}
				}
				return a.printer().Print(v)
			}
			o, err := load(diff)
			if err != nil {
				return err
			}
			d := compare(t, o, keep)
			if err := a.printer().Print(d); err != nil || d.Same {
				return err
			}
			return tag(errReported, tag(errDiffer, fmt.Errorf("%s, %s: %w", args[0], diff, errDiffer)))
		},
	}
	show.Flags().StringSliceVar(&kinds, "kind", nil, "only these kinds: "+strings.Join(traceKinds(), " "))
	show.Flags().StringVar(&diff, "diff", "", "compare with this trace")
	show.Flags().BoolVar(&untimed, "untimed", false, "only what does not depend on timing")
	c.AddCommand(show)
	return c
}

// traceKinds are the kinds of entries.
func traceKinds() (names []string) {
	for k := trace.ConfigRead; k <= trace.Note; k++ {
		names = append(names, k.String())
	}
	return names
}

func readTrace(path string) (*trace.Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := trace.ReadTrace(f)
	if err != nil {
		return nil, tag(attach.ErrBadInput, fmt.Errorf("%s: %w", path, err))
	}
	return t, nil
}

type traceView struct {
	Schema  string   `json:"schema"`
	Seed    uint64   `json:"seed"`
	Entries []string `json:"entries"`
}

func (v traceView) Table(t *output.Rows) {
	for _, e := range v.Entries {
		t.Line("%s", e)
	}
}

type traceDiff struct {
	Schema string  `json:"schema"`
	Same   bool    `json:"same"`
	Count  int     `json:"entries_compared"`
	At     *int    `json:"first_difference"`
	Left   *string `json:"left"`
	Right  *string `json:"right"`
}

// compare finds the first entry that differs in anything but its time.
func compare(a, b *trace.Trace, keep func(trace.Entry) bool) traceDiff {
	strip := func(t *trace.Trace) []string {
		var out []string
		for _, e := range t.Entries {
			if keep(e) {
				_, s, _ := strings.Cut(e.String(), " ")
				out = append(out, s)
			}
		}
		return out
	}
	l, r := strip(a), strip(b)
	v := traceDiff{Schema: "hc1.trace.diff/1", Same: true}
	for v.Count < max(len(l), len(r)) {
		at := func(s []string) *string {
			if v.Count < len(s) {
				return &s[v.Count]
			}
			return nil
		}
		v.Left, v.Right = at(l), at(r)
		if v.Left == nil || v.Right == nil || *v.Left != *v.Right {
			v.Same = false
			n := v.Count
			v.At = &n
			return v
		}
		v.Count++
	}
	v.Left, v.Right = nil, nil
	return v
}

func (v traceDiff) Table(t *output.Rows) {
	if v.Same {
		t.Line("same: %d entries, times left out", v.Count)
		return
	}
	t.Line("entry %d is the first that differs:", *v.At)
	t.Line("< %s", orMissing(v.Left))
	t.Line("> %s", orMissing(v.Right))
}
