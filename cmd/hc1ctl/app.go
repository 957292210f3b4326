package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/output"
)

// app is what every command shares: streams, global flags, the printer.
type app struct {
	in       io.Reader
	out, err io.Writer

	card    string
	format  string
	timeout time.Duration
	verbose bool
}

// envCard names a card for commands that were given none.
const envCard = "HC1_CARD"

// run is the program but for its process: it returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	a := &app{in: in, out: out, err: errw}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && wantsJSON(args) {
		a.format = string(output.JSON) // flags may not have been parsed
	}
	return a.report(cmd, err)
}

// wantsJSON looks for the output format in a command line that may be wrong.
func wantsJSON(args []string) bool {
	for i, s := range args {
		switch s {
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			return i+1 < len(args) && args[i+1] == string(output.JSON)
		}
	}
	return false
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "hc1ctl",
		Short: "Operate hc1 inference cards",
		Long: `hc1ctl operates model-hardwired inference cards: it lists and shows them, runs
prompts, measures, and explains errors. Without a card in the machine, the
emulated one does: --card mock:`,
		Example: `  hc1ctl run --card mock: "Tell me a story about a fox"
  hc1ctl device show --card mock: -o json
  HC1_CARD=mock: hc1ctl run -i`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	f := root.PersistentFlags()
	f.StringVar(&a.card, "card", os.Getenv(envCard),
		"card address: mock:, vfio-user:PATH, PCI address\nor serial number (env "+envCard+")")
	f.StringVarP(&a.format, "output", "o", string(output.Table), "output format: table or json")
	f.DurationVar(&a.timeout, "timeout", 0, "give up after this long (0: the card's own bounds)")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log what the driver does to standard error")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if a.format != string(output.Table) && a.format != string(output.JSON) {
			return usagef("output format %q: use table or json", a.format)
		}
		if a.timeout > 0 {
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), a.timeout,
				fmt.Errorf("%w after %v (--timeout)", driver.ErrTimeout, a.timeout))
			cobra.OnFinalize(cancel)
			cmd.SetContext(ctx)
		}
		return nil
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	root.AddCommand(a.device(), a.run(), a.benchCommand(), a.demoCommand(), a.model(), a.tokenize(), a.detokenize(),
		a.reg(), a.logs(), a.traces(), a.errors(), a.version())
	for _, c := range root.Commands() {
		if c.HasSubCommands() && c.RunE == nil {
			c.Args = cobra.NoArgs
		}
	}
	return root
}

func (a *app) printer() output.Printer {
	return output.Printer{W: a.out, Format: output.Format(a.format)}
}

func (a *app) logger() *slog.Logger {
	if !a.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// attached is a card that is up, with its vocabulary.
type attached struct {
	*driver.Card
	via *attach.Card
}

// open brings up the card that was named. close must be called.
func (a *app) open(ctx context.Context) (*attached, error) {
	if a.card == "" {
		return nil, fmt.Errorf("no card was named: %w", errNoCard)
	}
	addr, err := address.Parse(a.card)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return a.openAt(ctx, addr, 0)
}

func (a *app) openAt(ctx context.Context, addr address.Address, index int) (*attached, error) {
	via, err := attach.Open(addr, index)
	if err != nil {
		return nil, err
	}
	return a.up(ctx, via)
}

// emulatedSlack stretches the driver's bounds for silicon that is computed:
// a large model takes seconds per token where the real one takes 59 µs.
const emulatedSlack = 60

func (a *app) up(ctx context.Context, via *attach.Card) (*attached, error) {
	cfg := driver.Config{Log: a.logger(), Clock: via.Clock}
	if via.Mock != nil && via.Address.Script == "" && via.Address.Model != "" {
		cfg.Slack = emulatedSlack
	}
	c, err := driver.Open(ctx, via.Function, cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", via.Address, err)
	}
	return &attached{Card: c, via: via}, nil
}

// close gives the card back. What went wrong before counts more.
func (c *attached) close(err *error) {
	// The command's context may have ended: closing has bounds of its own.
	if cerr := c.Card.Close(context.Background()); cerr != nil && *err == nil {
		*err = fmt.Errorf("close card: %w", cerr)
	}
}
