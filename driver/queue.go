package driver

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// queue is a queue pair (docs/hci.md section 7): the step-driven core. One
// goroutine owns it at a time; nothing here waits, locks, allocates or reads
// a clock. SQ-side and CQ-side words live on separate 128-byte lines.
type queue struct {
	id    uint16
	size  uint32 // entries of SQ and CQ, a power of two
	mask  uint32
	shift uint8 // log2 of size: a division would cost as much as all else in poll
	sq    buffer
	cq    buffer
	db    hal.Region // BAR2
	page  int        // offset of the queue's doorbell page

	// shadow doorbells (section 4.1); nil for the admin queue
	shadow, event []byte

	sqTail uint32 // free-running: entries produced
	sqRung uint32 // tail the card was told of

	_      [128]byte
	cqHead uint32 // free-running: entries consumed
	cqRung uint32

	sqes   []hci.SQE      // sq by entries
	cqes   []completion   // cq by entries
	depth  int            // slots that there are
	free   uint64         // a bit per slot that is not in use
	slots  [maxDepth]slot // an array, so that an index needs no check
	strays uint64         // completions that matched no outstanding command
}

// completion is a CQE as its two words: a struct of two stays in registers,
// one of six does not, and a wide load of it would wait for narrow stores.
type completion struct{ lo, hi uint64 }

func (c completion) dw0() uint32        { return uint32(c.lo) }
func (c completion) dw1() uint32        { return uint32(c.lo >> 32) }
func (c completion) sqid() uint16       { return uint16(c.hi >> 16) }
func (c completion) cid() uint16        { return uint16(c.hi >> 32) }
func (c completion) status() hci.Status { return hci.Status(c.hi>>49) &^ hci.StatusDNR }

// slot is the place of an outstanding command. Its index and generation are
// the CID: a late completion of an aborted command does not match its
// successor.
type slot struct {
	cqe  completion
	want uint32 // state, and with slotBusy and slotStale the CID
	gen  uint16 // in bits 15:12, as in the CID
}

// States of a slot, beside the bits of a CID: one comparison checks slot,
// generation and state.
const (
	slotFree  uint32 = 1 << (16 + iota)
	slotBusy         // the card has it
	slotStale        // given up on; the card may still answer
	slotDone         // cqe is there
)

const (
	maxDepth = 64
	genStep  = 1 << 12
)

// queueDepth bounds what one owner has outstanding.
const queueDepth = 16

// newQueue makes the host's half of a queue pair for depth commands at a
// time, maxDepth at most and fewer than size.
func newQueue(id uint16, size uint32, depth int, sq, cq buffer, db hal.Region, page int) *queue {
	q := &queue{id: id, size: size, mask: size - 1, shift: uint8(bits.TrailingZeros32(size)), sq: sq, cq: cq, db: db, page: page, depth: depth}
	q.sqes, q.cqes = sqesOf(sq.b), cqesOf(cq.b)
	q.reset()
	return q
}

// reset brings the host's half to the state of a queue just created.
func (q *queue) reset() {
	clear(q.cq.b)
	clear(q.sq.b)
	q.sqTail, q.sqRung, q.cqHead, q.cqRung = 0, 0, 0, 0
	for i := range q.depth {
		q.release(uint16(i))
	}
	if q.shadow != nil {
		store32(q.shadow, hci.ShadowOffSQT, 0)
		store32(q.shadow, hci.ShadowOffCQH, 0)
		store32(q.event, hci.ShadowOffSQT, 0)
		store32(q.event, hci.ShadowOffCQH, 0)
	}
}

// submit writes a command into the SQ and returns its slot. The card is not
// told before ring, so that several commands share a doorbell.
func (q *queue) submit(e *hci.SQE) (uint16, error) {
	if q.free == 0 {
		return 0, errFull
	}
	i := uint16(bits.TrailingZeros64(q.free))
	q.free &= q.free - 1
	s := &q.slots[i%maxDepth]
	cid := i | s.gen
	s.want = slotBusy | uint32(cid)
	putSQE(&q.sqes[q.sqTail&q.mask], e, cid)
	q.sqTail++
	return i, nil
}

// errFull is made once, so that submit calls nothing and can be inlined.
var errFull = fmt.Errorf("queue full: %w", ErrBusy)

// room is how many more commands can be submitted.
func (q *queue) room() int { return bits.OnesCount64(q.free) }

// ring tells the card of new SQ entries, by MMIO only if it does not look.
func (q *queue) ring() {
	if q.sqTail == q.sqRung {
		return
	}
	q.doorbell(hci.ShadowOffSQT, hci.DoorbellSQTDBL, q.sqRung, q.sqTail)
	q.sqRung = q.sqTail
}

func (q *queue) doorbell(shadowOff, reg int, old, new uint32) {
	if q.shadow != nil {
		store32(q.shadow, shadowOff, new) // a full fence too
		if ev := load32(q.event, shadowOff); new-ev-1 >= new-old {
			return
		}
	}
	q.db.Store32(q.page+reg, new&q.mask)
}

// poll takes up to max completions (bounded work) and returns how many
// there were. It validates a copy of each: the card is not trusted.
func (q *queue) poll(max int) int {
	n, head, cqes, mask, shift, id := 0, q.cqHead, q.cqes, q.mask, q.shift&31, q.id
	for ; n < max; n++ {
		e := &cqes[head&mask]
		hi := atomic.LoadUint64(&e.hi)
		if uint32(hi>>48)&1 == head>>shift&1 { // the phase is that of the pass before
			break
		}
		head++
		c := completion{atomic.LoadUint64(&e.lo), hi}
		if s := &q.slots[c.cid()%maxDepth]; s.want == slotBusy|uint32(c.cid()) && c.sqid() == id {
			s.cqe, s.want = c, slotDone
		} else {
			q.stray(c)
		}
	}
	q.cqHead = head
	// The card needs the head only before the queue looks full to it: what is
	// outstanding and a quarter of the queue fit in it together.
	if q.cqHead-q.cqRung >= q.size/4 {
		q.doorbell(hci.ShadowOffCQH, hci.DoorbellCQHDBL, q.cqRung, q.cqHead)
		q.cqRung = q.cqHead
	}
	return n
}

// stray deals with a completion that nobody waits for. That of a command
// that was given up on frees its slot; others are counted and dropped. SQHD
// is not needed: there are fewer slots than entries, and a command that
// completed was fetched, as were all before it.
func (q *queue) stray(c completion) {
	i := c.cid() % maxDepth
	if q.slots[i].want == slotStale|uint32(c.cid()) && c.sqid() == q.id {
		q.release(i)
		return
	}
	q.strays++
}

// done returns the completion of a slot and frees it.
func (q *queue) done(i uint16) (completion, bool) {
	s := &q.slots[i%maxDepth]
	if s.want != slotDone {
		return completion{}, false
	}
	q.release(i)
	return s.cqe, true
}

// pending reports whether the slot's command is still out.
func (q *queue) pending(i uint16) bool { return q.slots[i%maxDepth].want&slotBusy != 0 }

// abandon gives a slot up: its completion, if it ever comes, frees it.
func (q *queue) abandon(i uint16) {
	switch s := &q.slots[i%maxDepth]; {
	case s.want&slotBusy != 0:
		s.want ^= slotBusy | slotStale
	case s.want == slotDone:
		q.release(i)
	}
}

// release frees a slot; the next command in it has another generation.
func (q *queue) release(i uint16) {
	s := &q.slots[i%maxDepth]
	s.want = slotFree
	s.gen += genStep
	q.free |= 1 << (i % maxDepth)
}

// cid is the command id of a slot, for ABORT.
func (q *queue) cid(i uint16) uint16 { return i | q.slots[i%maxDepth].gen }

// failure turns a completion into an error; nil for SUCCESS.
func failure(c completion, op uint8, admin bool) error {
	if c.status() == hci.StatusSuccess {
		return nil
	}
	return &CommandError{Command: opName(op, admin), Status: c.status(), DW0: c.dw0(), DW1: c.dw1()}
}
