package card

import (
	"encoding/binary"
	"math"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// startPrefill checks everything before it changes anything (rule 9).
func (c *Card) startPrefill(s *session, cmd *command) result {
	count := cmd.Get(hci.PrefillCount)
	epoch := uint16(cmd.Get(hci.PrefillEpoch))
	score := cmd.Get(hci.PrefillScore) != 0
	switch {
	case cmd.PRP1 == 0 || cmd.PRP1%4 != 0:
		return badField(hci.SQEOffPRP1)
	case count == 0 || count > uint64(c.cfg.Context):
		return badField(hci.SQEOffCDW10)
	case score && !c.has(hci.FeatureScore):
		return result{hci.StatusSamplingUnsupported, 0, hci.SQEOffCDW12}
	case !score && epoch != 0:
		return badField(hci.SQEOffCDW12)
	case score && epoch != hci.NextEpoch(s.epoch):
		return result{hci.StatusEpochInvalid, uint32(hci.NextEpoch(s.epoch)), 0}
	case s.kvLen+int(count) > c.cfg.Context:
		return result{hci.StatusContextExceeded, uint32(c.cfg.Context - s.kvLen), 0}
	}
	n := int(count)
	if cap(s.prompt) < n {
		s.prompt, s.promptRaw = make([]uint32, n), make([]byte, 4*n)
	}
	s.prompt = s.prompt[:n]
	raw := s.promptRaw[:4*n]
	if !c.dmaRead(cmd.PRP1, raw) {
		return c.transferError()
	}
	if sum := hci.CRC32C(raw); uint64(sum) != cmd.Get(hci.PrefillCRC) {
		return result{hci.StatusCRCError, sum, 0}
	}
	for i := range s.prompt {
		id := binary.LittleEndian.Uint32(raw[4*i:])
		if id >= uint32(c.info.Vocab) {
			return result{hci.StatusTokenInvalid, uint32(i), 0}
		}
		s.prompt[i] = id
	}
	if free, ok := c.raise(s, s.kvLen+n); !ok {
		return result{hci.StatusKVExhausted, uint32(free), 0}
	}
	if score {
		s.epoch = epoch
	}
	s.score, s.done, s.phase = score, 0, phasePrefill
	s.acct = account{mark: c.now}
	return result{}
}

// computePrefill runs a chunk through the silicon.
func (c *Card) computePrefill(s *session, f *flight) {
	toks := s.prompt[s.done : s.done+f.n]
	if s.score {
		c.computeScore(s, f, toks)
		return
	}
	c.lock.Unlock()
	f.err = s.state.AppendLast(toks, s.logits)
	c.lock.Lock()
}

// computeScore does it with a record for each token but that at position 0:
// the token against the logits of the position before.
func (c *Card) computeScore(s *session, f *flight, toks []uint32) {
	s.scored = s.scored[:0]
	s.numeric = -1
	c.unlocked(func() {
		if s.kvLen > 0 && !s.primed { // the logits of the last token are gone: again
			last := []uint32{s.toks[s.kvLen-1]}
			s.state.Truncate(s.kvLen - 1)
			if f.err = s.state.AppendLast(last, s.logits); f.err != nil {
				return
			}
		}
		if s.kvLen > 0 {
			s.scoreToken(toks[0], s.kvLen, s.logits)
		}
		f.err = s.state.Append(toks, func(i int, logits []float32) {
			if i+1 < len(toks) {
				s.scoreToken(toks[i+1], s.kvLen+i+1, logits)
			} else {
				copy(s.logits, logits)
			}
		})
	})
}

func (s *session) scoreToken(id uint32, position int, logits []float32) {
	var top [candidates + 1]cand
	n, ok := topOf(logits, top[:])
	lse := silicon.LogSumExp(logits)
	if !ok || lse != lse {
		if s.numeric < 0 {
			s.numeric = position
		}
		return
	}
	r := hci.Record{Position: uint32(position), Count: 1, Flags: hci.FlagCommit | hci.FlagCandidates | hci.FlagScore}
	r.Payload[0] = id
	r.SetLogProb(0, logProb(logits[id], lse))
	for _, t := range top[:n] {
		if t.id == id || r.Count == candidates {
			continue
		}
		r.Payload[r.Count] = t.id
		r.SetLogProb(int(r.Count), logProb(t.l, lse))
		r.Count++
	}
	s.scored = append(s.scored, r)
}

// logProb is a log-probability as f16 (section 15.3).
func logProb(l, lse float32) uint16 {
	if math.IsInf(float64(l), -1) {
		return 0xFBFF // -65,504
	}
	return hci.Float16(l - lse)
}

// deliverPrefill ends a chunk of n tokens.
func (c *Card) deliverPrefill(s *session, n int) {
	s.toks = append(s.toks, s.prompt[s.done:s.done+n]...)
	s.kvLen += n
	s.done += n
	s.primed = true
	c.counters.Prefilled += uint64(n)
	if s.score {
		for i := range s.scored {
			if !c.writeRecord(s, &s.scored[i]) {
				c.finish(s, c.transferError())
				return
			}
		}
		if s.numeric >= 0 {
			c.finish(s, result{hci.StatusNumericError, uint32(s.numeric), 0})
			return
		}
	}
	if s.done == len(s.prompt) {
		c.finish(s, success(uint32(s.done), uint32(s.kvLen)))
	}
}
