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

	sqes   []hci.SQE // sq and cq by entries
	cqes   [][2]uint64
	slots  []slot
	free   []uint16 // slots not in use: the first nfree
	nfree  int
	strays uint64 // completions that matched no outstanding command
}

// slot is an outstanding command. Its index and generation are the CID: a
// late completion of an aborted command does not match its successor.
type slot struct {
	cqe   [2]uint64 // the completion
	gen   uint8
	state uint8
}

const (
	slotFree uint8 = iota
	slotBusy
	slotDone
	slotStale // given up on; the card may still answer
)

// queueDepth bounds what one owner has outstanding.
const queueDepth = 16

func newQueue(id uint16, size uint32, depth int, sq, cq buffer, db hal.Region, page int) *queue {
	q := &queue{id: id, size: size, mask: size - 1, shift: uint8(bits.TrailingZeros32(size)), sq: sq, cq: cq, db: db, page: page}
	q.sqes, q.cqes = sqesOf(sq.b), cqesOf(cq.b)
	q.slots = make([]slot, depth)
	q.free = make([]uint16, depth)
	q.reset()
	return q
}

// reset brings the host's half to the state of a queue just created.
func (q *queue) reset() {
	clear(q.cq.b)
	clear(q.sq.b)
	q.sqTail, q.sqRung, q.cqHead, q.cqRung = 0, 0, 0, 0
	q.nfree = 0
	for i := range q.slots {
		q.slots[i].state = slotFree
		q.slots[i].gen = (q.slots[i].gen + 1) & 15
		q.free[q.nfree] = uint16(len(q.slots) - 1 - i)
		q.nfree++
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
	if q.nfree == 0 {
		return 0, q.full()
	}
	q.nfree--
	i := q.free[q.nfree]
	s := &q.slots[i]
	s.state = slotBusy
	putSQE(&q.sqes[q.sqTail&q.mask], e, i|uint16(s.gen)<<12)
	q.sqTail++
	return i, nil
}

// full is apart from submit so that the error costs the common case nothing.
func (q *queue) full() error {
	return fmt.Errorf("queue %d: %d commands outstanding: %w", q.id, len(q.slots), ErrBusy)
}

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
	n, head, cqes := 0, q.cqHead, q.cqes
	for ; n < max; n++ {
		c := &cqes[head&q.mask]
		hi := atomic.LoadUint64(&c[1])
		if uint32(hi>>48)&1 == head>>q.shift&1 { // the phase is that of the pass before
			break
		}
		head++
		q.complete(atomic.LoadUint64(&c[0]), hi)
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

// complete files one completion, given as its two words. One that matches
// nothing outstanding is counted and dropped. SQHD is not needed: there are
// fewer slots than entries, and a command that completed was fetched, as were
// all before it.
func (q *queue) complete(lo, hi uint64) {
	cid := uint16(hi >> 32)
	i := cid & 0xFFF
	if uint16(hi>>16) != q.id || int(i) >= len(q.slots) {
		q.strays++
		return
	}
	s := &q.slots[i]
	switch {
	case uint16(s.gen) != cid>>12:
		q.strays++
	case s.state == slotBusy:
		s.cqe, s.state = [2]uint64{lo, hi}, slotDone
	case s.state == slotStale:
		q.release(i)
	default:
		q.strays++
	}
}

// done returns the completion of a slot and frees it.
func (q *queue) done(i uint16) (hci.CQE, bool) {
	s := &q.slots[i]
	if s.state != slotDone {
		return hci.CQE{}, false
	}
	q.release(i)
	return cqeOf(&s.cqe), true
}

// pending reports whether the slot's command is still out.
func (q *queue) pending(i uint16) bool { return q.slots[i].state == slotBusy }

// abandon gives a slot up: its completion, if it ever comes, frees it.
func (q *queue) abandon(i uint16) {
	switch q.slots[i].state {
	case slotBusy:
		q.slots[i].state = slotStale
	case slotDone:
		q.release(i)
	}
}

func (q *queue) release(i uint16) {
	q.slots[i].state = slotFree
	q.slots[i].gen = (q.slots[i].gen + 1) & 15
	q.free[q.nfree] = i
	q.nfree++
}

// cid is the command id of a slot, for ABORT.
func (q *queue) cid(i uint16) uint16 { return i | uint16(q.slots[i].gen)<<12 }

// failure turns a completion into an error; nil for SUCCESS.
func failure(c hci.CQE, op uint8, admin bool) error {
	if c.Code() == hci.StatusSuccess {
		return nil
	}
	return &CommandError{Command: opName(op, admin), Status: c.Code(), DW0: c.DW0, DW1: c.DW1}
}
