package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/internal/catalog"
	"github.com/hc1-toolkit/hc1/internal/output"
)

func (a *app) errors() *cobra.Command {
	c := &cobra.Command{Use: "error", Short: "The catalogue of errors"}
	c.AddCommand(&cobra.Command{
		Use:     "list",
		Short:   "List every error",
		Long:    "Lists every error there is: code, name, how bad it is, and whose matter.",
		Example: "  hc1ctl error list\n  hc1ctl error list -o json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := errorList{Schema: "hc1.error.list/1"}
			for _, e := range catalog.Entries {
				v.Errors = append(v.Errors, explain(e, ""))
			}
			return a.printer().Print(v)
		},
	}, &cobra.Command{
		Use:   "explain CODE",
		Short: "Say what an error means and what to do",
		Long: `Says what an error means and what to do about it. CODE is a code or a name, as
printed by any command or listed by "hc1ctl error list".`,
		Example: "  hc1ctl error explain SESSION_BUSY\n  hc1ctl error explain HCI-7-02",
		Args:    oneArg("CODE"),
		RunE: func(_ *cobra.Command, args []string) error {
			e, ok := catalog.Find(args[0])
			if !ok {
				return fmt.Errorf("%q: %w", args[0], errNoName)
			}
			return a.printer().Print(explain(e, "hc1.error.explain/1"))
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, e := range catalog.Entries {
				names = append(names, e.Name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	})
	return c
}

type errorList struct {
	Schema string     `json:"schema"`
	Errors []errorOne `json:"errors"`
}

func (l errorList) Table(t *output.Rows) {
	t.Row("CODE", "NAME", "SEVERITY", "CATEGORY")
	for _, e := range l.Errors {
		t.Row(e.Code, e.Name, e.Severity, e.Category)
	}
}

type errorOne struct {
	Schema   string `json:"schema,omitempty"`
	Code     string `json:"code"`
	Name     string `json:"name"`
	Severity string `json:"severity"`
	Category string `json:"category"`
	What     string `json:"what"`
	Do       string `json:"do"`
}

func explain(e catalog.Entry, schema string) errorOne {
	return errorOne{schema, e.Code, e.Name, string(e.Severity), string(e.Category), e.What, e.Do}
}

func (e errorOne) Table(t *output.Rows) {
	t.Line("%s  %s  (%s, %s)", e.Code, e.Name, e.Severity, e.Category)
	t.Line("")
	t.Text(e.What)
	t.Line("")
	t.Text("What to do: " + strings.TrimSpace(e.Do))
}
