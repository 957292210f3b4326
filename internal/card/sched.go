package card

import (
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// flight is the token step under way: computed already, and to be delivered
// when it is due (section 14).
type flight struct {
	s       *session
	n       int   // tokens of a prefill chunk; 0: a decode step
	t0, due int64 // the step's begin and end
	done    int64 // when the computation ended
	model   int64 // its nominal length at the present clock
	late    bool
	err     error
}

// schedule delivers the step under way if it is due, moves every session on
// as far as it goes without a step, and begins the next step.
func (c *Card) schedule() (next int64) {
	t0 := c.now
	if c.flight.s != nil {
		if c.now < c.flight.due {
			return c.flight.due
		}
		c.deliver()
		t0 = c.lastEnd
		if c.regs.state != stateReady || c.faults.hung || c.stopped() {
			return c.now
		}
	}
	waiting := false
	pick := -1
	for i := range c.slots {
		at := (c.turn + i) % len(c.slots)
		s := c.slots[at]
		if s == nil || len(s.fifo) == 0 {
			continue
		}
		c.advance(s, t0)
		if c.regs.state != stateReady || c.stopped() {
			return c.now
		}
		switch {
		case s.ready && pick < 0:
			pick = at
		case !s.ready && len(s.fifo) > 0:
			waiting = true
		}
	}
	if pick >= 0 {
		c.worked = true
		c.turn = (pick + 1) % len(c.slots)
		c.begin(c.slots[pick], t0)
		return c.now
	}
	if c.worked {
		return c.now
	}
	if waiting && c.now < c.looking {
		return c.now + lookStepNS
	}
	if !c.quiesce() || !c.sleep() {
		c.worked = true
	}
	return Idle
}

// advance moves the session on until its running command needs a token step
// (then s.ready) or something of the host's, or nothing is left. t0 is when
// its next step would begin: time from there on is not waited.
func (c *Card) advance(s *session, t0 int64) {
	for len(s.fifo) > 0 {
		s.ready = false
		if c.stopped() {
			return
		}
		cmd := s.fifo[0]
		if cmd.ending != 0 {
			c.endRunning(s, cmd.ending)
			continue
		}
		if !s.running {
			c.start(s, cmd)
			continue
		}
		switch s.phase {
		case phasePrefill:
			if !s.score || c.fits(s) {
				s.ready = true
			}
		case phaseDecode:
			s.ready = c.fits(s)
		case phaseMask:
			if c.maskThere(s) {
				c.sample(s)
				continue
			}
		case phaseChoice:
			if c.choiceThere(s) {
				continue
			}
		case phaseEnd:
			if c.fits(s) {
				c.endGenerate(s, s.gen.stop, success(0, 0))
				continue
			}
		}
		if len(s.fifo) == 0 || s.fifo[0] != cmd || !s.running { // an error ended it
			continue
		}
		if s.ready {
			s.acct.enter(t0, acctWait)
		} else {
			s.acct.enter(t0, acctStall)
		}
		c.awake(s)
		return
	}
	s.ready = false
}

// start begins the first command of the session's queue.
func (c *Card) start(s *session, cmd *command) {
	c.worked = true
	var r result
	if off, ok := hci.ReservedSet(&cmd.SQE, false); !ok {
		r = badField(off)
	} else if s.lost {
		r = refuse(hci.StatusKVUncorrectable)
	} else if c.power.tooHot() {
		r = refuse(hci.StatusThermal)
	} else if cmd.OPC == hci.OpPrefill {
		r = c.startPrefill(s, cmd)
	} else {
		r = c.startGenerate(s, cmd)
	}
	switch r.status {
	case hci.StatusSuccess:
		s.running = true
	case statusPutOff:
	default:
		c.finish(s, r)
	}
}

// fits reports whether the ring has room for a record. Where HEAD is wrong
// it ends the command.
func (c *Card) fits(s *session) bool {
	n, r, ok := c.room(s)
	if r.status == statusPutOff {
		return false
	}
	if !ok {
		s.full = false
		if s.fifo[0].OPC == hci.OpGenerate {
			c.endGenerate(s, hci.StopError, r)
		} else {
			c.finish(s, r)
		}
		return false
	}
	s.full = n == 0
	return n > 0
}

// awake takes back what sleep told the host, once it is no longer so.
func (c *Card) awake(s *session) {
	want := s.wait
	if s.phase != phaseChoice {
		want &^= waitChoice
	}
	if s.phase != phaseMask {
		want &^= waitMask
	}
	if want != s.wait {
		c.setWait(s, want)
	}
}

// Bits of WAIT (section 11.2).
const (
	waitChoice = 1 << 0
	waitMask   = 1 << 1
)

func (c *Card) setWait(s *session, v uint32) {
	s.wait = v
	c.store32(s.card+hci.CardOffWait, v)
}

// sleep tells the host of every session that waits for it how to wake the
// card, and looks once more. It reports false where something has come.
func (c *Card) sleep() bool {
	still := true
	for _, s := range c.slots {
		if s == nil || !s.running {
			continue
		}
		switch {
		case s.full:
			if s.hevt != s.head {
				s.hevt = s.head
				c.counters.RingStalls++
				c.store32(s.card+hci.CardOffHEVT, s.head)
			}
			if h, ok := c.load32(s.host + hci.HostOffHead); ok && h != s.head {
				still = false
			}
		case s.phase == phaseChoice:
			if s.wait&waitChoice == 0 {
				c.setWait(s, waitChoice)
			}
			if v, ok := c.load64(s.host + hci.HostOffChoice); ok && c.choiceMatches(s, v) {
				still = false
			}
		case s.phase == phaseMask:
			if s.wait&waitMask == 0 {
				c.setWait(s, waitMask)
			}
			if c.maskValid(s) {
				still = false
			}
		}
	}
	return still
}

// begin computes the session's next step. The lock is let go meanwhile; a
// reset in that time discards the result.
func (c *Card) begin(s *session, t0 int64) {
	f := &c.flight
	*f = flight{s: s, t0: t0}
	s.acct.enter(t0, acctStep)
	var begun int64
	if c.cfg.Clock != nil {
		begun = c.cfg.Clock()
	}
	if s.phase == phasePrefill {
		f.n = c.chunkSize(s)
		f.model = c.power.stepNS(int64(c.cfg.TokenNS)) * int64(f.n)
		c.computePrefill(s, f)
	} else {
		f.model = c.power.stepNS(int64(c.cfg.TokenNS))
		if s.gen.fed { // the first token is sampled from what PREFILL left
			s.tok[0] = s.gen.last
			c.lock.Unlock()
			f.err = s.state.AppendLast(s.tok[:], s.logits)
			c.lock.Lock()
		}
	}
	if c.Resetting() || c.regs.disabling || c.reset.lost || c.regs.state != stateReady {
		return // nothing is written; a reset, when it comes, zeroes the KV
	}
	f.done = c.time()
	if c.cfg.Clock != nil {
		c.pace(f, f.done-begun)
	}
	if f.n == 0 {
		s.gen.fault = c.faultAt(onToken)
		if s.gen.fault.is("slow-token") {
			f.model += int64(s.gen.fault.value("ns", 5_000_000))
			f.late = true
		}
	}
	if !c.cfg.Paced {
		f.due = f.done
		c.now = max(c.now, f.due)
		if f.late {
			f.due += f.model
		} else if !c.stopped() { // else in the step after it may again
			c.deliver()
		}
		return
	}
	f.due = t0 + f.model
}

// pace remembers how long the silicon takes for a token, so that a slow one
// gets small chunks and the card looks at its queues often enough.
func (c *Card) pace(f *flight, took int64) {
	per := took / int64(max(f.n, 1))
	c.perToken += (per - c.perToken) / 4
}

// chunkSize is the number of tokens of the next prefill chunk.
func (c *Card) chunkSize(s *session) int {
	n := min(chunk, len(s.prompt)-s.done)
	if c.perToken > 0 {
		n = min(n, max(1, int(50_000_000/c.perToken)))
	}
	if s.score {
		if room, _, ok := c.room(s); ok {
			n = min(n, int(room))
		}
	}
	return max(n, 1)
}

// maxBehind is how far behind its pace a card catches up. A machine that is
// shared stops a thread for some milliseconds now and then; silicon that is
// too slow by itself is behind all the time, and there is nothing to catch up.
const maxBehind = 20_000_000

// deliver ends the step under way.
func (c *Card) deliver() {
	f := c.flight
	c.flight = flight{}
	s := f.s
	c.worked = true
	end := f.due
	if c.cfg.Paced {
		// The silicon, or the thread that stands for it, may be behind. The
		// card then catches up, as far as the silicon is faster than the pace,
		// unless too much is owed.
		at := max(c.now, f.done)
		if at-end > int64(c.cfg.TokenNS) {
			f.late = true
		}
		if at-end > maxBehind {
			end = at
		}
	}
	c.lastEnd = end
	c.counters.BusyNS += uint64(f.model)
	s.energyNJ += c.power.charge(f.model)
	s.acct.enter(end, acctWait)
	if f.err != nil {
		c.failStep(s, refuse(hci.StatusInternalError))
		return
	}
	if f.n > 0 {
		s.prefillNS += end - f.t0
		c.deliverPrefill(s, f.n)
	} else {
		if f.late {
			c.counters.Late++
			c.counters.LateSinceReset++
			s.gen.late++
		}
		s.acct.decode += end - f.t0
		c.deliverToken(s, f.late)
	}
	c.endMarked(s)
}

// failStep ends the running command with an error.
func (c *Card) failStep(s *session, r result) {
	if s.fifo[0].OPC == hci.OpGenerate {
		c.endGenerate(s, hci.StopError, r)
		return
	}
	c.finish(s, r)
}

// account divides the time of a GENERATE into its steps, the time it could
// not run, and the time it waited for its turn.
type account struct {
	mark                int64
	now                 acctState
	decode, stall, wait int64
}

type acctState uint8

const (
	acctWait acctState = iota
	acctStall
	acctStep
)

func (a *account) enter(t int64, to acctState) {
	if d := t - a.mark; d > 0 {
		switch a.now {
		case acctWait:
			a.wait += d
		case acctStall:
			a.stall += d
		}
		a.mark = t
	}
	a.now = to
}
