package card

import (
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// queue is a queue pair (section 7). Heads and tails run freely; the index
// is their low bits.
type queue struct {
	id             uint16
	sq, cq         bool // exist
	ien            bool
	stuck          bool // no more fetched: its memory is gone, or a fault
	deleting       *command
	sqBase, cqBase uint64
	sqSize, cqSize uint32
	sqTail, sqHead uint32
	cqTail, cqHead uint32
	vector         uint16
	sqEvent        uint32 // event indexes as last written
	cqEvent        uint32
	cmds           []*command // outstanding
	held           []hci.CQE  // completions that wait for room, oldest first
	heldFrom       int
}

func (q *queue) name() string {
	if q.id == 0 {
		return "admin queue"
	}
	return fmt.Sprintf("queue %d", q.id)
}

func (q *queue) nheld() int { return len(q.held) - q.heldFrom }

func queueSize(n uint32) bool { return n >= 2 && n <= maxQueue && n&(n-1) == 0 }

// result is how a command ends.
type result struct {
	status   hci.Status
	dw0, dw1 uint32
}

func success(dw0, dw1 uint32) result { return result{hci.StatusSuccess, dw0, dw1} }
func refuse(s hci.Status) result     { return result{status: s} }

// badField is INVALID_FIELD naming a byte of the SQE, or 0x100 plus a byte
// of the parameter block.
func badField(off int) result { return result{hci.StatusInvalidField, 0, uint32(off)} }

// command is a command that has been fetched and not completed.
type command struct {
	hci.SQE
	q         *queue
	s         *session   // whose queue it is in
	ending    hci.Status // it is to end so at the next step boundary
	waiters   []*command // ABORTs and CANCELs that complete after this one
	canceller *command   // CANCEL that ends it
	waiting   *session   // CANCEL: the session
	count     uint32     // CANCEL: commands ended
}

// serviceQueues looks at every queue and carries out what it finds, within
// the budget of a step.
func (c *Card) serviceQueues() {
	budget := fetchBudget
	for i := range c.queues {
		q := &c.queues[i]
		if !q.cq {
			continue
		}
		if q.nheld() > 0 {
			c.releaseHeld(q)
		}
		if !q.sq || q.stuck {
			continue
		}
		if c.shadowed(q) {
			c.readTail(q)
		}
		for q.sq && !q.stuck && q.deleting == nil && q.sqHead != q.sqTail && q.nheld() == 0 && c.regs.state == stateReady && !c.stopped() {
			if i == 0 && c.admin.blocked() {
				break
			}
			if budget == 0 {
				c.worked = true // come back at once
				return
			}
			budget--
			c.fetch(q)
		}
	}
}

// fetch takes one entry of a submission queue.
func (c *Card) fetch(q *queue) {
	c.worked = true
	switch f := c.faultAt(onSQE); {
	case f.is("stuck-queue"):
		q.stuck = true
		return
	case f.is("drop-command"):
		q.sqHead++
		return
	}
	at := q.sqBase + uint64(q.sqHead&(q.sqSize-1))*hci.SQESize
	q.sqHead++ // before the host is let in: its tail must not fall behind the head
	if !c.dmaRead(at, c.sqe[:]) {
		q.sqHead--
		if !c.putOff {
			c.stopQueue(q)
		}
		return
	}
	cmd := c.newCommand()
	cmd.Decode(&c.sqe)
	cmd.q = q
	for _, o := range q.cmds {
		if o.CID == cmd.CID {
			c.violate(Sequence, q.name(), fmt.Sprintf("command id %#04x is outstanding already", cmd.CID))
			c.post(q, cmd.CID, cmd.SID, refuse(hci.StatusCIDConflict))
			c.freeCommand(cmd)
			return
		}
	}
	q.cmds = append(q.cmds, cmd)
	c.traceCommand(cmd)
	if q.id == 0 {
		c.execAdmin(cmd)
	} else {
		c.execIO(cmd)
	}
}

// unfetch leaves the command that was fetched last to a later step.
func (c *Card) unfetch(cmd *command) {
	q := cmd.q
	q.cmds = q.cmds[:len(q.cmds)-1]
	q.sqHead--
	c.freeCommand(cmd)
}

// stopQueue gives up on a queue whose memory cannot be reached.
func (c *Card) stopQueue(q *queue) {
	q.stuck = true
	iova := c.fault.IOVA
	if q.id == 0 {
		c.fatal(hci.FatalAdminDMA)
		return
	}
	c.logError(q.id, 0xFFFF, 0, hci.StatusDataTransferError, 0xFFFF, 0, iova)
}

func (c *Card) newCommand() *command {
	if n := len(c.cmdFree); n > 0 {
		cmd := c.cmdFree[n-1]
		c.cmdFree = c.cmdFree[:n-1]
		*cmd = command{}
		return cmd
	}
	return &command{}
}

func (c *Card) freeCommand(cmd *command) { c.cmdFree = append(c.cmdFree, cmd) }

// complete ends a command.
func (c *Card) complete(cmd *command, r result) {
	c.worked = true
	q := cmd.q
	for i, o := range q.cmds {
		if o == cmd {
			q.cmds = append(q.cmds[:i], q.cmds[i+1:]...)
			break
		}
	}
	c.counters.Commands++
	if logged(r.status) {
		loc := uint32(0xFFFF)
		if r.status == hci.StatusInvalidField {
			loc = r.dw1
		}
		iova := uint64(0)
		if r.status == hci.StatusDataTransferError {
			iova = uint64(r.dw0) | uint64(r.dw1)<<32
		}
		c.logError(q.id, cmd.CID, cmd.SID, r.status, loc, 0, iova)
	}
	c.post(q, cmd.CID, cmd.SID, r)
	c.freeCommand(cmd)
}

// logged reports whether a status makes an entry of the ERROR log: what the
// host or the card got wrong, not what merely did not fit.
func logged(s hci.Status) bool {
	switch s {
	case hci.StatusInvalidOpcode, hci.StatusInvalidField, hci.StatusCIDConflict, hci.StatusDataTransferError,
		hci.StatusInternalError, hci.StatusNumericError, hci.StatusRingInvalid, hci.StatusKVUncorrectable:
		return true
	}
	return false
}

// post writes a completion, or holds it while the queue is full.
func (c *Card) post(q *queue, cid uint16, sid uint32, r result) {
	e := hci.CQE{DW0: r.dw0, DW1: r.dw1, SQHD: uint16(q.sqHead & (q.sqSize - 1)), SQID: q.id, CID: cid, Status: uint16(r.status.Field()) << 1}
	switch f := c.faultAt(onCQE); {
	case f.is("lost-cqe"):
		return
	case f.is("corrupt-cqe"):
		e.CID ^= uint16(f.value("xor", 0xFFFF))
	case f.is("stale-cqe"):
		e.CID += 0xF000
	case f.is("wrong-queue"):
		e.SQID++
	case f.is("status"):
		e.Status = uint16(hci.Status(f.value("code", uint64(hci.StatusInternalError))).Field()) << 1
	case f.is("double-cqe"):
		c.postEntry(q, e)
	}
	c.postEntry(q, e)
}

func (c *Card) postEntry(q *queue, e hci.CQE) {
	if !q.cq || c.regs.state == stateFatal {
		return
	}
	if q.nheld() > 0 || !c.cqRoom(q) {
		q.held = append(q.held, e)
		return
	}
	c.writeCQE(q, e)
}

// cqRoom reports whether an entry may be written. The head is read again
// only when the queue looks full.
func (c *Card) cqRoom(q *queue) bool {
	if q.cqTail-q.cqHead < q.cqSize-1 {
		return true
	}
	return c.shadowed(q) && !q.stuck && c.readHead(q) && q.cqTail-q.cqHead < q.cqSize-1
}

func (c *Card) releaseHeld(q *queue) {
	for q.nheld() > 0 && c.cqRoom(q) {
		e := q.held[q.heldFrom]
		q.heldFrom++
		e.SQHD = uint16(q.sqHead & (q.sqSize - 1))
		c.writeCQE(q, e)
		c.worked = true
	}
	if q.nheld() == 0 {
		q.held, q.heldFrom = q.held[:0], 0
	}
}

// writeCQE puts an entry into memory: bytes 0..7, then 8..15 with the phase.
func (c *Card) writeCQE(q *queue, e hci.CQE) {
	if q.cqTail/q.cqSize&1 == 0 {
		e.Status |= 1
	}
	at := q.cqBase + uint64(q.cqTail&(q.cqSize-1))*hci.CQESize
	lo := uint64(e.DW0) | uint64(e.DW1)<<32
	hi := uint64(e.SQHD) | uint64(e.SQID)<<16 | uint64(e.CID)<<32 | uint64(e.Status)<<48
	q.cqTail++ // before the host can see the entry: it answers with a doorbell
	if !c.store64(at, lo) || !c.store64(at+8, hi) {
		c.stopQueue(q)
		return
	}
	c.traceCQE(q, &e)
	if q.ien {
		c.msix.raise(q.vector)
	}
}
