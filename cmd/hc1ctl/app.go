package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
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
	signals  <-chan os.Signal // nil: none come

	card    string
	vocab   string // GGUF file with the vocabulary of the card's model
	format  string
	timeout time.Duration
	verbose bool

	doing  string                  // the command, for messages
	told   bool                    // the error has been printed
	done   []func()                // run when the command has ended
	cancel context.CancelCauseFunc // ends the command's context; nil before there is one
}

// What a command takes from the environment where no flag says otherwise.
const (
	envCard  = "HC1_CARD"
	envVocab = "HC1_VOCAB"
)

// execute is the program but for its process: it returns the exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	for _, f := range a.done {
		f()
	}
	if err != nil && wantsJSON(args) {
		a.format = string(output.JSON) // flags may not have been parsed
	}
	return a.report(cmd, err)
}

// interactive is the flag of commands that then take signals and --timeout
// as they see fit.
const interactive = "interactive"

// bound gives a command's context its ends: --timeout, and the first signal.
// A second signal kills.
func (a *app) bound(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	a.cancel = cancel
	go func() {
		select {
		case <-a.signals:
			signal.Reset(os.Interrupt, syscall.SIGTERM)
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	bounded, stop := a.deadline(ctx)
	a.done = append(a.done, stop, func() { cancel(nil) })
	return bounded
}

// deadline applies --timeout.
func (a *app) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, a.timeout, fmt.Errorf("%w (%v)", errDeadline, a.timeout))
}

// ended is err, or why ctx ended if it did: the reason behind a cancelled
// stream says more than that it was cancelled.
func ended(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, driver.ErrCardLost) {
		return err
	}
	return context.Cause(ctx)
}

// readAll reads standard input, at most max bytes, until ctx ends.
func (a *app) readAll(ctx context.Context, what string, max int64) ([]byte, error) {
	type result struct {
		b   []byte
		err error
	}
	ch := make(chan result, 1)
	go func() {
		b, err := io.ReadAll(io.LimitReader(a.in, max+1))
		ch <- result{b, err}
	}()
	select {
	case r := <-ch:
		if r.err != nil {
			return nil, fmt.Errorf("read %s: %w", what, r.err)
		}
		if int64(len(r.b)) > max {
			return nil, fmt.Errorf("%s is longer than %d bytes: %w", what, max, attach.ErrBadInput)
		}
		return r.b, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("read %s: %w", what, context.Cause(ctx))
	}
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
	f.StringVar(&a.vocab, "vocab", os.Getenv(envVocab),
		"GGUF file with the vocabulary of the card's model,\nwhere it is not the one that ships (env "+envVocab+")")
	f.StringVarP(&a.format, "output", "o", string(output.Table), "output format: table or json")
	f.DurationVar(&a.timeout, "timeout", 0, "give up after this long (0: the card's own bounds)")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log what the driver does to standard error")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if a.format != string(output.Table) && a.format != string(output.JSON) {
			return usagef("output format %q: use table or json", a.format)
		}
		_, a.doing, _ = strings.Cut(cmd.CommandPath(), " ")
		if f := cmd.Flags().Lookup(interactive); f == nil || f.Value.String() != "true" {
			cmd.SetContext(a.bound(cmd.Context()))
		}
		return nil
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	root.AddCommand(a.device(), a.run(), a.benchCommand(), a.demoCommand(), a.model(), a.tokenize(), a.detokenize(),
		a.reg(), a.logs(), a.traces(), a.errors(), a.version(), addressTopic())
	root.AddCommand(append(a.bindCommands(), a.doctorCommand())...)
	finish(root)
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
	app    *app
	via    *attach.Card
	noText error // why there is no vocabulary
}

// open brings up the card that was named. close must be called.
func (a *app) open(ctx context.Context) (*attached, error) {
	if a.card == "" {
		return nil, fmt.Errorf("no card was named: %w", errNoCard)
	}
	addr, err := address.Parse(a.card)
	if err != nil {
		return nil, tag(errAddress, err)
	}
	return a.openAt(ctx, addr, 0)
}

func (a *app) openAt(ctx context.Context, addr address.Address, index int) (*attached, error) {
	via, err := attach.OpenLogged(ctx, addr, index, a.logger())
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
	if via.Clock == nil { // on counted time nothing happens behind our back
		a.watch(ctx, c)
	}
	// Text is what most commands are about, but not all: those that need it
	// ask for the vocabulary.
	if via.Mock == nil && via.Computes(c.Capabilities()) {
		c.SetSlack(emulatedSlack)
	}
	err = via.Learn(c.Capabilities(), a.vocab)
	return &attached{Card: c, app: a, via: via, noText: err}, nil
}

// watchEvery is how often the bus is asked whether it wants the card back. The
// kernel waits for us meanwhile.
const watchEvery = 100 * time.Millisecond

// watch ends the command when the kernel, or a card's server, wants the card
// back: it is then closed in order, and what was printed is kept.
func (a *app) watch(ctx context.Context, c *driver.Card) {
	if a.cancel == nil {
		return
	}
	stop := make(chan struct{})
	a.done = append(a.done, func() { close(stop) })
	go func() {
		t := time.NewTicker(watchEvery)
		defer t.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if c.Wanted() {
				a.cancel(errWanted)
				return
			}
		}
	}()
}

// speak is open for commands that need text.
func (a *app) speak(ctx context.Context) (*attached, error) {
	c, err := a.open(ctx)
	if err == nil && c.noText != nil {
		err = c.noText
		c.close(&err)
	}
	return c, err
}

// close gives the card back. What went wrong before counts more.
func (c *attached) close(err *error) {
	if errors.Is(*err, driver.ErrCardLost) {
		// The kernel may take minutes to close a dead card: say it first.
		fmt.Fprintf(c.app.err, "hc1ctl: %s: %s\n", c.app.doing, oneLine(*err))
		c.app.told = true
	}
	// The command's context may have ended: closing has bounds of its own.
	if cerr := c.Card.Close(context.Background()); cerr != nil && *err == nil {
		*err = fmt.Errorf("close card: %w", cerr)
	}
}
