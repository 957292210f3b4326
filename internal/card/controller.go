package card

import "github.com/hc1-toolkit/hc1/hal/hci"

// stepController carries out what register writes asked for. ok is false
// where the controller takes no commands; next then is when to look again.
func (c *Card) stepController() (next int64, ok bool) {
	r := &c.regs
	if r.disabling {
		c.teardown(CCEnable)
		r.disabling = false
		r.csts, r.ferr = 0, 0
		r.state, r.starting, r.until = stateDisabled, r.cc&1 != 0, 0
		if r.starting {
			r.state = stateStarting
		}
	}
	switch r.state {
	case stateStarting:
		if r.until == 0 {
			r.until = c.now + startNS
		}
		if c.faults.plain("never-ready") {
			return Idle, false
		}
		if c.now < r.until {
			return r.until, false
		}
		r.starting, r.until = false, 0
		if !c.startAdmin() {
			c.fatal(hci.FatalConfig)
			return Idle, false
		}
		r.state = stateReady
		r.csts |= 1
		c.note("ready")
		return c.now, true
	case stateShuttingDown:
		if r.until == 0 {
			r.until = c.now + shutdownNS
		}
		switch ended := c.shutdown(); {
		case r.state != stateShuttingDown: // the host's doing, in the middle of it
			return c.now, false
		case !ended && !c.mayMaster():
			return Idle, false
		case !ended:
			r.until = c.now + shutdownNS
		}
		if c.now < r.until {
			return r.until, false
		}
		r.until = 0
		r.state = stateShutDown
		r.csts = uint32(hci.CSTSSHST.Put(uint64(r.csts), 2))
		c.note("shut down")
	}
	if r.state == stateFatal {
		c.mayBegin()
		c.health.final(c)
	}
	return Idle, r.state == stateReady
}

// startAdmin checks CC and makes the admin queues (section 6, step 5).
func (c *Card) startAdmin() bool {
	r := &c.regs
	cc := uint64(r.cc)
	sq := uint32(hci.AQAASQS.Get(uint64(r.aqa))) + 1
	cq := uint32(hci.AQAACQS.Get(uint64(r.aqa))) + 1
	if hci.CCMPS.Get(cc) != 0 || hci.CCIOSQES.Get(cc) != 6 || hci.CCIOCQES.Get(cc) != 4 ||
		!queueSize(sq) || !queueSize(cq) || r.asq == 0 || r.acq == 0 ||
		r.asq%hci.PageSize != 0 || r.acq%hci.PageSize != 0 {
		return false
	}
	q := &c.queues[0]
	*q = queue{id: 0, sq: true, cq: true, sqBase: r.asq, cqBase: r.acq, sqSize: sq, cqSize: cq, ien: true}
	return true
}

// fatal stops the controller (section 6).
func (c *Card) fatal(code uint32) {
	r := &c.regs
	if r.state == stateFatal {
		return
	}
	c.note("fatal")
	r.state = stateFatal
	r.csts = uint32(hci.CSTSSHST.Put(uint64(r.csts), 0)) | 1<<hci.CSTSCFS.Lo
	r.ferr = code
	r.until, r.starting = 0, false
	c.posted = nil // nothing completes any more
	c.logError(0, 0xFFFF, 0, hci.StatusInternalError, 0xFFFF, code, 0)
}

// shutdown ends what runs, with a record and a completion for each. It
// reports whether the host has them all.
func (c *Card) shutdown() bool {
	c.mayBegin()
	c.flight = flight{}
	left := 0
	for _, s := range c.slots {
		if s != nil {
			c.endAll(s, hci.StatusCancelled)
			left += len(s.fifo)
		}
	}
	for i := range c.queues {
		if q := &c.queues[i]; q.cq && !q.stuck && q.nheld() > 0 {
			c.releaseHeld(q)
			left += q.nheld()
		}
	}
	c.postInterrupts()
	return left == 0 && len(c.posted) == 0 && c.msix.raised == 0
}

// checkBusMaster reports a host that gives work to a card it has not allowed
// to use the bus.
func (c *Card) checkBusMaster() {
	if c.stuckBME || c.regs.state != stateReady {
		return
	}
	for i := range c.queues {
		q := &c.queues[i]
		if q.sq && q.sqTail != q.sqHead {
			c.stuckBME = true
			c.violate(BusMaster, q.name(), "commands queued while bus mastering is off or in D3hot")
			return
		}
	}
}
