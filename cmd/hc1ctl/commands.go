package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/output"
)

// noArgs, oneArg and maxOneArg say what a command takes, in its own words.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("takes no argument, not %q", args[0])
	}
	return nil
}

func oneArg(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("takes one %s, not %d arguments", name, len(args))
		}
		return nil
	}
}

func maxOneArg(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("takes one %s, not %d arguments: quotes keep words together", name, len(args))
		}
		return nil
	}
}

// finish makes all groups of commands alike: without a verb they print their
// help, and they refuse a verb that is none.
func finish(root *cobra.Command) {
	root.InitDefaultCompletionCmd("bash") // with any argument: cobra adds it once there are others
	for _, c := range append(root.Commands(), root) {
		if c.Name() == "completion" {
			for _, shell := range c.Commands() {
				shell.Example = fmt.Sprintf("  hc1ctl completion %s", shell.Name())
			}
		}
		if !c.HasSubCommands() || c.RunE != nil {
			continue
		}
		c.Args, c.DisableFlagsInUseLine = cobra.ArbitraryArgs, true
		if c.Example == "" { // the first of each verb
			var first []string
			for _, verb := range c.Commands() {
				line, _, _ := strings.Cut(verb.Example, "\n")
				first = append(first, line)
			}
			c.Example = strings.Join(first, "\n")
		}
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			err := fmt.Errorf("unknown command %q", args[0])
			cmd.SuggestionsMinimumDistance = 2
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				err = fmt.Errorf("%w: did you mean %s?", err, strings.Join(near, " or "))
			}
			return usagef("%w", err)
		}
	}
}

// addressTopic is help on card addresses and fault plans.
func addressTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString(`A card address names a card, in --card or in HC1_CARD:

  mock:                  the emulated card, in this process
  vfio-user:PATH         a card behind a vfio-user socket
  0000:01:00.0           a card by its PCI address
  HC1-0000000000000001   a card by its serial number

After the last two ?iommu=iommufd or ?iommu=type1 forces a way to the kernel's
IOMMU. A card in a slot has to be bound first: hc1ctl bind.

Options of mock: follow a '?' and are separated by '&' (quote it for the shell):

  clock=realtime         a token takes its nominal 58.96 µs (the default)
  clock=fast             a token takes what it takes
  clock=virtual          time is counted: runs repeat to the byte
  seed=N                 of the fault plan's dice; also picks the serial number
  model=FILE             a GGUF file of a Llama to compute
  model=script:FILE      text to replay at no cost of computing
  cards=N                N cards
  trace=FILE             write what passes between card and host (with cards=,
                         to FILE.0, FILE.1, ...)
  fault=RULE[;RULE...]   a fault plan

A RULE is NAME[@EVENT[#N]][%P][,KEY=VALUE...]: the fault happens at the Nth
EVENT, with probability P at each, or else at each one. Without @EVENT its own
event below counts; one with * takes any. Faults, with their keys:

`)
	for _, k := range card.FaultKinds {
		name, on := k.Name, strings.Replace(k.On, ", or any", "*", 1)
		if k.Keys != "" {
			name += "," + k.Keys
		}
		if on == "" {
			on = output.Missing
		}
		for i, line := range output.Wrap(k.Meaning, 48) {
			if i > 0 {
				name, on = "", ""
			}
			fmt.Fprintf(&b, "  %-21s%-8s%s\n", name, on, line)
		}
	}
	return &cobra.Command{
		Use:     "address",
		Short:   "About card addresses and fault plans",
		Long:    b.String(),
		Example: "  hc1ctl run --card 'mock:?clock=fast&model=llama.gguf' \"Hello\"\n  hc1ctl run --card 'mock:?fault=all-ones@token#20' \"Hello\"",
	}
}
