package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/emu"
	"github.com/hc1-toolkit/hc1/internal/emu/socket"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// options are the command line. The cards are described by the same words as
// those of a mock: address.
type options struct {
	socket    string
	cards     address.Address
	logAs     string
	verbose   bool
	out, errs io.Writer
}

const maxCards = 64

func (o *options) check() error {
	a := o.cards
	switch {
	case o.socket == "":
		return errors.New("--socket PATH is missing")
	case len(o.path(a.Cards-1)) > 107: // sockaddr_un
		return fmt.Errorf("--socket: a path of %d bytes; a socket's has 107 at most", len(o.path(a.Cards-1)))
	case a.Cards < 1 || a.Cards > maxCards:
		return fmt.Errorf("--cards %d: use 1 to %d", a.Cards, maxCards)
	case a.Clock != "realtime" && a.Clock != "fast":
		return fmt.Errorf("--clock %q: use realtime or fast", a.Clock)
	case a.Model != "" && a.Script != "" && a.Model == a.Script:
		return errors.New("--model and --script name the same file")
	case !slices.Contains([]string{"text", "json", "none"}, o.logAs):
		return fmt.Errorf("--log %q: use text, json or none", o.logAs)
	}
	return nil
}

// path is the socket of card i.
func (o *options) path(i int) string {
	if o.cards.Cards == 1 {
		return o.socket
	}
	return fmt.Sprintf("%s.%d", o.socket, i)
}

func (o *options) logger() *slog.Logger {
	h := &slog.HandlerOptions{}
	if o.verbose {
		h.Level = slog.LevelDebug
	}
	switch o.logAs {
	case "json":
		return slog.New(slog.NewJSONHandler(o.errs, h))
	case "text":
		return slog.New(slog.NewTextHandler(o.errs, h))
	}
	return slog.New(slog.DiscardHandler)
}

// served is a card with its socket.
type served struct {
	*socket.Card
	path  string
	l     *net.UnixListener
	trace *attach.Trace
	log   *slog.Logger
}

// grace is how long clients have to leave when the program ends.
const grace = 500 * time.Millisecond

// run serves the cards until ctx ends or a card's socket fails.
func run(ctx context.Context, o *options) (err error) {
	log := o.logger()
	engine, _, err := attach.Engine(o.cards)
	if err != nil {
		return err
	}
	var cards []*served
	defer func() {
		var all sync.WaitGroup
		errs := make([]error, len(cards))
		for i, c := range cards {
			all.Go(func() { errs[i] = c.close() })
		}
		all.Wait()
		err = errors.Join(append(errs, err)...)
	}()
	failed := make(chan error, o.cards.Cards)
	for i := range o.cards.Cards {
		c, err := o.start(i, engine, log)
		if err != nil {
			return err
		}
		cards = append(cards, c)
		go func() { failed <- c.Serve(c.l) }()
		fmt.Fprintf(o.out, "vfio-user:%s serial HC1-%016X\n", c.path, o.cards.Seed<<8+uint64(i)+1)
	}
	log.Info("ready", "cards", len(cards), "clock", o.cards.Clock, "silicon", engine.Info().Kind, "model", engine.Info().Name, "seed", o.cards.Seed)
	fmt.Fprintln(o.out, "ready")
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-failed:
		return err
	}
}

// start powers card i on and listens on its socket.
func (o *options) start(i int, e silicon.Engine, log *slog.Logger) (*served, error) {
	clock, err := emu.ParseClock(o.cards.Clock)
	if err != nil {
		return nil, err
	}
	c := &served{path: o.path(i), log: log.With("card", i)}
	// The socket first: whoever has it may be writing to the same trace.
	if c.l, err = listen(c.path); err != nil {
		return nil, err
	}
	cfg, trace, err := attach.Config(o.cards, i, e)
	if err != nil {
		return nil, errors.Join(err, c.l.Close())
	}
	c.trace = trace
	c.Card, err = socket.New(socket.Options{Card: cfg, Clock: clock, Log: c.log, Left: c.left})
	if err != nil {
		return nil, errors.Join(err, trace.Close(), c.l.Close())
	}
	return c, nil
}

// left tells what a client's time with the card came to: on the path of a
// token there should be no message.
func (c *served) left(v socket.Visit) {
	n := v.Counters
	c.log.Info("client's use", "tokens", n.Tokens, "commands", n.Commands, "messages", v.Messages, "register_reads", n.MMIOReads,
		"register_writes", n.MMIOWrites, "doorbells", n.Doorbells, "kicks", n.Kicks, "arms", n.Arms, "interrupts", n.Interrupts, "dma_faults", n.DMAFaults)
	if v.Breaches > 0 {
		c.log.Warn("the client broke the interface", "times", v.Breaches)
	}
	for _, b := range v.Violations[:min(len(v.Violations), 8)] {
		c.log.Warn("breach", "kind", b.Category, "where", b.Where, "what", b.What)
	}
	if err := c.trace.Flush(); err != nil {
		c.log.Error("trace", "err", err)
	}
}

func (c *served) close() error {
	err := c.Close(grace)
	st, n := c.Stats(), c.Counters()
	c.log.Info("card off", "clients", st.Clients, "turned_away", st.Busy, "messages", st.Total(), "refused", st.Refused, "tokens", n.Tokens, "dma_mapped", st.DirectDMA, "dma_messages", st.MessageDMA)
	return errors.Join(err, c.trace.Close())
}

// errTaken is a socket that another program listens on.
var errTaken = errors.New("another program serves on it")

// listen makes the socket. One that a dead program left behind is replaced;
// one that is served, and what is no socket, is not touched.
func listen(path string) (*net.UnixListener, error) {
	at := &net.UnixAddr{Name: path, Net: "unix"}
	l, err := net.ListenUnix("unix", at)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, wrap(path, err)
	}
	if st, serr := os.Lstat(path); serr != nil || st.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("socket %s: there is a file that is no socket", path)
	}
	if c, derr := net.DialUnix("unix", nil, at); derr == nil {
		c.Close()
		return nil, fmt.Errorf("socket %s: %w", path, errTaken)
	} else if !errors.Is(derr, syscall.ECONNREFUSED) {
		return nil, wrap(path, derr)
	}
	if err := os.Remove(path); err != nil {
		return nil, wrap(path, err)
	}
	l, err = net.ListenUnix("unix", at)
	return l, wrap(path, err)
}

func wrap(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("socket %s: %w", path, err)
}
