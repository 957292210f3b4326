package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// SessionConfig is how to open a session.
type SessionConfig struct {
	Adapter uint16 // adapter id; 0 is the model itself
	Reserve uint32 // tokens of KV charged from now on, used or not
}

// Session is a KV slot of the card with its token ring (docs/hci.md section
// 11). It belongs to one goroutine at a time.
type Session struct {
	c      *Card
	l      *lane
	gen    uint32
	sid    uint32
	cfg    SessionConfig
	kv     []uint32 // token ids in the card's KV, as the host knows them
	stream *Stream  // the one that has not ended, or nil
	open   bool
	dirty  bool // the card's KV may hold more than kv: truncate first
	stale  bool // the outcome of a command is not known: resync first
}

// OpenSession takes a session slot. When all are in use it waits for one
// until ctx ends.
func (c *Card) OpenSession(ctx context.Context, cfg SessionConfig) (*Session, error) {
	l, err := c.takeLane(ctx)
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	e := hci.SQE{OPC: hci.OpOpen}
	e.Put(hci.OpenAID, uint64(cfg.Adapter))
	s, err := c.openOn(ctx, l, &e, cfg)
	if err != nil {
		c.giveLane(l)
		return nil, fmt.Errorf("open session: %w", err)
	}
	return s, nil
}

// openOn sends OPEN or FORK; both have the memory fields in the same places.
func (c *Card) openOn(ctx context.Context, l *lane, e *hci.SQE, cfg SessionConfig) (*Session, error) {
	// Whatever an earlier session or generation left in the ring has a
	// sequence at least a whole ring behind.
	l.seq += 2 << c.cfg.RingLog2
	l.epoch++
	clear(l.host.b)
	clear(l.block.b)
	store32(l.host.b, hci.HostOffHead, l.seq)
	store32(l.block.b, hci.CardOffHEVT, l.seq-1)
	e.Put(hci.OpenCardBlock, l.block.iova)
	e.Put(hci.OpenRing, l.ring.iova)
	e.Put(hci.OpenHostBlock, l.host.iova)
	e.Put(hci.OpenRingLog2, uint64(c.cfg.RingLog2))
	e.Put(hci.OpenSequence, uint64(l.seq))
	e.Put(hci.OpenEpoch, uint64(l.epoch))
	e.Put(hci.OpenIV, uint64(l.q.id))
	e.Put(hci.OpenReserve, uint64(cfg.Reserve))
	s := &Session{c: c, l: l, gen: l.gen - 1, cfg: cfg, open: true, kv: make([]uint32, 0, c.caps.Context)}
	// Nobody else opens sessions between the command and its entry in owned:
	// reap must not take this one for an orphan.
	c.ownMu.Lock()
	cqe, err := s.command(ctx, e)
	if err == nil {
		s.sid = cqe.dw0()
		c.owned[s.sid] = true
	}
	c.ownMu.Unlock()
	if err != nil {
		if errors.Is(err, ErrTimeout) {
			c.reap(l)
		}
		return nil, err
	}
	if s.slot() >= int(c.caps.Sessions) {
		return nil, fmt.Errorf("OPEN gave slot %d of %d: %w", s.slot(), c.caps.Sessions, ErrProtocol)
	}
	return s, nil
}

func (s *Session) slot() int { return int(s.sid & 0xFFFF) }

// Len is the number of tokens in the card's KV.
func (s *Session) Len() int { return len(s.kv) }

// Tokens are the ids in the card's KV; the slice is the session's.
func (s *Session) Tokens() []uint32 { return s.kv }

// usable returns why a new command cannot be given now.
func (s *Session) usable(ctx context.Context) error {
	switch {
	case !s.open:
		return ErrClosed
	case s.stream != nil:
		return fmt.Errorf("the session's stream has not ended: %w", ErrBusy)
	}
	if err := s.c.alive(s.gen); err != nil {
		return err
	}
	return s.resync(ctx)
}

// command submits one I/O command and waits for it, up the ladder if the
// card does not answer.
func (s *Session) command(ctx context.Context, e *hci.SQE) (completion, error) {
	if err := s.c.alive(s.gen); err != nil {
		return completion{}, err
	}
	if err := ctx.Err(); err != nil {
		return completion{}, context.Cause(ctx)
	}
	return s.run(e, int64(boundIO))
}

// run submits e and waits at most bound (stretched by the slack). It is not
// cut short by a context: the session's state on the card would be unknown.
func (s *Session) run(e *hci.SQE, bound int64) (completion, error) {
	i, err := s.l.q.submit(e)
	if err != nil {
		return completion{}, err
	}
	s.l.q.ring()
	return s.finish(i, e.OPC, bound)
}

// finish waits for a submitted command.
func (s *Session) finish(i uint16, op uint8, bound int64) (completion, error) {
	c, q := s.c, s.l.q
	var cqe completion
	ready := func() (bool, error) {
		q.poll(queueDepth)
		var ok bool
		cqe, ok = q.done(i)
		return ok, nil
	}
	w := waiter{c: c, gen: s.gen, vector: int(q.id), end: c.clock.Now() + bound*int64(c.cfg.Slack)}
	err := w.wait(ready)
	if errors.Is(err, ErrTimeout) {
		err = s.climb(i, opName(op, false), ready)
	}
	if err != nil {
		q.abandon(i)
		return cqe, fmt.Errorf("%s: %w", opName(op, false), err)
	}
	return cqe, failure(cqe, op, false)
}

// Truncate drops the tokens from position n on.
func (s *Session) Truncate(ctx context.Context, n int) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("truncate: %w", err)
	}
	if n < 0 || n > len(s.kv) {
		return fmt.Errorf("truncate to %d of %d tokens: %w", n, len(s.kv), ErrInvalid)
	}
	e := hci.SQE{OPC: hci.OpTruncate, SID: s.sid}
	e.Put(hci.TruncateLength, uint64(n))
	if _, err := s.command(ctx, &e); err != nil {
		return err
	}
	s.kv, s.dirty = s.kv[:n], false
	return nil
}

// Prefill appends tokens to the KV.
func (s *Session) Prefill(ctx context.Context, tokens []uint32) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("prefill: %w", err)
	}
	if s.dirty {
		if err := s.Truncate(ctx, len(s.kv)); err != nil {
			return err
		}
	}
	e, err := s.prefillCommand(len(s.kv), tokens)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	cqe, err := s.run(&e, s.prefillBound(len(tokens)))
	if err != nil {
		s.stale = true // a cancelled PREFILL keeps the chunks that were done
		return err
	}
	if want := len(s.kv) + len(tokens); int(cqe.dw1()) != want {
		return fmt.Errorf("PREFILL: card has %d tokens, host %d: %w", cqe.dw1(), want, ErrProtocol)
	}
	s.kv = append(s.kv, tokens...)
	return nil
}

// prefillCommand stages tokens that will start at position at.
func (s *Session) prefillCommand(at int, tokens []uint32) (hci.SQE, error) {
	e := hci.SQE{OPC: hci.OpPrefill, SID: s.sid, PRP1: s.l.prompt.iova}
	if len(tokens) == 0 {
		return e, fmt.Errorf("prefill of no tokens: %w", ErrInvalid)
	}
	if at+len(tokens) > int(s.c.caps.Context) {
		return e, fmt.Errorf("%d tokens do not fit the context of %d: %w", at+len(tokens), s.c.caps.Context, ErrInvalid)
	}
	w := words(s.l.prompt.b)
	for i, t := range tokens {
		if t >= s.c.caps.Vocab {
			return e, fmt.Errorf("token %d of the prompt is %d, vocabulary is %d: %w", i, t, s.c.caps.Vocab, ErrInvalid)
		}
		w[i] = t
	}
	e.CDW[0] = uint32(len(tokens))
	e.CDW[1] = hci.CRC32C(s.l.prompt.b[:4*len(tokens)])
	return e, nil
}

// prefillBound is PREFILL of section 23.
func (s *Session) prefillBound(n int) int64 {
	c := &s.c.caps
	return int64(time.Second) + int64(n)*int64(c.PrefillNS)*int64(c.Sessions)*4
}

// Fork copies the session, KV and all, to a new one that any goroutine may
// own. The source must have no running stream.
func (s *Session) Fork(ctx context.Context) (*Session, error) {
	if err := s.usable(ctx); err != nil {
		return nil, fmt.Errorf("fork: %w", err)
	}
	if s.c.caps.Features&hci.FeatureFork == 0 {
		return nil, fmt.Errorf("fork: %w", ErrUnsupported)
	}
	l, err := s.c.takeLane(ctx)
	if err != nil {
		return nil, fmt.Errorf("fork: %w", err)
	}
	e := hci.SQE{OPC: hci.OpFork, SID: s.sid}
	child, err := s.c.openOn(ctx, l, &e, s.cfg)
	if err != nil {
		s.c.giveLane(l)
		return nil, fmt.Errorf("fork: %w", err)
	}
	child.kv = append(child.kv, s.kv...)
	return child, nil
}

// Close ends the session: a running stream is cancelled, the card zeroes the
// KV, and the slot is free. After a reset or loss of the card only the host's
// side is cleaned up, and that is not an error.
func (s *Session) Close() error {
	if !s.open {
		return nil
	}
	var err error
	if s.stream != nil {
		err = s.stream.Close()
	}
	s.open = false
	defer s.c.disown(s.sid)
	if s.c.alive(s.gen) == nil {
		if cerr := s.sendClose(); cerr != nil && s.c.alive(s.gen) == nil {
			// The card may still write to the ring: the lane must not be used
			// again before the card was reset.
			err = errors.Join(err, cerr, s.c.reset("CLOSE failed"))
		}
	}
	return errors.Join(err, s.release())
}

// sendClose sends CLOSE, twice if its completion was lost on the way: the
// session may be closed already then.
func (s *Session) sendClose() error {
	var err error
	for range 2 {
		e := hci.SQE{OPC: hci.OpClose, SID: s.sid}
		if _, err = s.run(&e, int64(boundIO)); !errors.Is(err, ErrTimeout) {
			break
		}
	}
	if code, _ := StatusOf(err); code == hci.StatusSessionInvalid {
		return nil
	}
	return err
}

// resync asks the card where the session is, after a command whose outcome
// the host does not know.
func (s *Session) resync(ctx context.Context) error {
	if !s.stale {
		return nil
	}
	b, err := s.c.Log(ctx, hci.LogSessions, s.slot()*64, 64, true)
	if err != nil {
		return err
	}
	var e hci.SessionEntry
	if err := hci.Unmarshal(b, &e); err != nil {
		return err
	}
	if e.SID != s.sid || e.KVLen > s.c.caps.Context {
		return fmt.Errorf("slot %d holds session %#x with %d tokens: %w", s.slot(), e.SID, e.KVLen, ErrProtocol)
	}
	s.kv = s.kv[:min(len(s.kv), int(e.KVLen))]
	s.dirty = int(e.KVLen) > len(s.kv)
	s.l.epoch, s.l.seq = e.Epoch, e.Sequence
	store32(s.l.host.b, hci.HostOffHead, e.Sequence)
	s.stale = false
	return nil
}

func (c *Card) disown(sid uint32) {
	c.ownMu.Lock()
	delete(c.owned, sid)
	c.ownMu.Unlock()
}

func (s *Session) release() error {
	s.c.giveLane(s.l)
	return nil
}
