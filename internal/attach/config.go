package attach

import (
	"errors"
	"fmt"
	"os"

	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/card/trace"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// Config is what the words of a mock: address, or of hc1emu's command line,
// make of card number index. The trace is nil where none was asked for.
func Config(a address.Address, index int, e silicon.Engine) (card.Config, *Trace, error) {
	cfg := card.Config{Engine: e, Seed: a.Seed, Serial: a.Seed<<8 + uint64(index) + 1}
	if a.Fault != "" {
		var err error
		if cfg.Faults, err = card.ParsePlan(a.Fault); err != nil {
			return cfg, nil, &tagged{ErrAddress, fmt.Errorf("card address %q: %w", a, err)}
		}
	}
	if a.Trace == "" {
		return cfg, nil, nil
	}
	path := a.Trace
	if a.Cards > 1 {
		path = fmt.Sprintf("%s.%d", path, index)
	}
	f, err := os.Create(path)
	if err != nil {
		return cfg, nil, fmt.Errorf("trace: %w", err)
	}
	t := &Trace{w: trace.NewWriter(f, a.Seed, false), file: f}
	cfg.Trace = t.w
	return cfg, t, nil
}

// Trace is a file that a card writes its trace to.
type Trace struct {
	w    *trace.Writer
	file *os.File
}

// Flush writes out what there is. The card must stand still.
func (t *Trace) Flush() error {
	if t == nil || t.file == nil {
		return nil
	}
	return t.w.Flush()
}

// Close ends the trace; the card must not write to it any more.
func (t *Trace) Close() error {
	if t == nil || t.file == nil {
		return nil
	}
	err := errors.Join(t.w.Flush(), t.file.Close())
	t.file = nil
	return err
}
