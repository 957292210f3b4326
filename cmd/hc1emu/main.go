// Command hc1emu is emulated hc1 cards, each behind a vfio-user socket.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/catalog"
	"github.com/hc1-toolkit/hc1/internal/output"
)

// version is set by the linker from the tree's description.
var version = "unknown"

func main() {
	// Whoever may open a socket has the card: this user only. Traces tell
	// what passes over it.
	syscall.Umask(0o077)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

var errUsage = errors.New("usage")

// usage is a wrong command line.
type usage struct{ err error }

func (u usage) Error() string        { return u.err.Error() }
func (u usage) Is(target error) bool { return target == errUsage }

// execute is the program but for its process: it returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := options{cards: address.Address{Scheme: address.Mock, Cards: 1, Clock: "realtime"}, out: stdout, errs: stderr}
	cmd := command(&o)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return catalog.ExitOK
	}
	message := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
	fmt.Fprintf(stderr, "hc1emu: %s\n", output.Clean(message))
	if errors.Is(err, errUsage) {
		fmt.Fprintln(stderr, "hint: See `hc1emu --help`: it has examples.")
	}
	return exitCode(err)
}

func exitCode(err error) int {
	for _, c := range []struct {
		err  error
		exit int
	}{
		{errUsage, catalog.ExitUsage}, {attach.ErrAddress, catalog.ExitUsage}, {attach.ErrBadInput, catalog.ExitBadInput},
		{errTaken, catalog.ExitBusy}, {fs.ErrNotExist, catalog.ExitNotFound}, {fs.ErrPermission, catalog.ExitPermission},
	} {
		if errors.Is(err, c.err) {
			return c.exit
		}
	}
	return catalog.ExitFailed
}

func command(o *options) *cobra.Command {
	var ask bool
	cmd := &cobra.Command{
		Use:   "hc1emu --socket PATH",
		Short: "Emulated hc1 cards behind vfio-user sockets",
		Long: `Runs emulated cards, each a PCI device on a vfio-user socket: real registers,
rings, DMA and interrupts, and tokens that are computed. No root is needed.
hc1ctl reaches a card as vfio-user:PATH; QEMU plugs it into a virtual machine
as -device '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"PATH"}}'.

When all cards can be reached, "ready" is printed on a line of its own. SIGTERM
or Ctrl-C ends the program; clients are asked to leave, then hung up on. A card
has one client at a time and is reset when it leaves.

With --cards N the sockets are PATH.0 to PATH.N-1, and so are traces. Fault
plans are explained by "hc1ctl address --help".`,
		Example: `  hc1emu --socket /tmp/hc1.sock
  hc1emu --socket /tmp/hc1.sock --cards 2 --clock fast
  hc1emu --socket /tmp/hc1.sock --script story.txt --trace trace.txt
  hc1emu --socket /tmp/hc1.sock --fault 'all-ones@token#20'`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage{fmt.Errorf("takes no argument, not %q: the socket is --socket PATH", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ask {
				fmt.Fprintf(o.out, "hc1emu %s\n", version)
				return nil
			}
			if err := o.check(); err != nil {
				return usage{err}
			}
			return run(cmd.Context(), o)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage{err} })
	a := &o.cards
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.socket, "socket", "", "path of the socket to listen on")
	f.IntVar(&a.Cards, "cards", 1, "number of cards, a socket each")
	f.StringVar(&a.Model, "model", "", "GGUF file of a Llama to compute\n(without it, the small model that ships)")
	f.StringVar(&a.Script, "script", "", "text to replay at no cost of computing")
	f.StringVar(&a.Clock, "clock", "realtime", "realtime: a token takes its nominal time;\nfast: it takes what it takes")
	f.Uint64Var(&a.Seed, "seed", 0, "of the fault plan's dice; also picks the serial numbers")
	f.StringVar(&a.Fault, "fault", "", "fault plan")
	f.StringVar(&a.Trace, "trace", "", "write what passes between card and host to a file")
	f.StringVar(&o.logAs, "log", "text", "how to log on standard error:\ntext, json or none")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log refused commands too")
	f.BoolVar(&ask, "version", false, "print the version")
	return cmd
}
