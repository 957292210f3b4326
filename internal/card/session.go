package card

import (
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// phase is what a running command needs next.
type phase uint8

const (
	phasePrefill phase = iota // a chunk
	phaseDecode               // a decode step
	phaseMask                 // the mask for a position whose logits are there
	phaseChoice               // the host's choice
	phaseEnd                  // room for the record that ends a stepped GENERATE
)

// session is a KV slot (section 11).
type session struct {
	slot    int
	sid     uint32
	state   silicon.State
	logits  []float32 // after the last token, if primed
	toks    []uint32  // in KV
	kvLen   int
	primed  bool
	epoch   uint16
	seq     uint32 // of the next record
	reserve int
	charge  int
	tokens  uint64 // decoded

	ring, host, card uint64 // IOVAs
	entries          uint32 // of the ring
	iv               uint16
	head             uint32 // HEAD as last read
	full             bool   // the ring has no room
	hevt             uint32 // as last written, if slept
	wait             uint32 // WAIT as last written

	fifo    []*command // the first one runs when running is set
	running bool
	ready   bool // for the scheduler: has a step to run
	phase   phase
	arm     armState

	// PREFILL
	prompt    []uint32
	promptRaw []byte
	done      int  // tokens appended
	score     bool // with records
	scored    []hci.Record
	numeric   int // position of a logit that is not a number, or -1
	prefillNS int64
	energyNJ  uint64
	lost      bool // its KV has an uncorrectable error

	gen  generate
	acct account
	tok  [1]uint32 // argument of the forward pass
}

// execIO carries out an I/O command (section 11).
func (c *Card) execIO(cmd *command) {
	switch cmd.OPC {
	case hci.OpOpen, hci.OpPrefill, hci.OpGenerate, hci.OpCancel, hci.OpTruncate, hci.OpFork, hci.OpClose:
		if cmd.OPC == hci.OpFork && !c.has(hci.FeatureFork) {
			c.complete(cmd, refuse(hci.StatusInvalidOpcode))
			return
		}
	default:
		c.complete(cmd, refuse(hci.StatusInvalidOpcode))
		return
	}
	off, ok := hci.ReservedSet(&cmd.SQE, false)
	if !ok {
		c.violate(Reserved, cmd.q.name(), opName(cmd.OPC, false)+" has reserved fields set")
	}
	if cmd.OPC == hci.OpOpen {
		switch {
		case !ok:
			c.complete(cmd, badField(off))
		case cmd.SID != 0:
			c.complete(cmd, badField(hci.SQEOffSID))
		default:
			c.opened(cmd, c.open(cmd, nil))
		}
		return
	}
	s := c.session(cmd.SID)
	if s == nil {
		c.complete(cmd, refuse(hci.StatusSessionInvalid))
		return
	}
	switch cmd.OPC {
	case hci.OpPrefill, hci.OpGenerate: // the fields are checked when it starts
		if len(s.fifo) >= depth {
			c.complete(cmd, refuse(hci.StatusSessionBusy))
			return
		}
		cmd.s = s
		s.fifo = append(s.fifo, cmd)
		return
	}
	if !ok {
		c.complete(cmd, badField(off))
		return
	}
	if cmd.OPC == hci.OpCancel {
		c.cancel(s, cmd)
		return
	}
	if len(s.fifo) > 0 {
		c.complete(cmd, refuse(hci.StatusSessionBusy))
		return
	}
	if s.lost && cmd.OPC != hci.OpClose {
		c.complete(cmd, refuse(hci.StatusKVUncorrectable))
		return
	}
	switch cmd.OPC {
	case hci.OpTruncate:
		c.complete(cmd, c.truncate(s, cmd))
	case hci.OpFork:
		c.opened(cmd, c.open(cmd, s))
	case hci.OpClose:
		c.release(s)
		c.slots[s.slot] = nil
		c.charged -= s.charge
		c.spare = append(c.spare, s)
		c.complete(cmd, success(0, 0))
	}
}

// opened ends an OPEN or FORK.
func (c *Card) opened(cmd *command, r result) {
	if r.status == statusPutOff {
		c.unfetch(cmd)
		return
	}
	c.complete(cmd, r)
}

func (c *Card) session(sid uint32) *session {
	slot := int(sid & 0xFFFF)
	if slot >= len(c.slots) || c.slots[slot] == nil || c.slots[slot].sid != sid {
		return nil
	}
	return c.slots[slot]
}

// open is OPEN, and FORK where from is not nil: their fields are the same.
func (c *Card) open(cmd *command, from *session) result {
	log2 := cmd.Get(hci.OpenRingLog2)
	seq := uint32(cmd.Get(hci.OpenSequence))
	iv := cmd.Get(hci.OpenIV)
	reserve := cmd.Get(hci.OpenReserve)
	kv := 0
	if from != nil {
		kv = from.kvLen
	}
	switch {
	case cmd.MPTR == 0 || cmd.MPTR%hci.CardBlockSize != 0:
		return badField(hci.SQEOffMPTR)
	case !page(cmd.PRP1):
		return badField(hci.SQEOffPRP1)
	case cmd.PRP2 == 0 || cmd.PRP2%hci.HostBlockSize != 0:
		return badField(hci.SQEOffPRP2)
	case log2 < ringMin || log2 > ringMax:
		return badField(hci.SQEOffCDW10)
	case reserve > uint64(c.cfg.Context):
		return badField(hci.SQEOffCDW13)
	case iv >= NumVectors:
		return refuse(hci.StatusVectorInvalid)
	case from == nil && cmd.Get(hci.OpenAID) != 0:
		return refuse(hci.StatusAdapterInvalid)
	case c.power.tooHot():
		return refuse(hci.StatusThermal)
	}
	slot := -1
	for i, s := range c.slots {
		if s == nil {
			slot = i
			break
		}
	}
	if slot < 0 {
		return refuse(hci.StatusSessionLimit)
	}
	charge := max(int(reserve), kv)
	if c.charged+charge > c.cfg.KVBudget {
		return result{hci.StatusKVExhausted, uint32(c.cfg.KVBudget - c.charged), 0}
	}
	// The blocks are looked at now, so that a wrong address is known at once.
	head, ok := c.load32(cmd.PRP2 + hci.HostOffHead)
	if !ok || !c.store32(cmd.MPTR+hci.CardOffHEVT, seq-1) {
		return c.transferError()
	}
	if head != seq {
		c.violate(Sequence, "OPEN", "HEAD of the host block is not SEQUENCE")
		if seq-head > 1<<log2 {
			return refuse(hci.StatusRingInvalid)
		}
	}
	s := c.newSession()
	c.gens[slot]++
	if c.gens[slot] == 0 || c.gens[slot] == 0xFFFF {
		c.gens[slot] = 1
	}
	s.slot, s.sid = slot, uint32(slot)|uint32(c.gens[slot])<<16
	s.card, s.ring, s.host = cmd.MPTR, cmd.PRP1, cmd.PRP2
	s.entries, s.iv = 1<<log2, uint16(iv)
	s.seq, s.head, s.hevt = seq, head, seq-1
	s.epoch = uint16(cmd.Get(hci.OpenEpoch))
	s.reserve, s.charge = int(reserve), charge
	if from != nil {
		s.state = from.state.Fork()
		s.kvLen, s.primed = from.kvLen, from.primed
		s.toks = append(s.toks[:0], from.toks...)
		copy(s.logits, from.logits)
	}
	c.charged += charge
	c.slots[slot] = s
	return success(s.sid, uint32(s.kvLen))
}

// newSession returns an empty session, with the memory of a closed one where
// there is one.
func (c *Card) newSession() *session {
	if n := len(c.spare); n > 0 {
		old := c.spare[n-1]
		c.spare = c.spare[:n-1]
		s := &session{state: old.state, logits: old.logits, toks: old.toks[:0], fifo: old.fifo[:0], prompt: old.prompt[:0], promptRaw: old.promptRaw, scored: old.scored[:0]}
		s.gen.keep(&old.gen)
		*old = *s
		return old
	}
	return &session{
		state:  c.cfg.Engine.NewState(),
		logits: make([]float32, c.info.Vocab),
		toks:   make([]uint32, 0, 256),
		fifo:   make([]*command, 0, depth),
	}
}

// release overwrites what the session knew.
func (c *Card) release(s *session) {
	s.state.Zero()
	clear(s.logits)
	clear(s.toks[:cap(s.toks)])
	clear(s.prompt[:cap(s.prompt)])
	clear(s.promptRaw)
	s.fifo = s.fifo[:0]
}

func (c *Card) truncate(s *session, cmd *command) result {
	n := cmd.Get(hci.TruncateLength)
	if n > uint64(s.kvLen) {
		return badField(hci.SQEOffCDW10)
	}
	if int(n) < s.kvLen {
		c.cut(s, int(n))
		s.primed = false
	}
	c.recharge(s, 0)
	return success(0, uint32(s.kvLen))
}

// cut drops the tokens from position n on.
func (c *Card) cut(s *session, n int) {
	s.state.Truncate(n)
	s.toks = s.toks[:n]
	s.kvLen = n
}

// recharge sets the charge to what the session needs, at least want.
func (c *Card) recharge(s *session, want int) {
	n := max(s.reserve, s.kvLen, want)
	c.charged += n - s.charge
	s.charge = n
}

// raise charges the session for want tokens, or reports how many are free.
func (c *Card) raise(s *session, want int) (free int, ok bool) {
	if n := max(s.reserve, s.kvLen, want); c.charged-s.charge+n > c.cfg.KVBudget {
		return c.cfg.KVBudget - c.charged, false
	}
	c.recharge(s, want)
	return 0, true
}

// cancel is CANCEL (rule 10): its completion comes after those it ends.
func (c *Card) cancel(s *session, cmd *command) {
	if len(s.fifo) == 0 {
		c.complete(cmd, success(0, uint32(s.kvLen)))
		return
	}
	for _, x := range s.fifo {
		if x.ending == 0 {
			x.ending, x.canceller = hci.StatusCancelled, cmd
		}
	}
	last := s.fifo[len(s.fifo)-1]
	last.waiters = append(last.waiters, cmd)
	cmd.waiting = s
	c.endMarked(s)
}

// endMarked ends the commands at the head of the session's queue that are to
// end, unless a step of the first is under way. What the host stops here is
// left to a later step.
func (c *Card) endMarked(s *session) {
	for len(s.fifo) > 0 && s.fifo[0].ending != 0 && c.flight.s != s && !c.stopped() {
		c.endRunning(s, s.fifo[0].ending)
	}
}

// endRunning ends the first command of the session with a status that is not
// its own doing.
func (c *Card) endRunning(s *session, status hci.Status) {
	cmd := s.fifo[0]
	switch {
	case s.running && cmd.OPC == hci.OpGenerate:
		c.endGenerate(s, hci.StopCancelled, refuse(status))
	case s.running:
		c.finish(s, result{status, uint32(s.done), uint32(s.kvLen)})
	default:
		c.finish(s, c.unstarted(s, cmd, status))
	}
}

// unstarted is how a command ends that never began.
func (c *Card) unstarted(s *session, cmd *command, status hci.Status) result {
	if status == hci.StatusCommandSequenceError {
		return refuse(status) // no results: section 11.1
	}
	if cmd.OPC == hci.OpGenerate {
		return result{status, s.seq, uint32(s.kvLen)}
	}
	return result{status, 0, uint32(s.kvLen)}
}

// endAll ends everything the session has (shutdown).
func (c *Card) endAll(s *session, status hci.Status) {
	for _, x := range s.fifo {
		if x.ending == 0 {
			x.ending = status
		}
	}
	c.endMarked(s)
}

// finish ends the first command of the session's queue. Rule 3: when it
// failed, those behind it end too.
func (c *Card) finish(s *session, r result) {
	s.running, s.ready, s.full = false, false, false
	c.recharge(s, 0)
	c.endFirst(s, 0, r)
}

// endBehind ends the commands from index i on.
func (c *Card) endBehind(s *session, i int) {
	for len(s.fifo) > i {
		cmd := s.fifo[i]
		status := cmd.ending
		if status == 0 {
			status = hci.StatusCommandSequenceError
		}
		c.endFirst(s, i, c.unstarted(s, cmd, status))
	}
}

// endFirst takes the command at index i out and completes it; where it
// failed those behind it end too (rule 3), and then whoever waited for it.
func (c *Card) endFirst(s *session, i int, r result) {
	cmd := s.fifo[i]
	copy(s.fifo[i:], s.fifo[i+1:])
	s.fifo = s.fifo[:len(s.fifo)-1]
	if cmd.canceller != nil && r.status == hci.StatusCancelled {
		cmd.canceller.count++
	}
	waiters := cmd.waiters
	cmd.waiters = nil
	c.complete(cmd, r)
	if r.status != hci.StatusSuccess {
		c.endBehind(s, i)
	}
	for _, w := range waiters {
		c.settleWaiter(w)
	}
}
