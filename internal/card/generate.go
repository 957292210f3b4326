package card

import (
	"encoding/binary"
	"math"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/sampler"
)

// generate is a running GENERATE.
type generate struct {
	max, sampled uint32
	start        int    // kv_len when it began
	last         uint32 // the token sampled last
	fed          bool   // last is to go through the model before the next is sampled
	stop         uint8  // phaseEnd: why it ended
	pick         sampler.Params
	logprobs     bool
	stepped      bool
	masked       bool
	lateStep     bool // the step in hand was late
	fault        *rule
	late         uint32
	maskLate     uint32
	stops        []uint32
	params       hci.Params
	bias         []biasEntry
	pen          penalties
	top          [candidates]cand // of the position in hand
	ntop         int
	raw          [hci.ParamsSize]byte
}

type biasEntry struct {
	id uint32
	v  float32
}

// keep hands the memory of a finished GENERATE to the next.
func (g *generate) keep(old *generate) {
	g.stops, g.bias, g.pen = old.stops[:0], old.bias[:0], old.pen
}

// startGenerate checks every field and reads the parameter block.
func (c *Card) startGenerate(s *session, cmd *command) result {
	topk := cmd.Get(hci.GenerateTopK)
	greedy := cmd.Get(hci.GenerateGreedy) != 0
	masked := cmd.Get(hci.GenerateMask) != 0
	topp := cmd.Get(hci.GenerateTopP)
	limit := uint32(cmd.Get(hci.GenerateMaxTokens))
	epoch := uint16(cmd.Get(hci.GenerateEpoch))
	switch {
	case cmd.PRP1%64 != 0 || masked && cmd.PRP1 == 0:
		return badField(hci.SQEOffPRP1)
	case limit == 0:
		return badField(hci.SQEOffCDW10)
	case topk > candidates, cmd.Get(hci.GenerateProvisional) != 0, masked && !c.has(hci.FeatureMask),
		cmd.Get(hci.GenerateStepped) != 0 && !c.has(hci.FeatureStepped),
		cmd.Get(hci.GenerateStepped) == 0 && !c.has(hci.FeatureFreeRun):
		return result{hci.StatusSamplingUnsupported, 0, hci.SQEOffCDW11}
	case !greedy && (topp < 1 || topp > 65536):
		return badField(hci.SQEOffCDW13)
	case epoch != hci.NextEpoch(s.epoch):
		return result{hci.StatusEpochInvalid, uint32(hci.NextEpoch(s.epoch)), 0}
	case s.kvLen >= c.cfg.Context:
		return refuse(hci.StatusContextExceeded)
	case !s.primed:
		return refuse(hci.StatusNotPrimed)
	}
	g := &s.gen
	old := *g
	*g = generate{max: limit, start: s.kvLen, logprobs: cmd.Get(hci.GenerateLogprobs) != 0,
		stepped: cmd.Get(hci.GenerateStepped) != 0, masked: masked}
	g.keep(&old)
	if topk == 0 {
		topk = candidates
	}
	g.pick = sampler.Params{K: int(topk), Greedy: greedy, InvTemp: uint32(cmd.Get(hci.GenerateInvTemp)), TopP: uint32(topp),
		Seed: cmd.Get(hci.GenerateSeedLo) | cmd.Get(hci.GenerateSeedHi)<<32, Choice: uint16(cmd.Get(hci.GenerateChoice))}
	if cmd.Get(hci.GenerateIgnoreEos) == 0 {
		g.stops = append(g.stops, c.info.Stops...)
	}
	if cmd.PRP1 != 0 {
		if r := c.readParams(s, cmd.PRP1); r.status != hci.StatusSuccess {
			return r
		}
	}
	if free, ok := c.raise(s, int(min(uint64(s.kvLen)+uint64(limit), uint64(c.cfg.Context)))); !ok {
		return result{hci.StatusKVExhausted, uint32(free), 0}
	}
	g.pen.begin(s, &g.params)
	s.epoch, s.phase = epoch, phaseDecode
	s.acct = account{mark: c.now}
	return result{}
}

// readParams reads the parameter block (section 15) and the bias table.
func (c *Card) readParams(s *session, iova uint64) result {
	g := &s.gen
	if !c.dmaRead(iova, g.raw[:]) {
		return c.transferError()
	}
	if sum := hci.CRC32C(g.raw[:hci.ParamOffCRC]); sum != binary.LittleEndian.Uint32(g.raw[hci.ParamOffCRC:]) {
		return result{hci.StatusCRCError, sum, 0}
	}
	p := &g.params
	if hci.Unmarshal(g.raw[:], p) != nil {
		return refuse(hci.StatusInternalError)
	}
	bad := func(off int) result { return badField(0x100 + off) }
	for _, r := range [...][2]int{{5, 8}, {hci.ParamOffBlockEdit + 4, hci.ParamOffCRC}} {
		for i := r[0]; i < r[1]; i++ {
			if g.raw[i] != 0 {
				c.violate(Reserved, "GENERATE", "reserved bytes of the parameter block are set")
				return bad(i)
			}
		}
	}
	if p.NStop > hci.MaxStopIDs {
		return bad(hci.ParamOffNStop)
	}
	for i, id := range p.Stop[:p.NStop] {
		if id >= uint32(c.info.Vocab) {
			return result{hci.StatusTokenInvalid, uint32(i), 0}
		}
		g.stops = append(g.stops, id)
	}
	for _, f := range [...]struct {
		off int
		v   float32
	}{{hci.ParamOffPresence, p.Presence}, {hci.ParamOffFrequency, p.Frequency}, {hci.ParamOffRepetition, p.Repetition}} {
		if !finite(f.v) {
			return bad(f.off)
		}
	}
	if !c.has(hci.FeaturePenalties) {
		if p.Presence != 0 || p.Frequency != 0 || p.Repetition != 0 {
			return result{hci.StatusSamplingUnsupported, 0, 0x100 + hci.ParamOffPresence}
		}
	}
	if p.Repetition < 0 {
		return bad(hci.ParamOffRepetition)
	}
	for _, f := range [...]struct {
		off  int
		bits uint32
	}{{hci.ParamOffBlockSteps, p.BlockSteps}, {hci.ParamOffBlockThreshold, math.Float32bits(p.BlockThreshold)}, {hci.ParamOffBlockEdit, math.Float32bits(p.BlockEdit)}} {
		if f.bits != 0 {
			return result{hci.StatusSamplingUnsupported, 0, uint32(0x100 + f.off)}
		}
	}
	if g.masked {
		if p.MaskSlots < 2 || p.MaskSlots > maxMaskSlots {
			return bad(hci.ParamOffMaskSlots)
		}
		if !page(p.MaskIOVA) {
			return bad(hci.ParamOffMaskIOVA)
		}
	}
	return c.readBias(g)
}

func (c *Card) readBias(g *generate) result {
	p := &g.params
	if p.BiasCount == 0 {
		return result{}
	}
	if p.BiasCount > maxBias || !c.has(hci.FeatureBias) {
		return result{hci.StatusSamplingUnsupported, 0, 0x100 + hci.ParamOffBiasCount}
	}
	if p.BiasIOVA == 0 || p.BiasIOVA%4 != 0 {
		return badField(0x100 + hci.ParamOffBiasIOVA)
	}
	b := make([]byte, 8*p.BiasCount)
	if !c.dmaRead(p.BiasIOVA, b) {
		return c.transferError()
	}
	if sum := hci.CRC32C(b); sum != p.BiasCRC {
		return result{hci.StatusCRCError, sum, 0}
	}
	for i := range int(p.BiasCount) {
		e := biasEntry{binary.LittleEndian.Uint32(b[8*i:]), math.Float32frombits(binary.LittleEndian.Uint32(b[8*i+4:]))}
		if e.id >= uint32(c.info.Vocab) {
			return result{hci.StatusTokenInvalid, uint32(i), 0}
		}
		if !finite(e.v) || i > 0 && e.id <= g.bias[i-1].id {
			return badField(0x100 + hci.ParamOffBiasIOVA)
		}
		g.bias = append(g.bias, e)
	}
	return result{}
}

func finite(f float32) bool { return !math.IsNaN(float64(f)) && !math.IsInf(float64(f), 0) }

// endGenerate ends a GENERATE: a last record where one is due, then the card
// block, then the completion (rule 13). Free-run ends by a token are written
// with the token; all others get a record of their own, if there is room.
func (c *Card) endGenerate(s *session, stop uint8, r result) {
	g := &s.gen
	reachable := r.status != hci.StatusDataTransferError && r.status != hci.StatusRingInvalid
	if reachable && (stop == hci.StopCancelled || stop == hci.StopError || g.stepped) {
		n, why, ok := c.room(s)
		if why.status == statusPutOff {
			return // nothing has changed: it is ended again
		}
		if ok && n > 0 {
			rec := hci.Record{Position: uint32(g.start) + g.sampled, Stop: stop}
			if !g.stepped {
				rec.Flags = hci.FlagCommit
			}
			if !c.writeRecord(s, &rec) {
				r = c.transferError()
			}
		}
	}
	// Rule 5: the token sampled last is not in KV.
	if want := g.start + int(max(g.sampled, 1)) - 1; s.kvLen > want {
		c.cut(s, want)
	}
	s.primed = false
	if s.wait != 0 {
		c.setWait(s, 0)
	}
	if behind := c.now - c.lastEnd; c.cfg.Paced && behind > 0 && g.sampled > 0 && s.acct.mark == c.lastEnd {
		s.acct.decode += behind // the step ended on paper before it did
		s.acct.mark = c.now
	}
	s.acct.enter(max(c.now, s.acct.mark), acctWait)
	if !c.writeAccount(s) && r.status == hci.StatusSuccess {
		r = c.transferError()
	}
	s.prefillNS, s.energyNJ = 0, 0
	switch r.status {
	case hci.StatusSuccess, hci.StatusCancelled, hci.StatusAbortRequested, hci.StatusAbortedSQDeletion:
		r.dw0, r.dw1 = s.seq, uint32(s.kvLen)
	}
	c.finish(s, r)
}

// writeAccount writes the card block but for HEVT and WAIT.
func (c *Card) writeAccount(s *session) bool {
	g, le := &s.gen, binary.LittleEndian
	b := c.block[:]
	clear(b)
	at := func(off int, v uint64) { le.PutUint64(b[off-hci.CardOffPrefillNS:], v) }
	at(hci.CardOffPrefillNS, uint64(s.prefillNS))
	at(hci.CardOffDecodeNS, uint64(s.acct.decode))
	at(hci.CardOffStallNS, uint64(s.acct.stall))
	at(hci.CardOffWaitNS, uint64(s.acct.wait))
	at(hci.CardOffEnergyUJ, s.energyNJ/1000)
	at(hci.CardOffTokens, uint64(g.sampled)|uint64(g.late)<<32)
	le.PutUint32(b[hci.CardOffMaskLate-hci.CardOffPrefillNS:], g.maskLate)
	return c.dmaWrite(s.card+hci.CardOffPrefillNS, b)
}
