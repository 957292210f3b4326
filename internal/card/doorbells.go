package card

import (
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// writeDoorbell is a write to BAR2. It only records: a step does the work.
func (c *Card) writeDoorbell(off, width int, v uint64) {
	page, reg := off/hci.PageSize, off%hci.PageSize
	if c.regs.state == stateFatal {
		return
	}
	// A host takes completions while it shuts down too.
	if c.regs.state != stateReady && (reg != hci.DoorbellCQHDBL || c.regs.csts&1 == 0) {
		c.violate(Sequence, where(hci.BARDoorbells, off), "doorbell while the controller is not ready")
		return
	}
	switch {
	case reg == hci.DoorbellSQTDBL && width == 4:
		c.counters.Doorbells++
		c.tailDoorbell(page, uint32(v))
	case reg == hci.DoorbellCQHDBL && width == 4:
		c.counters.Doorbells++
		c.headDoorbell(page, uint32(v))
	case reg == hci.DoorbellKICK && width == 4:
		c.counters.Kicks++
		if v>>16 != 0 {
			c.violate(Reserved, where(hci.BARDoorbells, off), fmt.Sprintf("KICK of %#x", v))
		}
	case reg == hci.DoorbellARM && width == 8:
		c.counters.Arms++
		c.arm(v)
	case reg == hci.DoorbellARM && width == 4:
		// A transport without 64-bit accesses splits the store, low half first.
		c.armLow[page] = uint32(v)
	case reg == hci.DoorbellARM+4 && width == 4:
		c.counters.Arms++
		c.arm(v<<32 | uint64(c.armLow[page]))
	case reg <= hci.DoorbellKICK+4:
		c.violate(Width, where(hci.BARDoorbells, off), fmt.Sprintf("doorbell write of %d bytes", width))
	default:
		c.violate(ReadOnly, where(hci.BARDoorbells, off), "write of a reserved doorbell")
	}
}

func (c *Card) tailDoorbell(page int, v uint32) {
	q := &c.queues[page]
	if !q.sq {
		c.violate(Doorbell, q.name(), "tail doorbell of a submission queue that does not exist")
		return
	}
	if v >= q.sqSize {
		c.violate(Overrun, q.name(), fmt.Sprintf("tail %d in a queue of %d", v, q.sqSize))
		c.fatal(hci.FatalDoorbell)
		return
	}
	if c.shadowed(q) {
		return // only a reason to read the shadow word
	}
	adv := (v - q.sqTail) & (q.sqSize - 1)
	if q.sqTail-q.sqHead+adv > q.sqSize-1 {
		c.violate(Overrun, q.name(), fmt.Sprintf("tail %d passes the head: %d entries in a queue of %d", v, q.sqTail-q.sqHead+adv, q.sqSize))
		adv = (v - q.sqHead) & (q.sqSize - 1)
		q.sqTail = q.sqHead
	}
	q.sqTail += adv
}

func (c *Card) headDoorbell(page int, v uint32) {
	q := &c.queues[page]
	if !q.cq {
		c.violate(Doorbell, q.name(), "head doorbell of a completion queue that does not exist")
		return
	}
	if v >= q.cqSize {
		c.violate(Overrun, q.name(), fmt.Sprintf("head %d in a queue of %d", v, q.cqSize))
		c.fatal(hci.FatalDoorbell)
		return
	}
	if c.shadowed(q) {
		return
	}
	adv := (v - q.cqHead) & (q.cqSize - 1)
	if adv > q.cqTail-q.cqHead {
		c.violate(Overrun, q.name(), fmt.Sprintf("head %d passes the %d completions there are", v, q.cqTail-q.cqHead))
		return
	}
	q.cqHead += adv
}

// shadowState is what DOORBELL BUFFER CONFIG set (section 4.1).
type shadowState struct {
	on           bool
	words, event uint64
}

func (c *Card) shadowed(q *queue) bool { return c.shadow.on && q.id != 0 }

func (c *Card) shadowWord(q *queue, off uint64) uint64 {
	return c.shadow.words + uint64(q.id)*hci.ShadowStride + off
}

// readTail takes the shadow tail over. It reports whether it has moved.
func (c *Card) readTail(q *queue) bool {
	v, ok := c.load32(c.shadowWord(q, hci.ShadowOffSQT))
	if !ok {
		if !c.putOff {
			c.stopQueue(q)
		}
		return false
	}
	if v == q.sqTail {
		return false
	}
	if v-q.sqHead > q.sqSize-1 || int32(v-q.sqTail) < 0 {
		c.violate(Overrun, q.name(), fmt.Sprintf("shadow tail %d: head %d, tail was %d, queue of %d", v, q.sqHead, q.sqTail, q.sqSize))
		c.fatal(hci.FatalDoorbell)
		return false
	}
	q.sqTail = v
	return true
}

// readHead takes the shadow completion head over.
func (c *Card) readHead(q *queue) bool {
	v, ok := c.load32(c.shadowWord(q, hci.ShadowOffCQH))
	if !ok {
		if !c.putOff {
			c.stopQueue(q)
		}
		return false
	}
	if v == q.cqHead {
		return false
	}
	if v-q.cqHead > q.cqTail-q.cqHead {
		c.violate(Overrun, q.name(), fmt.Sprintf("shadow head %d: head was %d, tail %d", v, q.cqHead, q.cqTail))
		c.fatal(hci.FatalDoorbell)
		return false
	}
	q.cqHead = v
	return true
}

func (c *Card) writeEvent(q *queue, off uint64, v uint32) {
	if !c.store32(c.shadow.event+uint64(q.id)*hci.ShadowStride+off, v) {
		c.stopQueue(q)
	}
}

// quiesce leaves the event indexes behind before the card stops looking at
// its queues. It reports false where a word moved meanwhile.
func (c *Card) quiesce() bool {
	still := true
	for i := 1; i < len(c.queues) && c.shadow.on; i++ {
		q := &c.queues[i]
		if q.sq && !q.stuck {
			if q.sqEvent != q.sqTail {
				q.sqEvent = q.sqTail
				c.writeEvent(q, hci.ShadowOffSQT, q.sqTail)
			}
			if c.readTail(q) {
				still = false
			}
		}
		if q.cq && !q.stuck && q.nheld() > 0 {
			if q.cqEvent != q.cqHead {
				q.cqEvent = q.cqHead
				c.writeEvent(q, hci.ShadowOffCQH, q.cqHead)
			}
			if c.readHead(q) {
				still = false
			}
		}
	}
	return still && c.regs.state == stateReady
}
