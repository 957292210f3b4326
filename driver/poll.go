package driver

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Poll is the stream's core step: it takes in what the card has written and
// returns at once. n == 0 with a nil error means nothing was there. It reads
// the clock only when something moved, and neither waits nor allocates.
func (t *Stream) Poll(buf []Token) (n int, err error) {
	if t.over {
		return 0, t.err
	}
	complete := t.complete
	s := t.s
	ring, mask := s.l.ring.b, uint32(1)<<s.c.cfg.RingLog2-1
	for n < len(buf) && !t.ended {
		i := t.seq & mask
		tail := load64(ring, int(i)*hci.RecordSize+hci.RecOffEpoch)
		if uint32(tail>>32) != t.seq || uint16(tail) != t.epoch {
			break
		}
		var r hci.Record
		getRecord(ring, i, tail, &r)
		k, err := t.take(&r, buf[n:])
		if err != nil {
			t.bad(err)
			break
		}
		if k < 0 {
			break // the record has more tokens than buf has room
		}
		n += k
		t.seq++
	}
	if t.seq != t.head {
		t.consume()
		t.progress = s.c.clock.Now()
	}
	if n > 0 {
		return n, nil // the token path ends here
	}
	if t.cancel.Load() && t.cancelSent < 0 && !t.complete {
		t.sendCancel()
	}
	// The CQE follows the last record, so records are looked for once more
	// after it was seen before the stream is over.
	if complete {
		t.finish()
		return 0, t.err
	}
	if s.l.q.poll(queueDepth) > 0 {
		t.progress = s.c.clock.Now()
		t.completions()
	}
	return 0, nil
}

// consume publishes HEAD and wakes a card that sleeps on a full ring
// (section 12, flow control).
func (t *Stream) consume() {
	l := t.s.l
	store32(l.host.b, hci.HostOffHead, t.seq) // release, and a full fence
	if ev := load32(l.block.b, hci.CardOffHEVT); t.seq-ev-1 < t.seq-t.head {
		t.s.kick()
	}
	t.head = t.seq
	l.seq = t.seq
}

func (s *Session) kick() {
	s.c.stats.Kicks.Add(1)
	s.c.db.Store32(s.l.q.page+hci.DoorbellKICK, uint32(s.slot()))
}

// take checks a record's copy and turns it into tokens. It returns -1 when
// they do not fit.
func (t *Stream) take(r *hci.Record, buf []Token) (int, error) {
	if sum := r.Sum(); sum != r.CRC {
		return 0, fmt.Errorf("record %d: crc %#04x, computed %#04x", r.Sequence, r.CRC, sum)
	}
	if r.Position != t.pos {
		return 0, fmt.Errorf("record %d: position %d, expected %d", r.Sequence, r.Position, t.pos)
	}
	if r.Stop > hci.StopError {
		return 0, fmt.Errorf("record %d: stop reason %d", r.Sequence, r.Stop)
	}
	if r.Flags&hci.FlagScore != 0 {
		return 0, fmt.Errorf("record %d: score record in a generation", r.Sequence)
	}
	k := 0
	if r.Flags&hci.FlagCandidates != 0 {
		if err := t.candidates(r, &buf[0]); err != nil {
			return 0, err
		}
		k = 1
	} else {
		if int(r.Count) > hci.TokensPerIDRec || r.Count == 0 && r.Stop == hci.StopNone {
			return 0, fmt.Errorf("record %d: %d tokens", r.Sequence, r.Count)
		}
		if int(r.Count) > len(buf) {
			return -1, nil
		}
		for ; k < int(r.Count); k++ {
			id := r.Payload[k]
			if id >= t.s.c.caps.Vocab {
				return 0, fmt.Errorf("record %d: token %d, vocabulary is %d", r.Sequence, id, t.s.c.caps.Vocab)
			}
			buf[k].ID, buf[k].Position, buf[k].N = id, t.pos+uint32(k), 0
		}
		if k > 0 && r.Flags&hci.FlagCommit == 0 {
			return 0, fmt.Errorf("record %d: tokens that are not final", r.Sequence)
		}
	}
	t.pos += uint32(k)
	t.res.Tokens += k
	if k > 0 {
		t.last, t.any = buf[k-1], true
	}
	for i := range k {
		t.s.kv = append(t.s.kv, buf[i].ID)
	}
	if r.Stop != hci.StopNone {
		t.ended, t.stop = true, r.Stop
	} else if t.p.Mask != nil {
		t.publishMask(t.pos, t.last, true)
	}
	return k, nil
}

// candidates reads a candidate record and, in stepped decode, answers it.
func (t *Stream) candidates(r *hci.Record, tok *Token) error {
	n := int(r.Count)
	if n < 1 || n > int(t.s.c.caps.Candidates) || int(r.Chosen) >= n {
		return fmt.Errorf("record %d: choice %d of %d candidates", r.Sequence, r.Chosen, n)
	}
	*tok = Token{Position: r.Position, N: r.Count, Chosen: r.Chosen}
	for i := range n {
		id := r.Payload[i]
		if id >= t.s.c.caps.Vocab {
			return fmt.Errorf("record %d: candidate %d, vocabulary is %d", r.Sequence, id, t.s.c.caps.Vocab)
		}
		tok.Candidates[i] = Candidate{ID: id, LogProb: hci.Float32(r.LogProb(i))}
	}
	switch stepped := r.Flags&hci.FlagChoice != 0; {
	case stepped != (t.p.Choose != nil):
		return fmt.Errorf("record %d: choice flag %v", r.Sequence, stepped)
	case stepped:
		i := t.p.Choose(tok)
		if i < 0 || i >= n {
			i = int(r.Chosen)
		}
		tok.Chosen = uint8(i)
	case r.Flags&hci.FlagCommit == 0:
		return fmt.Errorf("record %d: token that is not final", r.Sequence)
	}
	pick := tok.Candidates[tok.Chosen]
	tok.ID, tok.LogProb = pick.ID, pick.LogProb
	if t.p.Choose != nil {
		l := t.s.l
		store64(l.host.b, hci.HostOffChoice,
			uint64(tok.ID)|uint64(t.epoch)<<32|uint64(uint16(tok.Position))<<48)
		if load32(l.block.b, hci.CardOffWait)&1 != 0 {
			t.s.kick()
		}
	}
	return nil
}

// publishMask fills the mask slot of a position (section 15.2).
func (t *Stream) publishMask(pos uint32, last Token, ok bool) {
	l := t.s.l
	slot := l.masks.b[int(pos%maskSlots)*hci.MaskStride:][:hci.MaskStride]
	n := (int(t.s.c.caps.Vocab) + 31) / 32
	bits := words(slot[:4*n])
	clear(bits)
	all := t.p.Mask(pos, last, ok, bits)
	w := words(slot[hci.MaskOffCRC:hci.MaskOffValid])
	w[0], w[1] = hci.CRC32C(slot[:4*n]), 0
	if all {
		w[1] = 1
	}
	store64(slot, hci.MaskOffValid, uint64(pos)|uint64(t.epoch)<<32|1<<48)
	if load32(l.block.b, hci.CardOffWait)&2 != 0 {
		t.s.kick()
	}
}

// bad ends the stream for a record that broke the interface: no token of it
// is delivered, and the generation is cancelled on the card.
func (t *Stream) bad(err error) {
	t.s.c.stats.BadRecords.Add(1)
	t.err = fmt.Errorf("%w: %w", ErrProtocol, err)
	t.ended, t.stop = true, hci.StopError
	t.s.c.log.Error("bad token record", "slot", t.s.slot(), "err", err)
	t.cancel.Store(true)
}

func (t *Stream) sendCancel() {
	e := hci.SQE{OPC: hci.OpCancel, SID: t.s.sid}
	i, err := t.s.l.q.submit(&e)
	if err != nil {
		return // no room now: the next Poll tries again
	}
	t.cancelSent = int(i)
	t.s.l.q.ring()
}

// completions looks at the stream's commands. The first failure is the one
// that counts: those behind it only say that something failed before them.
func (t *Stream) completions() {
	q := t.s.l.q
	take := func(slot *int, op uint8) (completion, bool) {
		if *slot < 0 {
			return completion{}, false
		}
		cqe, ok := q.done(uint16(*slot))
		if !ok {
			return cqe, false
		}
		*slot = -1
		if err := failure(cqe, op, false); err != nil && t.err == nil {
			t.err = err
		}
		return cqe, true
	}
	take(&t.truncate, hci.OpTruncate)
	if cqe, ok := take(&t.prefill, hci.OpPrefill); ok && t.err == nil {
		t.prefilled = true
		if want := t.res.Cached + len(t.fed); int(cqe.dw1()) != want {
			t.err = fmt.Errorf("PREFILL: card has %d tokens, host %d: %w", cqe.dw1(), want, ErrProtocol)
		}
	}
	if cqe, ok := take(&t.generate, hci.OpGenerate); ok {
		t.complete = true
		if cqe.status() == hci.StatusSuccess && t.err == nil {
			t.final, t.kvLen, t.settled = cqe.dw0(), int(cqe.dw1()), true
		}
	}
}

// finish settles the session once the commands have completed.
func (t *Stream) finish() {
	s := t.s
	b := s.l.block.b
	t.res.Prefill = time.Duration(load64(b, hci.CardOffPrefillNS))
	t.res.Decode = time.Duration(load64(b, hci.CardOffDecodeNS))
	t.res.Stall = time.Duration(load64(b, hci.CardOffStallNS))
	t.res.Wait = time.Duration(load64(b, hci.CardOffWaitNS))
	t.res.EnergyUJ = load64(b, hci.CardOffEnergyUJ)
	t.res.Late = load32(b, hci.CardOffLate)
	t.res.MaskLate = load32(b, hci.CardOffMaskLate)
	switch {
	case !t.settled:
		t.unsettle()
	case t.kvLen > len(s.kv):
		t.err = fmt.Errorf("GENERATE: card has %d tokens, host %d: %w", t.kvLen, len(s.kv), ErrProtocol)
		t.unsettle()
	case t.err == nil && (!t.ended || t.seq != t.final):
		t.err = fmt.Errorf("GENERATE ended at record %d, have %d: %w", t.final, t.seq, ErrProtocol)
		t.unsettle()
	default:
		s.kv = s.kv[:t.kvLen]
	}
	if t.err == nil && t.stop == hci.StopCancelled {
		t.err = ErrCancelled
	}
	t.res.Reason = Reason(t.stop)
	if t.err == nil {
		t.err = io.EOF
	}
	t.end(t.err)
}

// unsettle keeps of the KV's contents what is certain whatever became of the
// stream's commands; the session asks the card before its next one.
func (t *Stream) unsettle() {
	s := t.s
	sure := t.res.Cached
	switch {
	case t.res.Tokens > 0: // a token was sampled, so the prompt was prefilled
		sure += len(t.fed) + t.res.Tokens - 1
	case t.prefilled:
		sure += len(t.fed)
	}
	s.kv, s.stale = s.kv[:min(sure, len(s.kv))], true
}

// end releases the session from the stream.
func (t *Stream) end(err error) {
	if t.over {
		return
	}
	t.over, t.err = true, err
	switch {
	case errors.Is(err, ErrCancelled):
		t.res.Reason = ReasonCancelled
	case err != io.EOF:
		t.res.Reason = ReasonError
	}
	q := t.s.l.q
	for _, i := range []int{t.truncate, t.prefill, t.generate, t.cancelSent} {
		if i >= 0 {
			q.abandon(uint16(i))
		}
	}
	if t.unhook != nil {
		t.unhook()
	}
	t.s.stream = nil
}
