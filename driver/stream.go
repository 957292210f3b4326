package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Candidate is one of the tokens the sampler had before it.
type Candidate struct {
	ID      uint32
	LogProb float32 // natural, over the whole vocabulary, before temperature and mask
}

// Token is one final token of a stream.
type Token struct {
	ID       uint32
	Position uint32
	LogProb  float32 // valid when N > 0
	N        uint8   // entries of Candidates; 0 unless asked for
	Chosen   uint8   // index of the token among them
	// Candidates are the best ones, best first.
	Candidates [hci.MaxCandidates]Candidate
}

// Reason is why a stream ended.
type Reason uint8

// Reasons, by the stop codes of section 12.
const (
	ReasonNone      Reason = hci.StopNone
	ReasonStop      Reason = hci.StopStopToken // a stop id; it is the last token
	ReasonLength    Reason = hci.StopMaxTokens
	ReasonContext   Reason = hci.StopContext
	ReasonCancelled Reason = hci.StopCancelled
	ReasonError     Reason = hci.StopError
)

func (r Reason) String() string {
	switch r {
	case ReasonStop:
		return "stop"
	case ReasonLength:
		return "length"
	case ReasonContext:
		return "context"
	case ReasonCancelled:
		return "cancelled"
	case ReasonError:
		return "error"
	}
	return "none"
}

// Result is what a stream came to, as the card measured it.
type Result struct {
	Reason    Reason
	Prompt    int           // tokens of the prompt
	Cached    int           // of those, already in KV
	Tokens    int           // tokens sampled
	Prefill   time.Duration // card time
	Decode    time.Duration
	Stall     time.Duration // full ring, late mask or choice
	Wait      time.Duration // other sessions had the turn
	EnergyUJ  uint64        // µJ, modelled on an emulated card
	Late      uint32        // tokens later than the nominal time
	MaskLate  uint32        // steps that waited for a mask
	HostStall bool          // a record took so long that the ladder was climbed
}

// Stream is a GENERATE in progress. Its contract is io.Reader's: Next fills
// a prefix of its buffer with the tokens that are there, at least one, and
// returns n > 0 with a nil error; after the last token it returns 0 and
// io.EOF, or 0 and the error that ended the stream. Tokens before an error
// are good: they were checked, and nothing is delivered twice.
type Stream struct {
	s     *Session
	p     Params
	epoch uint16
	first uint32 // first record
	seq   uint32 // next record
	head  uint32 // HEAD the card was told of
	pos   uint32 // next position
	last  Token
	any   bool

	truncate, prefill, generate int // slots; -1: none or done
	fed                         []uint32

	progress  int64 // when the card last moved on
	bound     int64 // longest time without progress
	ended     bool  // a record with a stop reason was seen
	stop      uint8
	final     uint32 // sequence after the last record, from the CQE
	complete  bool   // the CQE was seen
	settled   bool   // and it was a good one
	kvLen     int    // what it says is in KV
	prefilled bool   // PREFILL ended well
	err       error  // why the stream ends; io.EOF when well
	over      bool
	res       Result

	cancel     atomic.Bool
	cancelSent int // slot of CANCEL; -1: none
	unhook     func() bool
}

// Generate makes the KV hold exactly prompt, reusing the longest prefix that
// is there already, and starts decoding after it: TRUNCATE, PREFILL and
// GENERATE go to the card together, under one doorbell. An empty prompt
// decodes from the KV as it is, right after Prefill or Fork. The session is
// busy until the stream has ended. When ctx ends the stream is cancelled on
// the card.
func (s *Session) Generate(ctx context.Context, prompt []uint32, p Params) (*Stream, error) {
	if err := s.usable(ctx); err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("generate: %w", context.Cause(ctx))
	}
	t := &Stream{s: s, p: p, epoch: hci.NextEpoch(s.l.epoch), first: s.l.seq, seq: s.l.seq, head: s.l.seq,
		truncate: -1, prefill: -1, generate: -1, cancelSent: -1}
	if err := t.submit(prompt); err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	s.l.epoch, s.stream = t.epoch, t
	s.l.q.ring()
	if ctx.Done() != nil {
		t.unhook = context.AfterFunc(ctx, t.Cancel)
	}
	return t, nil
}

// submit writes the commands; nothing is written when any is refused.
func (t *Stream) submit(prompt []uint32) error {
	s := t.s
	keep := len(s.kv)
	gen := hci.SQE{OPC: hci.OpGenerate, SID: s.sid}
	var pre hci.SQE
	if len(prompt) > 0 {
		keep = commonPrefix(s.kv, prompt)
		if keep == len(prompt) {
			keep-- // section 11.1 rule 6: the last token primes the session
		}
		t.fed = prompt[keep:]
		var err error
		if pre, err = s.prefillCommand(keep, t.fed); err != nil {
			return err
		}
	}
	t.res.Prompt, t.res.Cached = len(prompt), keep
	start := keep + len(t.fed)
	if start >= int(s.c.caps.Context) {
		return fmt.Errorf("a prompt of %d tokens leaves no room in the context of %d: %w", start, s.c.caps.Context, ErrInvalid)
	}
	gen.DW3 = uint32(start) // for encode only; reserved on the wire
	if err := s.encode(&gen, &t.p, t.epoch); err != nil {
		return err
	}
	gen.DW3 = 0
	t.pos = uint32(start)
	if t.p.Mask != nil {
		t.publishMask(t.pos, Token{}, false)
	}
	q := s.l.q
	if q.room() < 4 {
		return fmt.Errorf("queue has %d free commands: %w", q.room(), ErrBusy)
	}
	out := func(e *hci.SQE) int {
		i, err := q.submit(e)
		if err != nil { // cannot be: there is room for four
			panic(err)
		}
		return int(i)
	}
	if keep < len(s.kv) || s.dirty {
		e := hci.SQE{OPC: hci.OpTruncate, SID: s.sid}
		e.CDW[0] = uint32(keep)
		t.truncate = out(&e)
		s.kv, s.dirty = s.kv[:keep], false
	}
	if len(t.fed) > 0 {
		t.prefill = out(&pre)
		s.kv = append(s.kv, t.fed...)
	}
	t.generate = out(&gen)
	c := &s.c.caps
	record := int64(time.Second) + int64(c.TokenNS)*int64(c.Sessions)*32
	t.bound = (record + s.prefillBound(len(t.fed))) * int64(s.c.cfg.Slack)
	t.progress = s.c.clock.Now()
	return nil
}

func commonPrefix(a, b []uint32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// Cancel asks for the stream to end; any goroutine may call it, at any time.
// The owner's Next goes on to return what was decoded, then ErrCancelled.
func (t *Stream) Cancel() {
	if t.cancel.Swap(true) {
		return
	}
	// An ARM for a record that is there already fires at once: it wakes the
	// owner if it blocks, and is harmless if not.
	t.s.arm(t.first - 1)
}

func (s *Session) arm(seq uint32) {
	v := hci.ArmSequence.Put(0, uint64(seq))
	v = hci.ArmSlot.Put(v, uint64(s.slot()))
	s.c.stats.Arms.Add(1)
	s.c.db.Store64(s.l.q.page+hci.DoorbellARM, v)
}

// Next waits for tokens: see Stream. It returns the cause of ctx's end, as
// given to Generate, through ErrCancelled.
func (t *Stream) Next(buf []Token) (int, error) {
	if len(buf) == 0 {
		return 0, fmt.Errorf("no room for tokens: %w", ErrInvalid)
	}
	c := t.s.c
	var n int
	ready := func() (bool, error) {
		var err error
		n, err = t.Poll(buf)
		return n > 0, err
	}
	for {
		if ok, err := ready(); ok || err != nil {
			return n, err
		}
		w := waiter{c: c, gen: t.s.gen, vector: int(t.s.l.q.id), end: t.progress + t.bound,
			arm: func() bool {
				t.s.arm(t.seq)
				return !t.cancel.Load() || t.cancelSent >= 0
			}}
		err := w.wait(ready)
		if !errors.Is(err, ErrTimeout) || t.over {
			if err != nil && !t.over {
				t.end(err)
			}
			return n, err
		}
		if err := t.rescue(); err != nil {
			t.end(err)
			return 0, t.err
		}
	}
}

// Result is valid once Next has returned an error, io.EOF included.
func (t *Stream) Result() Result { return t.res }

// Close cancels the stream if it has not ended and takes in what is left.
func (t *Stream) Close() error {
	if t.over {
		return nil
	}
	t.Cancel()
	var buf [16]Token
	for {
		if _, err := t.Next(buf[:]); err != nil {
			if err == io.EOF || errors.Is(err, ErrCancelled) {
				return nil
			}
			return err
		}
	}
}
