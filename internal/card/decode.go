package card

import (
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/sampler"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// deliverToken ends a decode step: the logits for the next position are at
// hand. With a mask that is not there the session waits for it.
func (c *Card) deliverToken(s *session, late bool) {
	g := &s.gen
	if g.fed {
		s.toks = append(s.toks, g.last)
		s.kvLen++
		g.fed = false
	}
	g.lateStep = late
	if g.masked && !c.maskValid(s) {
		if !s.running {
			return
		}
		s.phase = phaseMask
		g.maskLate++
		c.counters.MaskLate++
		s.acct.enter(c.lastEnd, acctStall)
		return
	}
	c.sample(s)
}

// sample chooses among the logits in hand and writes the record
// (sections 15 and 16).
func (c *Card) sample(s *session) {
	g := &s.gen
	c.worked = true
	p := uint32(s.kvLen)
	logits := s.logits
	if g.adjusted() {
		logits = c.adjust(s)
	}
	var ok bool
	if g.masked {
		allowed, r := c.readMask(s)
		if r.status == statusPutOff {
			s.phase = phaseMask
			return
		}
		if r.status != hci.StatusSuccess {
			c.endGenerate(s, hci.StopError, r)
			return
		}
		g.ntop, ok = c.topMasked(logits, g.top[:], allowed)
	} else {
		g.ntop, ok = topOf(logits, g.top[:])
	}
	if f := g.fault; f != nil {
		g.fault = nil
		ok = ok && !f.is("numeric")
		if c.tokenFault(s, f) {
			return
		}
	}
	if !ok {
		c.endGenerate(s, hci.StopError, result{hci.StatusNumericError, p, 0})
		return
	}
	if g.ntop == 0 {
		c.endGenerate(s, hci.StopError, result{hci.StatusMaskInvalid, p, 0})
		return
	}
	k := min(g.pick.K, g.ntop)
	for i := range k {
		c.pickFrom[i] = g.top[i].l
	}
	chosen := sampler.Pick(c.pickFrom[:k], g.pick, p, 0)
	c.counters.Tokens++
	s.tokens++
	rec := hci.Record{Position: p}
	if g.lateStep {
		rec.Flags |= hci.FlagLate
	}
	if g.logprobs || g.stepped {
		lse := silicon.LogSumExp(s.logits)
		rec.Flags |= hci.FlagCandidates
		rec.Count, rec.Chosen = uint8(g.ntop), uint8(chosen)
		for i, t := range g.top[:g.ntop] {
			rec.Payload[i] = t.id
			rec.SetLogProb(i, logProb(s.logits[t.id], lse))
		}
	} else {
		rec.Count = 1
		rec.Payload[0] = g.top[chosen].id
	}
	if g.stepped {
		rec.Flags |= hci.FlagChoice
		s.phase = phaseChoice
		if !c.writeRecord(s, &rec) {
			c.endGenerate(s, hci.StopError, c.transferError())
		}
		return
	}
	rec.Flags |= hci.FlagCommit
	stop := c.take(s, g.top[chosen].id)
	rec.Stop = stop
	if !c.writeRecord(s, &rec) {
		g.sampled-- // the host never sees it
		c.endGenerate(s, hci.StopError, c.transferError())
		return
	}
	s.phase = phaseDecode
	if stop != hci.StopNone {
		c.endGenerate(s, stop, success(0, 0))
	}
}

// take makes id the token at the position in hand and says whether it is the
// last one.
func (c *Card) take(s *session, id uint32) (stop uint8) {
	g := &s.gen
	g.sampled++
	g.last, g.fed = id, true
	g.pen.add(id)
	for _, x := range g.stops {
		if x == id {
			return hci.StopStopToken
		}
	}
	switch {
	case g.sampled == g.max:
		return hci.StopMaxTokens
	case s.kvLen == c.cfg.Context-1:
		return hci.StopContext
	}
	return hci.StopNone
}

// choiceMatches reports whether a CHOICE is for the position in hand.
func (c *Card) choiceMatches(s *session, v uint64) bool {
	return uint16(v>>32) == s.epoch && uint16(v>>48) == uint16(s.kvLen)
}

// choiceThere takes the host's choice (section 15.1), where there is one.
func (c *Card) choiceThere(s *session) bool {
	v, ok := c.load64(s.host + hci.HostOffChoice)
	if !ok {
		r := c.transferError()
		if r.status == statusPutOff {
			return false
		}
		c.endGenerate(s, hci.StopError, r)
		return true
	}
	if !c.choiceMatches(s, v) {
		return false
	}
	c.worked = true
	g := &s.gen
	id := uint32(v)
	for _, t := range g.top[:g.ntop] {
		if t.id != id {
			continue
		}
		s.phase = phaseDecode
		if stop := c.take(s, id); stop != hci.StopNone {
			g.stop, s.phase = stop, phaseEnd
		}
		return true
	}
	c.endGenerate(s, hci.StopError, result{hci.StatusChoiceInvalid, uint32(s.kvLen), 0})
	return true
}
