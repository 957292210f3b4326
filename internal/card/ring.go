package card

import (
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// writeRecord puts a record into the session's ring: bytes 0..55, then 56..63
// as one store (section 12).
func (c *Card) writeRecord(s *session, r *hci.Record) bool {
	r.Epoch, r.Sequence = s.epoch, s.seq
	r.CRC = r.Sum()
	f := c.faultAt(onRecord)
	switch {
	case f.is("corrupt-record"):
		r.Payload[0] ^= 1 << 7
	case f.is("stale-record"):
		r.Epoch--
		r.CRC = r.Sum()
	case f.is("lost-record"):
		s.seq++
		return true
	}
	r.Encode(&c.rec)
	at := s.ring + uint64(s.seq&(s.entries-1))*hci.RecordSize
	ok := true
	if f.is("torn-record") { // the tail overtakes the body
		ok = c.store64(at+56, r.Tail())
	}
	if !ok || !c.dmaWrite(at, c.rec[:56]) || !c.store64(at+56, r.Tail()) {
		return false
	}
	s.seq++
	return true
}

// room is how many records fit. It reads HEAD again only when the ring looks
// full; ok is false where HEAD is impossible or out of reach, and r says why.
func (c *Card) room(s *session) (n uint32, r result, ok bool) {
	if used := s.seq - s.head; used < s.entries {
		return s.entries - used, r, true
	}
	if r, ok = c.readRingHead(s); !ok {
		return 0, r, false
	}
	return s.entries - (s.seq - s.head), r, true
}

// readRingHead takes HEAD over.
func (c *Card) readRingHead(s *session) (result, bool) {
	h, ok := c.load32(s.host + hci.HostOffHead)
	if !ok {
		return c.transferError(), false
	}
	if s.seq-h > s.entries {
		c.violate(HeadBack, fmt.Sprintf("session %#x", s.sid), fmt.Sprintf("HEAD %d is outside the ring: next sequence %d, %d entries", h, s.seq, s.entries))
		return refuse(hci.StatusRingInvalid), false
	}
	if int32(h-s.head) < 0 {
		c.violate(HeadBack, fmt.Sprintf("session %#x", s.sid), fmt.Sprintf("HEAD went from %d to %d", s.head, h))
	}
	s.head = h
	return result{}, true
}

// armState is a one-shot request for an interrupt (section 13).
type armState struct {
	on       bool
	fresh    bool // came since the queues were looked at
	seq      uint32
	delay    int64
	deadline int64 // 0: no delay
}

// arm records an ARM. A step looks at it.
func (c *Card) arm(v uint64) {
	slot := int(hci.ArmSlot.Get(v))
	if slot >= len(c.slots) || c.slots[slot] == nil {
		return
	}
	c.slots[slot].arm = armState{on: true, fresh: true, seq: uint32(hci.ArmSequence.Get(v)), delay: int64(hci.ArmDelay.Get(v)) * 1000}
}

// noteArms takes over the ARMs that came so far, before the queues are looked
// at: a host arms behind its commands, and those then count as queued.
func (c *Card) noteArms() {
	for _, s := range c.slots {
		if s == nil || !s.arm.fresh {
			continue
		}
		a := &s.arm
		a.fresh = false
		if a.delay != 0 {
			a.deadline = c.now + a.delay
		}
	}
}

// serviceArms fires what is due and returns when the next delay ends.
func (c *Card) serviceArms() int64 {
	next := int64(Idle)
	for _, s := range c.slots {
		if s == nil || !s.arm.on {
			continue
		}
		a := &s.arm
		due := !a.fresh && c.armDue(s)
		switch {
		case a.fresh: // came in the middle of this step, now at the latest
			next = c.now
		case due:
			a.on = false
			c.msix.raise(s.iv)
		case a.deadline > c.now:
			next = min(next, a.deadline)
		}
	}
	return next
}

func (c *Card) armDue(s *session) bool {
	a := &s.arm
	if int32(s.seq-a.seq) > 0 || len(s.fifo) == 0 {
		return true
	}
	late := a.deadline != 0 && c.now >= a.deadline
	if !s.full && (!late || s.seq == s.head) {
		return false
	}
	// The host may have consumed records since the last look.
	if r, ok := c.readRingHead(s); !ok {
		return r.status != statusPutOff
	}
	return s.seq-s.head == s.entries || late && s.seq != s.head
}
