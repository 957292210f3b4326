package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Score appends tokens to the KV, as Prefill does, and returns for each but
// one at position 0 its log-probability given those before it, with the best
// candidates in its place: Token.Candidates[0] is the token itself.
func (s *Session) Score(ctx context.Context, tokens []uint32) ([]Token, error) {
	if err := s.usable(ctx); err != nil {
		return nil, fmt.Errorf("score: %w", err)
	}
	if s.c.caps.Features&hci.FeatureScore == 0 {
		return nil, fmt.Errorf("score: %w", ErrUnsupported)
	}
	if s.dirty {
		if err := s.Truncate(ctx, len(s.kv)); err != nil {
			return nil, err
		}
	}
	e, err := s.prefillCommand(len(s.kv), tokens)
	if err != nil {
		return nil, err
	}
	t := &Stream{s: s, epoch: hci.NextEpoch(s.l.epoch), seq: s.l.seq, head: s.l.seq, pos: uint32(len(s.kv))}
	if t.pos == 0 {
		t.pos = 1
	}
	e.Put(hci.PrefillScore, 1)
	e.Put(hci.PrefillEpoch, uint64(t.epoch))
	slot, err := s.l.q.submit(&e)
	if err != nil {
		return nil, err
	}
	s.l.epoch = t.epoch
	s.l.q.ring()
	var out []Token
	var bad error
	var cqe completion
	ready := func() (bool, error) {
		out, bad = t.scores(out, bad)
		s.l.q.poll(queueDepth)
		var ok bool
		if cqe, ok = s.l.q.done(slot); ok {
			out, bad = t.scores(out, bad)
		}
		return ok, nil
	}
	w := waiter{c: s.c, gen: s.gen, vector: int(s.l.q.id),
		end: s.c.clock.Now() + s.prefillBound(len(tokens))*int64(s.c.cfg.Slack),
		arm: func() bool { s.arm(t.seq); return true }}
	err = w.wait(ready)
	if errors.Is(err, ErrTimeout) {
		err = s.climb(slot, "PREFILL", ready)
	}
	if err != nil {
		s.l.q.abandon(slot)
		s.stale = true
		return nil, fmt.Errorf("score: %w", err)
	}
	want := len(s.kv) + len(tokens)
	if err := failure(cqe, hci.OpPrefill, false); err != nil {
		s.stale = true
		return nil, err
	}
	switch {
	case bad != nil:
	case int(cqe.dw1()) != want:
		bad = fmt.Errorf("card has %d tokens, host %d: %w", cqe.dw1(), want, ErrProtocol)
	case int(t.pos) != want:
		bad = fmt.Errorf("scores end at position %d of %d: %w", t.pos, want, ErrProtocol)
	}
	if bad != nil {
		s.stale = true
		return nil, fmt.Errorf("score: %w", bad)
	}
	s.kv = append(s.kv, tokens...)
	return out, nil
}

// scores takes SCORE records (section 12) into out.
func (t *Stream) scores(out []Token, bad error) ([]Token, error) {
	l, c := t.s.l, t.s.c
	mask := uint32(1)<<c.cfg.RingLog2 - 1
	for bad == nil {
		i := t.seq & mask
		tail := load64(l.ring.b, int(i)*hci.RecordSize+hci.RecOffEpoch)
		if uint32(tail>>32) != t.seq || uint16(tail) != t.epoch {
			break
		}
		var r hci.Record
		getRecord(l.ring.b, i, tail, &r)
		n := int(r.Count)
		if r.Sum() != r.CRC || r.Position != t.pos || n < 1 || n > hci.MaxCandidates || r.Stop != hci.StopNone ||
			r.Flags&(hci.FlagScore|hci.FlagCandidates) != hci.FlagScore|hci.FlagCandidates {
			c.stats.BadRecords.Add(1)
			bad = fmt.Errorf("score record %d is malformed: %w", r.Sequence, ErrProtocol)
			break
		}
		tok := Token{ID: r.Payload[0], Position: r.Position, N: r.Count, LogProb: hci.Float32(r.LogProb(0))}
		for k := range n {
			if r.Payload[k] >= c.caps.Vocab {
				return out, fmt.Errorf("score record %d: token %d: %w", r.Sequence, r.Payload[k], ErrProtocol)
			}
			tok.Candidates[k] = Candidate{ID: r.Payload[k], LogProb: hci.Float32(r.LogProb(k))}
		}
		out = append(out, tok)
		t.seq++
		t.pos++
	}
	if t.seq != t.head {
		t.consume()
	}
	return out, bad
}
