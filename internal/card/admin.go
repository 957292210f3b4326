package card

import (
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// adminState is what the admin queue keeps between commands.
type adminState struct {
	aers     []*command // ASYNC EVENT REQUESTs
	aborts   int        // ABORTs that wait for a step boundary
	deleting int        // DELETE_IO_SQs that do
}

// blocked reports whether the next admin command has to wait (section 9).
func (a *adminState) blocked() bool { return a.deleting > 0 }

// features of this card (section 10).
const cardFeatures = hci.FeatureMask | hci.FeatureBias | hci.FeaturePenalties | hci.FeatureScore |
	hci.FeatureStepped | hci.FeatureFreeRun | hci.FeatureFork | hci.FeatureShadow |
	hci.FeatureSelftest | hci.FeaturePowerCap

// has reports whether the card has a capability.
func (c *Card) has(bit uint32) bool { return cardFeatures&^c.cfg.Without&bit != 0 }

// execAdmin carries out an admin command (section 9).
func (c *Card) execAdmin(cmd *command) {
	switch cmd.OPC {
	case hci.AdminDeleteIOSQ, hci.AdminCreateIOSQ, hci.AdminGetLogPage, hci.AdminDeleteIOCQ, hci.AdminCreateIOCQ,
		hci.AdminIdentify, hci.AdminAbort, hci.AdminSetFeatures, hci.AdminGetFeatures, hci.AdminAsyncEventRequest,
		hci.AdminSelfTest, hci.AdminDoorbellBufferConfig, hci.AdminHealthRecordConfig:
		if cmd.OPC == hci.AdminSelfTest && !c.has(hci.FeatureSelftest) ||
			cmd.OPC == hci.AdminDoorbellBufferConfig && !c.has(hci.FeatureShadow) {
			c.complete(cmd, refuse(hci.StatusInvalidOpcode))
			return
		}
	default: // reserved, or without its capability bit
		c.complete(cmd, refuse(hci.StatusInvalidOpcode))
		return
	}
	if off, ok := hci.ReservedSet(&cmd.SQE, true); !ok {
		c.violate(Reserved, "admin command", opName(cmd.OPC, true)+" has reserved fields set")
		c.complete(cmd, badField(off))
		return
	}
	switch cmd.OPC {
	case hci.AdminDeleteIOSQ:
		c.deleteSQ(cmd)
	case hci.AdminAbort:
		c.abort(cmd)
	case hci.AdminAsyncEventRequest:
		if len(c.admin.aers) >= aerLimit {
			c.complete(cmd, refuse(hci.StatusAERLimit))
			return
		}
		c.admin.aers = append(c.admin.aers, cmd)
		c.reportEvents()
	default:
		c.complete(cmd, c.adminResult(cmd))
	}
}

// adminResult carries out the commands that complete when fetched.
func (c *Card) adminResult(cmd *command) result {
	switch cmd.OPC {
	case hci.AdminCreateIOSQ:
		return c.createSQ(cmd)
	case hci.AdminCreateIOCQ:
		return c.createCQ(cmd)
	case hci.AdminDeleteIOCQ:
		return c.deleteCQ(cmd)
	case hci.AdminIdentify:
		return c.identify(cmd)
	case hci.AdminGetLogPage:
		return c.getLogPage(cmd)
	case hci.AdminSetFeatures:
		return c.setFeatures(cmd)
	case hci.AdminGetFeatures:
		return c.getFeatures(cmd)
	case hci.AdminSelfTest:
		return c.startSelfTest(cmd)
	case hci.AdminDoorbellBufferConfig:
		return c.doorbellBuffer(cmd)
	case hci.AdminHealthRecordConfig:
		return c.healthConfig(cmd)
	}
	return refuse(hci.StatusInvalidOpcode)
}

func opName(opc uint8, admin bool) string {
	ops := hci.IOOpcodes
	if admin {
		ops = hci.AdminOpcodes
	}
	for _, o := range ops {
		if o.Code == opc {
			return o.Name
		}
	}
	return "reserved"
}

// page reports whether v is a usable page-aligned address.
func page(v uint64) bool { return v != 0 && v%hci.PageSize == 0 }

func (c *Card) createCQ(cmd *command) result {
	id := uint32(cmd.Get(hci.CreateIOCQQID))
	size := uint32(cmd.Get(hci.CreateIOCQQsize)) + 1
	iv := uint32(cmd.Get(hci.CreateIOCQIV))
	switch {
	case id == 0 || id > numQueues || c.queues[id].cq:
		return refuse(hci.StatusQIDInvalid)
	case !queueSize(size):
		return refuse(hci.StatusQueueSizeInvalid)
	case cmd.Get(hci.CreateIOCQPC) != 1:
		return badField(hci.SQEOffCDW11)
	case iv >= NumVectors:
		return refuse(hci.StatusVectorInvalid)
	case !page(cmd.PRP1):
		return badField(hci.SQEOffPRP1)
	}
	q := &c.queues[id]
	*q = queue{id: uint16(id), cq: true, cqBase: cmd.PRP1, cqSize: size, vector: uint16(iv),
		ien: cmd.Get(hci.CreateIOCQIEN) != 0, cqEvent: ^uint32(0)}
	if c.shadow.on {
		c.checkCell(q, hci.ShadowOffCQH)
		// The card does not wait for the head, so no head crosses this.
		if c.writeEvent(q, hci.ShadowOffCQH, q.cqEvent); q.stuck {
			q.cq = false
			return c.transferError()
		}
	}
	return success(0, 0)
}

func (c *Card) createSQ(cmd *command) result {
	id := uint32(cmd.Get(hci.CreateIOSQQID))
	size := uint32(cmd.Get(hci.CreateIOSQQsize)) + 1
	switch {
	case id == 0 || id > numQueues || c.queues[id].sq:
		return refuse(hci.StatusQIDInvalid)
	case !queueSize(size):
		return refuse(hci.StatusQueueSizeInvalid)
	case cmd.Get(hci.CreateIOSQPC) != 1:
		return badField(hci.SQEOffCDW11)
	case uint32(cmd.Get(hci.CreateIOSQCQID)) != id || !c.queues[id].cq:
		return refuse(hci.StatusCQInvalid)
	case !page(cmd.PRP1):
		return badField(hci.SQEOffPRP1)
	}
	q := &c.queues[id]
	q.sqBase, q.sqSize, q.sqHead, q.sqTail, q.sqEvent, q.stuck = cmd.PRP1, size, 0, 0, 0, false
	if c.shadow.on {
		c.checkCell(q, hci.ShadowOffSQT)
		if c.writeEvent(q, hci.ShadowOffSQT, 0); q.stuck {
			q.stuck = false
			return c.transferError()
		}
	}
	q.sq = true
	return success(0, 0)
}

// checkCell reports a shadow word that the host has not zeroed.
func (c *Card) checkCell(q *queue, off uint64) {
	if v, ok := c.load32(c.shadowWord(q, off)); ok && v != 0 {
		c.violate(Overrun, q.name(), "shadow word is not zero when the queue is created")
	}
}

func (c *Card) deleteCQ(cmd *command) result {
	id := uint32(cmd.Get(hci.DeleteIOCQQID))
	switch {
	case id == 0 || id > numQueues || !c.queues[id].cq:
		return refuse(hci.StatusQIDInvalid)
	case c.queues[id].sq:
		return refuse(hci.StatusQueueDeletionInvalid)
	}
	c.queues[id] = queue{id: uint16(id)}
	return success(0, 0)
}

// deleteSQ ends what is outstanding, at the next step boundary where a
// command is in a step, and then the queue.
func (c *Card) deleteSQ(cmd *command) {
	id := uint32(cmd.Get(hci.DeleteIOSQQID))
	if id == 0 || id > numQueues || !c.queues[id].sq {
		c.complete(cmd, refuse(hci.StatusQIDInvalid))
		return
	}
	q := &c.queues[id]
	q.deleting = cmd
	c.admin.deleting++
	for _, s := range c.slots {
		if s == nil {
			continue
		}
		for _, x := range s.fifo {
			if x.q == q && x.ending == 0 {
				x.ending = hci.StatusAbortedSQDeletion
			}
		}
		c.endMarked(s)
		for i, x := range s.fifo {
			if i > 0 && x.q == q { // queued: it, and all behind it
				c.endFirst(s, i, c.unstarted(s, x, x.ending))
				break
			}
		}
	}
	c.settleDeletes()
}

// settleDeletes completes DELETE_IO_SQs whose queue has nothing outstanding.
func (c *Card) settleDeletes() {
	if c.admin.deleting == 0 {
		return
	}
	for i := range c.queues {
		q := &c.queues[i]
		if q.deleting == nil || len(q.cmds) > 0 {
			continue
		}
		cmd := q.deleting
		q.deleting, q.sq = nil, false
		c.admin.deleting--
		c.complete(cmd, success(0, 0))
	}
}

// abort carries ABORT out (section 9).
func (c *Card) abort(cmd *command) {
	const notFound = 1
	id, cid := uint32(cmd.Get(hci.AbortSQID)), uint16(cmd.Get(hci.AbortCID))
	if id > numQueues || !c.queues[id].sq {
		c.complete(cmd, refuse(hci.StatusQIDInvalid))
		return
	}
	if c.admin.aborts >= abortLimit {
		c.complete(cmd, refuse(hci.StatusAbortLimit))
		return
	}
	q := &c.queues[id]
	var target *command
	for _, x := range q.cmds {
		if x.CID == cid && x != cmd {
			target = x
		}
	}
	if target == nil {
		c.complete(cmd, success(notFound, 0))
		return
	}
	for i, x := range c.admin.aers {
		if x == target {
			c.admin.aers = append(c.admin.aers[:i], c.admin.aers[i+1:]...)
			c.complete(target, refuse(hci.StatusAbortRequested))
			c.complete(cmd, success(0, 0))
			return
		}
	}
	if target.s == nil || target.ending != 0 { // CANCEL, ABORT or already ending: it will come by itself
		c.complete(cmd, success(notFound, 0))
		return
	}
	s := target.s
	target.ending = hci.StatusAbortRequested
	target.waiters = append(target.waiters, cmd)
	c.admin.aborts++
	if s.fifo[0] == target {
		c.endMarked(s)
		return
	}
	for i, x := range s.fifo {
		if x == target {
			c.endFirst(s, i, c.unstarted(s, x, x.ending))
			return
		}
	}
}

// settleWaiter completes an ABORT or CANCEL whose target has ended.
func (c *Card) settleWaiter(w *command) {
	if w.q.id == 0 {
		c.admin.aborts--
		c.complete(w, success(0, 0))
		return
	}
	c.complete(w, success(w.count, uint32(w.waiting.kvLen)))
}

func (c *Card) doorbellBuffer(cmd *command) result {
	if !page(cmd.PRP1) {
		return badField(hci.SQEOffPRP1)
	}
	if !page(cmd.PRP2) {
		return badField(hci.SQEOffPRP2)
	}
	c.shadow = shadowState{on: true, words: cmd.PRP1, event: cmd.PRP2}
	for i := 1; i < len(c.queues); i++ {
		q := &c.queues[i]
		if q.cq {
			q.cqEvent = ^uint32(0)
			c.writeEvent(q, hci.ShadowOffCQH, q.cqEvent)
		}
		if q.sq {
			q.sqEvent = q.sqTail
			c.writeEvent(q, hci.ShadowOffSQT, q.sqEvent)
		}
	}
	return success(0, 0)
}

func (c *Card) identify(cmd *command) result {
	if cmd.Get(hci.IdentifyCNS) != 1 {
		return badField(hci.SQEOffCDW10)
	}
	if !page(cmd.PRP1) {
		return badField(hci.SQEOffPRP1)
	}
	c.capabilityPage()
	if !c.dmaWrite(cmd.PRP1, c.caps[:]) {
		return c.transferError()
	}
	return success(0, 0)
}
