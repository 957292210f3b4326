package secondreading

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/mock"
)

// driver is one card. It gives up by t.Fatal.
type driver struct {
	t        testing.TB
	f        *mock.Mock
	regs, db hal.Region
	vec      []hal.Vector
	stride   int // of doorbell pages
	nqp      int
	mqes     uint32
	to       time.Duration // CAP.TO
	adm      *queue
	caps     caps
	health   *hal.DMA
	shadow   *hal.DMA // shadow words, R
	events   *hal.DMA // event indexes, W
}

// caps is what this driver needs of the capability page, section 10.
type caps struct {
	serial, model            string
	vocab, context, budget   uint32
	sessions, candidates     int
	features, bos            uint32
	ringMin, ringMax, acl    int
	stops                    []uint32
	tokenNS, prefillNS       uint32
	maskSlots, depth, errors int
}

func (d *driver) fail(format string, a ...any) {
	d.t.Helper()
	d.t.Fatalf(format, a...)
}

func (d *driver) mem(size int, dir hal.Direction) *hal.DMA {
	d.t.Helper()
	m, err := d.f.AllocDMA(size, dir)
	if err != nil {
		d.fail("AllocDMA: %v", err)
	}
	return m
}

// until spins on the card's clock until ok or the bound has passed.
func (d *driver) until(bound time.Duration, what string, ok func() bool) {
	d.t.Helper()
	c := d.f.Clock()
	for end := c.Now() + int64(bound); !ok(); c.Relax() {
		if c.Now() > end {
			d.fail("%s: not within %v", what, bound)
		}
	}
}

// bringUp is section 6.
func bringUp(t testing.TB, f *mock.Mock) *driver {
	t.Helper()
	d := &driver{t: t, f: f}
	d.config()
	d.region(barRegs, &d.regs)
	d.region(barDoorbells, &d.db)

	d.until(30*time.Second, "BSTS", func() bool { return d.regs.Load32(regBSTS)&0xFF == 0xFF })
	if e := d.regs.Load32(regBSTS) >> 8 & 0xFF; e != 0 {
		d.fail("BSTS.ERROR %d", e)
	}
	if v := d.regs.Load32(regVS); v>>16 != 1 {
		d.fail("VS %08X", v)
	}
	c := d.regs.Load64(regCAP)
	d.mqes, d.nqp = uint32(c&0xFFFF), int(c>>40&0xFF)
	d.to = time.Duration(c>>24&0xFF) * 500 * time.Millisecond
	d.stride = 1 << (12 + c>>32&0xF)
	if c>>16&1 != 1 || c>>48&0xF != 0 || d.nqp == 0 || (d.nqp+1)*d.stride > d.db.Size() {
		d.fail("CAP %016X", c)
	}
	d.disable()
	d.vectors()
	d.enable()
	d.identify()
	return d
}

// config finds what section 2 promises and turns on memory space and bus
// mastership.
func (d *driver) config() {
	d.t.Helper()
	rd := func(off, width int) uint32 {
		v, err := d.f.ReadConfig(off, width)
		if err != nil {
			d.fail("config: %v", err)
		}
		return v
	}
	if rd(0x08, 4)>>8 != 0x120000 || rd(0x0E, 1)&0x7F != 0 {
		d.fail("class %06X, header %02X", rd(0x08, 4)>>8, rd(0x0E, 1))
	}
	found := map[uint32]int{}
	for at := int(rd(0x34, 1)); at != 0; at = int(rd(at+1, 1)) {
		found[rd(at, 1)] = at
	}
	if found[0x01] == 0 || found[0x10] == 0 || found[0x11] == 0 || rd(found[0x10]+4, 4)>>28&1 == 0 {
		d.fail("capabilities %v", found)
	}
	for at := 0x100; at != 0; {
		h := rd(at, 4)
		if h&0xFFFF == 3 {
			d.caps.serial = fmt.Sprintf("HC1-%08X%08X", rd(at+8, 4), rd(at+4, 4))
		}
		at = int(h >> 20)
	}
	if err := d.f.WriteConfig(found[0x01]+4, 2, rd(found[0x01]+4, 2)&^3); err != nil { // D0
		d.fail("config: %v", err)
	}
	if err := d.f.WriteConfig(0x04, 2, rd(0x04, 2)|6); err != nil {
		d.fail("config: %v", err)
	}
}

func (d *driver) region(bar int, r *hal.Region) {
	var err error
	if *r, err = d.f.Region(bar); err != nil {
		d.fail("BAR %d: %v", bar, err)
	}
}

func (d *driver) vectors() {
	var err error
	if d.vec, err = d.f.Vectors(d.nqp + 1); err != nil {
		d.fail("vectors: %v", err)
	}
}

func (d *driver) disable() {
	if d.regs.Load32(regCC)&ccEN != 0 {
		d.regs.Store32(regCC, 0)
	}
	d.until(d.to, "CSTS.RDY = 0", func() bool { return d.regs.Load32(regCSTS)&cstsRDY == 0 })
	d.shadow, d.events = nil, nil
}

func (d *driver) enable() {
	d.t.Helper()
	d.adm = d.newQueue(0, 32)
	d.regs.Store32(regAQA, (d.adm.size-1)<<16|(d.adm.size-1))
	d.regs.Store64(regASQ, d.adm.sq.IOVA)
	d.regs.Store64(regACQ, d.adm.cq.IOVA)
	d.regs.Store32(regCC, ccEN|ccSQES|ccCQES)
	d.until(d.to, "CSTS.RDY", func() bool {
		s := d.regs.Load32(regCSTS)
		if s&cstsCFS != 0 {
			d.fail("CSTS.CFS, FERR %d", d.regs.Load32(regFERR))
		}
		return s&cstsRDY != 0
	})
}

// shutdown is the end of section 6.
func (d *driver) shutdown() {
	d.t.Helper()
	d.regs.Store32(regCC, d.regs.Load32(regCC)|ccSHN)
	d.until(5*time.Second, "CSTS.SHST", func() bool { return d.regs.Load32(regCSTS)>>2&3 == 2 })
	d.disable()
}

func (d *driver) identify() {
	d.t.Helper()
	m := d.mem(4096, hal.CardWrites)
	d.admin(cmd(admIdentify, 0).u64(0x18, m.IOVA).u32(0x28, 1))
	p := m.Bytes
	if crc32c(p[:4092]) != get32(p, 4092) {
		d.fail("capability page: CRC")
	}
	c := caps{
		serial: str(p[4:24]), model: str(p[1200:1264]),
		vocab: get32(p, 1060), context: get32(p, 1064), budget: get32(p, 1068),
		sessions: int(get16(p, 1072)), candidates: int(p[1074]),
		features: get32(p, 1080), bos: get32(p, 1092),
		ringMin: int(p[1090]), ringMax: int(p[1091]), acl: int(p[258]), errors: int(p[262]) + 1,
		tokenNS: get32(p, 1164), prefillNS: get32(p, 1168),
		maskSlots: int(get16(p, 1088)), depth: int(p[1174]),
	}
	for i := range min(int(p[1096]), 16) {
		c.stops = append(c.stops, get32(p, 1100+4*i))
	}
	if c.serial != d.caps.serial || get32(p, 80) != d.regs.Load32(regVS) || c.vocab < 2 || c.candidates < 1 || c.candidates > 8 {
		d.fail("capability page: %+v; serial in configuration space %q", c, d.caps.serial)
	}
	d.caps = c
}

// str is a padded string from the card with other bytes made harmless.
func str(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// queue is a queue pair, section 7.
type queue struct {
	d          *driver
	id         int
	size       uint32
	sq, cq     *hal.DMA
	tail, head uint32 // free-running: SQEs written, CQEs consumed
	free       uint32 // free-running: SQEs that the card has taken (SQHD)
	cid        uint16
	out        map[uint16]bool // outstanding
	done       map[uint16]cqe  // completed, not asked for yet
	shadow     bool
}

func (d *driver) newQueue(id int, size uint32) *queue {
	return &queue{d: d, id: id, size: size, out: map[uint16]bool{}, done: map[uint16]cqe{},
		sq: d.mem(int(size)*64, hal.CardReads), cq: d.mem(int(size)*16, hal.CardWrites)}
}

// createQueue makes an I/O queue pair whose completions use vector iv.
func (d *driver) createQueue(id int, size uint32, iv int) *queue {
	d.t.Helper()
	q := d.newQueue(id, size)
	if d.shadow != nil {
		q.shadow = true
		clear(d.shadow.Bytes[id*shadowCell : (id+1)*shadowCell])
		clear(d.events.Bytes[id*shadowCell : (id+1)*shadowCell])
	}
	idSize := uint32(id) | (size-1)<<16
	d.admin(cmd(admCreateCQ, 0).u64(0x18, q.cq.IOVA).u32(0x28, idSize).u32(0x2C, 1|2|uint32(iv)<<16))
	d.admin(cmd(admCreateSQ, 0).u64(0x18, q.sq.IOVA).u32(0x28, idSize).u32(0x2C, 1|uint32(id)<<16))
	return q
}

func (d *driver) deleteQueue(q *queue) {
	d.t.Helper()
	d.admin(cmd(admDeleteSQ, 0).u32(0x28, uint32(q.id)))
	q.reap()
	d.admin(cmd(admDeleteCQ, 0).u32(0x28, uint32(q.id)))
}

func (d *driver) shadowOn() {
	d.t.Helper()
	n := (d.nqp + 1) * shadowCell
	d.shadow, d.events = d.mem(n, hal.CardReads), d.mem(n, hal.CardWrites)
	d.admin(cmd(admShadow, 0).u64(0x18, d.shadow.IOVA).u64(0x20, d.events.IOVA))
}

// ring moves a doorbell from old to new, sections 4 and 4.1.
func (q *queue) ring(door, word int, old, new uint32) {
	if q.shadow {
		at := q.id*shadowCell + word
		st32(q.d.shadow.Bytes, at, new)
		ev := ld32(q.d.events.Bytes, at)
		if new-ev-1 >= new-old {
			return
		}
	}
	q.d.db.Store32(q.id*q.d.stride+door, new&(q.size-1))
}

// put writes entries and rings once. It returns their command ids.
func (q *queue) put(es ...*sqe) (cids []uint16) {
	q.d.t.Helper()
	old := q.tail
	for _, e := range es {
		if q.tail-q.free >= q.size-1 {
			q.reap()
		}
		if q.tail-q.free >= q.size-1 {
			q.d.fail("queue %d is full", q.id)
		}
		for q.cid++; q.out[q.cid]; q.cid++ {
		}
		binary.LittleEndian.PutUint16(e[2:], q.cid)
		copy(q.sq.Bytes[q.tail&(q.size-1)*64:], e[:])
		q.tail++
		q.out[q.cid] = true
		cids = append(cids, q.cid)
	}
	q.ring(dbSQT, shadowSQT, old, q.tail)
	return cids
}

// reap takes what has completed. It reports whether anything had.
func (q *queue) reap() bool {
	q.d.t.Helper()
	old := q.head
	for {
		at := int(q.head&(q.size-1)) * 16
		w := ld64(q.cq.Bytes, at+8)
		if uint32(w>>48&1) == q.head>>uint(bits.TrailingZeros32(q.size))&1 {
			break // phase: 1 on the first pass
		}
		dw := ld64(q.cq.Bytes, at)
		c := cqe{uint32(dw), uint32(dw >> 32), uint16(w), uint16(w >> 16), uint16(w >> 32), status(w >> 49 & 0x7FF), w>>63 != 0}
		taken := (uint32(c.sqhd) - q.free) & (q.size - 1)
		if int(c.sqid) != q.id || !q.out[c.cid] || uint32(c.sqhd) >= q.size || taken > q.tail-q.free {
			q.d.fail("queue %d: completion %+v", q.id, c)
		}
		q.free += taken
		delete(q.out, c.cid)
		q.done[c.cid] = c
		q.head++
	}
	if q.head == old {
		return false
	}
	q.ring(dbCQH, shadowCQH, old, q.head)
	return true
}

// look returns the completion of cid if it is there.
func (q *queue) look(cid uint16) (cqe, bool) {
	q.d.t.Helper()
	q.reap()
	c, ok := q.done[cid]
	delete(q.done, cid)
	return c, ok
}

func (q *queue) wait(cid uint16, bound time.Duration) (c cqe) {
	q.d.t.Helper()
	q.d.until(bound, fmt.Sprintf("completion of command %d on queue %d", cid, q.id), func() (ok bool) {
		c, ok = q.look(cid)
		return ok
	})
	return c
}

// try carries a command out on the admin queue (5 s) or an I/O queue (1 s).
func (q *queue) try(e *sqe) cqe {
	q.d.t.Helper()
	bound := time.Second
	if q.id == 0 {
		bound = 5 * time.Second
	}
	return q.wait(q.put(e)[0], bound)
}

func (q *queue) must(e *sqe) cqe {
	q.d.t.Helper()
	c := q.try(e)
	if c.st != success {
		q.d.fail("opcode %02X: %v, DW0 %d, DW1 0x%X", e[0], c.st, c.dw0, c.dw1)
	}
	return c
}

func (d *driver) admin(e *sqe) cqe { d.t.Helper(); return d.adm.must(e) }

// logPage reads n bytes of a log page from off.
func (d *driver) logPage(id uint8, off, n int) []byte {
	d.t.Helper()
	m := d.mem(4096, hal.CardWrites)
	d.admin(cmd(admLog, 0).u64(0x18, m.IOVA).u32(0x28, uint32(id)).u32(0x2C, uint32(n/4-1)).u32(0x30, uint32(off)))
	return append([]byte(nil), m.Bytes[:n]...)
}

// healthOn starts the health record, section 17.1.
func (d *driver) healthOn(ms uint32) {
	d.t.Helper()
	if d.health == nil {
		d.health = d.mem(64, hal.CardWrites)
	}
	d.admin(cmd(admHealth, 0).u64(0x18, d.health.IOVA).u32(0x28, ms))
}

// readHealth copies the record. The card may be writing it: only a copy with a
// good CRC, between two equal reads of the last 8 bytes, is one record.
func (d *driver) readHealth() (b [64]byte, seq uint32) {
	for range 1000 {
		last := ld64(d.health.Bytes, 56)
		for i := 0; i < 56; i += 8 {
			binary.LittleEndian.PutUint64(b[i:], ld64(d.health.Bytes, i))
		}
		binary.LittleEndian.PutUint64(b[56:], last)
		seq = get32(b[:], 0x3C)
		if seq == 0 || crc16(crc16(0, b[:58]), b[60:]) == get16(b[:], 0x3A) {
			return b, seq
		}
	}
	d.fail("health record: CRC")
	return b, 0
}
