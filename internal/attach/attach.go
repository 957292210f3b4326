// Package attach turns a card address into an open PCI function with what
// goes with it: the vocabulary that turns its tokens into text, and a word
// on what computes them. It is the only place that knows the backends.
package attach

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/mock"
	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/emu"
	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/model"
	"github.com/hc1-toolkit/hc1/internal/silicon"
	"github.com/hc1-toolkit/hc1/internal/tokenizer"
)

// Errors a caller decides on.
var (
	// ErrBadInput: a file that was named cannot be used.
	ErrBadInput = errors.New("bad input")
	// ErrAddress: an option of the card address has a value that cannot be.
	ErrAddress = errors.New("bad card address")
)

// tagged is an error of one of the kinds above; its message says only what
// is wrong, and where.
type tagged struct{ kind, err error }

func (e *tagged) Error() string        { return e.err.Error() }
func (e *tagged) Unwrap() error        { return e.err }
func (e *tagged) Is(target error) bool { return target == e.kind }

// Card is an attached card, not yet brought up.
type Card struct {
	Address  address.Address
	Function hal.Function
	Clock    driver.Clock         // nil: the machine's
	Vocab    *tokenizer.Tokenizer // nil until Learn where the address names no model
	Chat     bool                 // the model was made for conversations
	Mock     *mock.Mock           // nil for other backends
	Way      string               // how it is reached, for people

	trace *Trace
}

// Open attaches card number index of the address (0 for the only one).
func Open(ctx context.Context, a address.Address, index int) (*Card, error) {
	return OpenLogged(ctx, a, index, nil)
}

// OpenLogged is Open with a log of what the backend chose.
func OpenLogged(ctx context.Context, a address.Address, index int, log *slog.Logger) (*Card, error) {
	switch a.Scheme {
	case address.Mock:
		return openMock(a, index)
	case address.VFIOUser:
		return openSocket(ctx, a)
	case address.PCI, address.Serial:
		return openPCI(a, log)
	}
	return nil, &tagged{ErrAddress, fmt.Errorf("card address %q: no such kind", a)}
}

// Model is a model file with its vocabulary.
type Model struct {
	File  *gguf.File
	Vocab *tokenizer.Tokenizer
}

// LoadModel reads a GGUF file; "" is the model that ships with the card.
func LoadModel(path string) (*Model, error) {
	f, err := LoadFile(path)
	if err != nil {
		return nil, err
	}
	v, err := tokenizer.FromGGUF(f)
	if err != nil {
		return nil, &tagged{ErrBadInput, fmt.Errorf("model %s: %w", nameOr(path), err)}
	}
	return &Model{File: f, Vocab: v}, nil
}

// LoadFile is LoadModel without the vocabulary.
func LoadFile(path string) (*gguf.File, error) {
	data := model.Default()
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return nil, readError("model", err)
		}
	}
	f, err := gguf.Parse(data)
	if err != nil {
		return nil, &tagged{ErrBadInput, fmt.Errorf("model %s: %w", nameOr(path), err)}
	}
	return f, nil
}

// readError says what a file was for. A file that is not there, or not to be
// read, is that; any other failure makes it bad input.
func readError(what string, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return err
	}
	return &tagged{ErrBadInput, err}
}

// Chat reports whether the model was made for conversations: it brings a
// template for them, or has the tokens of Llama 3's.
func (m *Model) Chat() bool {
	if s, ok := m.File.String("tokenizer.chat_template"); ok && s != "" {
		return true
	}
	_, ok := m.Vocab.Special("<|start_header_id|>")
	return ok
}

// Engine makes the silicon that a mock: address asks for, with its
// vocabulary.
func Engine(a address.Address) (silicon.Engine, *tokenizer.Tokenizer, error) {
	e, m, err := engine(a)
	if err != nil {
		return nil, nil, err
	}
	return e, m.Vocab, nil
}

func engine(a address.Address) (silicon.Engine, *Model, error) {
	m, err := LoadModel(a.Model)
	if err != nil {
		return nil, nil, err
	}
	if a.Script != "" {
		text, err := os.ReadFile(a.Script)
		if err != nil {
			return nil, nil, readError("script", err)
		}
		e, err := Script(m.Vocab, m.Vocab.Encode(nil, string(text), tokenizer.Options{}))
		if err != nil {
			return nil, nil, &tagged{ErrBadInput, fmt.Errorf("script %s: %w", a.Script, err)}
		}
		return e, m, nil
	}
	e, err := silicon.Load(m.File)
	if err != nil {
		return nil, nil, &tagged{ErrBadInput, fmt.Errorf("model %s: %w", nameOr(a.Model), err)}
	}
	return e, m, nil
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
	// Cards with different scripts must not pass for the same model.
	h := sha256.New()
	for _, id := range ids {
		h.Write(binary.LittleEndian.AppendUint32(nil, id)) // a hash does not fail
	}
	return silicon.NewScript(v.VocabSize(), scriptContext, bos, stop, ids, [32]byte(h.Sum(nil)))
}

func openMock(a address.Address, index int) (*Card, error) {
	if index < 0 || index >= a.Cards {
		return nil, fmt.Errorf("card %d of %s: there are %d", index, a, a.Cards)
	}
	e, m, err := engine(a)
	if err != nil {
		return nil, err
	}
	c, err := OpenEngine(a, index, e, m.Vocab)
	if err == nil {
		c.Chat = m.Chat()
	}
	return c, err
}

// OpenEngine attaches an emulated card with the given silicon.
func OpenEngine(a address.Address, index int, e silicon.Engine, v *tokenizer.Tokenizer) (*Card, error) {
	clock, err := emu.ParseClock(a.Clock)
	if err != nil {
		return nil, err
	}
	cfg, t, err := Config(a, index, e)
	if err != nil {
		return nil, err
	}
	c := &Card{Address: a, Vocab: v, trace: t, Way: "in this process"}
	o := mock.Options{Engine: e, Clock: clock, Seed: cfg.Seed, Serial: cfg.Serial, Faults: cfg.Faults, Trace: cfg.Trace}
	if c.Mock, err = mock.New(o); err != nil {
		return nil, errors.Join(err, t.Close())
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

func (f *function) Close() error { return errors.Join(f.Mock.Close(), f.card.trace.Close()) }

// nameOr is a model's path, or a name for the one that has none.
func nameOr(path string) string {
	if path == "" {
		return "that ships with the card"
	}
	return path
}
