// Package attach turns a card address into an open PCI function with what
// goes with it: the vocabulary that turns its tokens into text, and a word
// on what computes them. It is the only place that knows the backends.
package attach

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/mock"
	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/card/trace"
	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/model"
	"github.com/hc1-toolkit/hc1/internal/silicon"
	"github.com/hc1-toolkit/hc1/internal/tokenizer"
)

// Errors a caller decides on.
var (
	// ErrBadInput: a file that was named cannot be used.
	ErrBadInput = errors.New("bad input")
	// ErrNoBackend: this build cannot reach such a card.
	ErrNoBackend = errors.New("no backend for this kind of card address yet")
)

// Card is an attached card, not yet brought up.
type Card struct {
	Address  address.Address
	Function hal.Function
	Clock    driver.Clock // nil: the machine's
	Vocab    *tokenizer.Tokenizer
	Mock     *mock.Mock // nil for other backends

	trace *trace.Writer
	file  *os.File
}

// Open attaches card number index of the address (0 for the only one).
func Open(a address.Address, index int) (*Card, error) {
	switch a.Scheme {
	case address.Mock:
		return openMock(a, index)
	case address.VFIOUser, address.PCI, address.Serial:
		return nil, fmt.Errorf("%s: %w", a, ErrNoBackend)
	}
	return nil, fmt.Errorf("%s: %w", a, ErrNoBackend)
}

// Model is a model file with its vocabulary.
type Model struct {
	File  *gguf.File
	Vocab *tokenizer.Tokenizer
}

// LoadModel reads a GGUF file; "" is the model that ships with the card.
func LoadModel(path string) (*Model, error) {
	f, name, err := parse(path)
	if err != nil {
		return nil, err
	}
	v, err := tokenizer.FromGGUF(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBadInput, name, err)
	}
	return &Model{File: f, Vocab: v}, nil
}

func parse(path string) (*gguf.File, string, error) {
	if path == "" {
		f, err := gguf.Parse(model.Default())
		return f, "default model", err
	}
	f, err := gguf.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %s: %w", ErrBadInput, path, err)
	}
	return f, path, err
}

// Engine makes the silicon that a mock: address asks for, with its
// vocabulary.
func Engine(a address.Address) (silicon.Engine, *tokenizer.Tokenizer, error) {
	m, err := LoadModel(a.Model)
	if err != nil {
		return nil, nil, err
	}
	if a.Script != "" {
		text, err := os.ReadFile(a.Script)
		if err != nil {
			return nil, nil, err
		}
		ids := m.Vocab.Encode(nil, string(text), tokenizer.Options{})
		e, err := Script(m.Vocab, ids)
		if err != nil {
			err = fmt.Errorf("%w: %s: %w", ErrBadInput, a.Script, err)
		}
		return e, m.Vocab, err
	}
	e, err := silicon.Load(m.File)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %w", ErrBadInput, nameOr(a.Model, "default model"), err)
	}
	return e, m.Vocab, nil
}

// scriptContext is the context of script silicon: the HC1's.
const scriptContext = 6144

// Script makes silicon that replays ids of a vocabulary at no compute cost.
func Script(v *tokenizer.Tokenizer, ids []uint32) (silicon.Engine, error) {
	stop, ok := v.EOS()
	if !ok {
		return nil, errors.New("the vocabulary has no end-of-text token")
	}
	bos, ok := v.BOS()
	if !ok {
		bos = silicon.NoToken
	}
	return silicon.NewScript(v.VocabSize(), scriptContext, bos, stop, ids, [32]byte{'s', 'c', 'r', 'i', 'p', 't'})
}

func openMock(a address.Address, index int) (*Card, error) {
	if index < 0 || index >= a.Cards {
		return nil, fmt.Errorf("card %d of %s: there are %d", index, a, a.Cards)
	}
	e, v, err := Engine(a)
	if err != nil {
		return nil, err
	}
	return OpenEngine(a, index, e, v)
}

// OpenEngine attaches an emulated card with the given silicon.
func OpenEngine(a address.Address, index int, e silicon.Engine, v *tokenizer.Tokenizer) (*Card, error) {
	clock, err := mock.ParseClock(a.Clock)
	if err != nil {
		return nil, err
	}
	o := mock.Options{Engine: e, Clock: clock, Seed: a.Seed, Serial: a.Seed<<8 + uint64(index) + 1}
	if a.Fault != "" {
		if o.Faults, err = card.ParsePlan(a.Fault); err != nil {
			return nil, fmt.Errorf("%w: fault plan: %w", ErrBadInput, err)
		}
	}
	c := &Card{Address: a, Vocab: v}
	if a.Trace != "" {
		if c.file, err = os.Create(a.Trace); err != nil {
			return nil, err
		}
		c.trace = trace.NewWriter(c.file, a.Seed, false)
		o.Trace = c.trace
	}
	if c.Mock, err = mock.New(o); err != nil {
		return nil, errors.Join(err, c.closeTrace())
	}
	c.Function = &function{Mock: c.Mock, card: c}
	if clock == mock.Virtual {
		c.Clock = c.Mock.Clock()
	}
	return c, nil
}

// function flushes the trace when the card is closed.
type function struct {
	*mock.Mock
	card *Card
}

func (f *function) Close() error { return errors.Join(f.Mock.Close(), f.card.closeTrace()) }

func (c *Card) closeTrace() error {
	if c.file == nil {
		return nil
	}
	err := errors.Join(c.trace.Flush(), c.file.Close())
	c.file = nil
	return err
}

func nameOr(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
