package card

import (
	"encoding/binary"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/iommu"
)

type noLock struct{}

func (noLock) Lock()   {}
func (noLock) Unlock() {}

// fakeHost is memory, an interrupt counter and a driver as simple as can be.
// It steps the card on a virtual clock.
type fakeHost struct {
	iommu.Table
	t      testing.TB
	c      *Card
	e      *hashEngine
	r, w   []byte // R memory at iovaR, W memory at iovaW
	irqs   [64]int
	now    int64
	next   int64
	shadow bool
	tail   [4]uint32
	head   [4]uint32
	size   [4]uint32
	cid    uint16
	sess   [16]ringView
	hook   func(iova uint64) // at every 32-bit store of the card
	lax    bool              // violations are what the test is about
	poked  bool              // the host wrote a register inside the step
}

// ringView is the host's side of a session. Its blocks and ring are those of
// its index.
type ringView struct {
	sid  uint32
	head uint32
	log2 uint32
}

const (
	iovaR = 0x100_0000
	iovaW = 0x200_0000

	// R: queues, shadow, host blocks, data
	offSQ     = 0x0000 // 0x1000 a queue
	offShadow = 0x4000
	offHost   = 0x5000 // 128 a session
	offParams = 0x6000
	offBias   = 0x7000
	offPrompt = 0x8000
	offMask   = 0x20000
	// W
	offCQ     = 0x0000
	offEvent  = 0x4000
	offCard   = 0x5000
	offHealth = 0x6000
	offData   = 0x7000
	offRing   = 0x10000 // 0x10000 a session

	sizeR = offMask + 64*hci.MaskStride
	sizeW = offRing + 16*0x10000
)

func newHost(t testing.TB, cfg Config, e *hashEngine) *fakeHost {
	t.Helper()
	if e == nil {
		e = &hashEngine{vocab: 100, context: 4096, stops: []uint32{2}}
	}
	h := &fakeHost{t: t, e: e, r: alignedPage(sizeR), w: alignedPage(sizeW)}
	h.must(h.Map(iommu.Mapping{IOVA: iovaR, Bytes: h.r, Read: true}))
	h.must(h.Map(iommu.Mapping{IOVA: iovaW, Bytes: h.w, Write: true}))
	cfg.Engine = e
	var err error
	h.c, err = New(cfg, h, noLock{})
	h.must(err)
	h.c.WriteConfig(cfgCommand, 2, commandMemory|commandMaster)
	t.Cleanup(func() {
		if v, _ := h.c.Violations(); len(v) > 0 && !h.lax && !t.Failed() {
			t.Errorf("violations: %v", v)
		}
	})
	return h
}

func (h *fakeHost) Store32(iova uint64, v uint32) error {
	err := h.Table.Store32(iova, v)
	if h.hook != nil {
		h.hook(iova)
	}
	return err
}

func (h *fakeHost) Interrupt(v int) { h.irqs[v]++ }

func (h *fakeHost) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// step does one step, at the time the card asked for.
func (h *fakeHost) step() {
	if h.next != Idle && h.next > h.now {
		h.now = h.next
	}
	if h.c.stepping { // the host is inside a step
		return
	}
	h.poked = false
	if h.next = h.c.Step(h.now); h.poked {
		h.next = h.now
	}
}

// settle steps until the card is idle or only has records to keep.
func (h *fakeHost) settle() {
	h.t.Helper()
	h.next = h.now
	for i := 0; ; i++ {
		h.step()
		if h.next == Idle || h.next > h.now && h.c.Quiet() {
			return
		}
		if i > 1_000_000 {
			h.t.Fatal("the card does not settle")
		}
	}
}

// run steps until the time has come.
func (h *fakeHost) run(ns int64) {
	end := h.now + ns
	h.next = h.c.Step(h.now)
	for h.next <= end {
		h.step()
	}
	h.now = end
	h.next = h.c.Step(h.now)
}

func (h *fakeHost) reg(off int) uint32    { return uint32(h.c.ReadBAR(hci.BARRegs, off, 4)) }
func (h *fakeHost) set(off int, v uint32) { h.c.WriteBAR(hci.BARRegs, off, 4, uint64(v)) }
func (h *fakeHost) bell(q, reg int, v uint32) {
	h.c.WriteBAR(hci.BARDoorbells, q*hci.PageSize+reg, 4, uint64(v))
}

// msixOn turns all vectors on.
func (h *fakeHost) msixOn() {
	for v := range NumVectors {
		h.c.WriteBAR(hci.BARMSIX, v*16+12, 4, 0)
	}
	h.c.WriteConfig(cfgMSIXCtl, 2, msixEnable)
}

// enable brings the controller to READY with admin queues of n entries.
func (h *fakeHost) enable(n uint32) {
	h.t.Helper()
	clear(h.w[offCQ : offCQ+0x4000])
	h.tail, h.head = [4]uint32{}, [4]uint32{}
	h.size[0] = n
	h.set(hci.RegAQA, (n-1)|(n-1)<<16)
	h.c.WriteBAR(hci.BARRegs, hci.RegASQ, 8, iovaR+offSQ)
	h.c.WriteBAR(hci.BARRegs, hci.RegACQ, 8, iovaW+offCQ)
	h.set(hci.RegCC, 1|6<<16|4<<20)
	h.settle()
	if s := h.reg(hci.RegCSTS); s != 1 {
		h.t.Fatalf("CSTS %#x, FERR %d", s, h.reg(hci.RegFERR))
	}
}

// up is a card with queue pair 1 (and 2) of 32 entries, ready for sessions.
func up(t testing.TB, cfg Config, e *hashEngine, shadow bool) *fakeHost {
	t.Helper()
	h := newHost(t, cfg, e)
	h.bringUp(shadow)
	return h
}

func (h *fakeHost) bringUp(shadow bool) {
	h.t.Helper()
	h.msixOn()
	h.enable(32)
	if h.shadow = shadow; shadow {
		clear(h.r[offShadow : offShadow+0x1000])
		h.ok(0, hci.SQE{OPC: hci.AdminDoorbellBufferConfig, PRP1: iovaR + offShadow, PRP2: iovaW + offEvent})
	}
	h.createQueue(1, 32)
	h.createQueue(2, 32)
}

func (h *fakeHost) createQueue(q int, n uint32) {
	h.t.Helper()
	h.size[q], h.tail[q], h.head[q] = n, 0, 0
	clear(h.w[offCQ+q*0x1000:][:0x1000])
	clear(h.r[offShadow+q*hci.ShadowStride:][:hci.ShadowStride])
	h.ok(0, createCQ(q, n, q))
	h.ok(0, createSQ(q, n))
}

func createCQ(q int, n uint32, iv int) hci.SQE {
	e := hci.SQE{OPC: hci.AdminCreateIOCQ, PRP1: iovaW + offCQ + uint64(q)*0x1000}
	e.Put(hci.CreateIOCQQID, uint64(q))
	e.Put(hci.CreateIOCQQsize, uint64(n-1))
	e.Put(hci.CreateIOCQPC, 1)
	e.Put(hci.CreateIOCQIEN, 1)
	e.Put(hci.CreateIOCQIV, uint64(iv))
	return e
}

func createSQ(q int, n uint32) hci.SQE {
	e := hci.SQE{OPC: hci.AdminCreateIOSQ, PRP1: iovaR + offSQ + uint64(q)*0x1000}
	e.Put(hci.CreateIOSQQID, uint64(q))
	e.Put(hci.CreateIOSQQsize, uint64(n-1))
	e.Put(hci.CreateIOSQPC, 1)
	e.Put(hci.CreateIOSQCQID, uint64(q))
	return e
}

// put writes an entry without telling the card. It returns the CID.
func (h *fakeHost) put(q int, e hci.SQE) uint16 {
	h.cid++
	e.CID = h.cid
	h.putRaw(q, &e)
	return e.CID
}

func (h *fakeHost) putRaw(q int, e *hci.SQE) {
	var b [hci.SQESize]byte
	e.Encode(&b)
	copy(h.r[offSQ+q*0x1000+int(h.tail[q]%h.size[q])*hci.SQESize:], b[:])
	h.tail[q]++
}

// ring tells it.
func (h *fakeHost) ring(q int) {
	if h.shadow && q > 0 {
		off := q*hci.ShadowStride + hci.ShadowOffSQT
		old := binary.LittleEndian.Uint32(h.r[offShadow+off:])
		binary.LittleEndian.PutUint32(h.r[offShadow+off:], h.tail[q])
		ev := binary.LittleEndian.Uint32(h.w[offEvent+off:])
		if h.tail[q]-ev-1 >= h.tail[q]-old {
			return
		}
	}
	h.bell(q, hci.DoorbellSQTDBL, h.tail[q]%h.size[q])
}

func (h *fakeHost) submit(q int, e hci.SQE) uint16 {
	cid := h.put(q, e)
	h.ring(q)
	return cid
}

// peek takes the next completion, if there is one.
func (h *fakeHost) peek(q int) (c hci.CQE, ok bool) {
	b := h.w[offCQ+q*0x1000+int(h.head[q]%h.size[q])*hci.CQESize:]
	le := binary.LittleEndian
	c = hci.CQE{DW0: le.Uint32(b), DW1: le.Uint32(b[4:]), SQHD: le.Uint16(b[8:]), SQID: le.Uint16(b[10:]), CID: le.Uint16(b[12:]), Status: le.Uint16(b[14:])}
	return c, uint32(c.Status&1) == 1^h.head[q]/h.size[q]&1
}

func (h *fakeHost) poll(q int) (c hci.CQE, ok bool) {
	if c, ok = h.peek(q); !ok {
		return c, false
	}
	h.head[q]++
	h.headBell(q)
	return c, true
}

func (h *fakeHost) headBell(q int) {
	if h.shadow && q > 0 {
		off := q*hci.ShadowStride + hci.ShadowOffCQH
		old := binary.LittleEndian.Uint32(h.r[offShadow+off:])
		binary.LittleEndian.PutUint32(h.r[offShadow+off:], h.head[q])
		ev := binary.LittleEndian.Uint32(h.w[offEvent+off:])
		if h.head[q]-ev-1 >= h.head[q]-old {
			return
		}
	}
	h.bell(q, hci.DoorbellCQHDBL, h.head[q]%h.size[q])
}

// do submits, lets the card work until it rests, and takes the completion.
func (h *fakeHost) do(q int, e hci.SQE) hci.CQE {
	h.t.Helper()
	cid := h.submit(q, e)
	h.settle()
	c, ok := h.poll(q)
	if !ok || c.CID != cid || int(c.SQID) != q {
		h.t.Fatalf("%s: completion %+v %v, want cid %#x", opName(e.OPC, q == 0), c, ok, cid)
	}
	return c
}

func (h *fakeHost) ok(q int, e hci.SQE) hci.CQE {
	h.t.Helper()
	c := h.do(q, e)
	h.want(c, hci.StatusSuccess)
	return c
}

func (h *fakeHost) want(c hci.CQE, s hci.Status) {
	h.t.Helper()
	if c.Code() != s {
		h.t.Fatalf("status %v (dw0=%#x dw1=%#x), want %v", c.Code(), c.DW0, c.DW1, s)
	}
}

// take takes the next completion of a queue and checks its status.
func (h *fakeHost) take(q int, cid uint16, s hci.Status) hci.CQE {
	h.t.Helper()
	c, ok := h.poll(q)
	if !ok {
		h.t.Fatalf("no completion for cid %#x", cid)
	}
	if c.CID != cid {
		h.t.Fatalf("completion of cid %#x (%v), want %#x", c.CID, c.Code(), cid)
	}
	h.want(c, s)
	return c
}

// openCmd is OPEN with the memory of index i.
func (h *fakeHost) openCmd(i int, log2, seq uint32) hci.SQE {
	e := hci.SQE{OPC: hci.OpOpen, MPTR: iovaW + offCard + uint64(i)*128, PRP1: iovaW + offRing + uint64(i)*0x10000, PRP2: iovaR + offHost + uint64(i)*128}
	e.Put(hci.OpenRingLog2, uint64(log2))
	e.Put(hci.OpenSequence, uint64(seq))
	e.Put(hci.OpenIV, uint64(3+i))
	clear(h.r[offHost+i*128:][:128])
	clear(h.w[offCard+i*128:][:128])
	h.sess[i] = ringView{head: seq, log2: log2}
	h.setHead(i)
	return e
}

func (h *fakeHost) open(i int) uint32 {
	h.t.Helper()
	c := h.ok(1, h.openCmd(i, 6, 100))
	h.sess[i].sid = c.DW0
	return c.DW0
}

func (h *fakeHost) setHead(i int) {
	binary.LittleEndian.PutUint32(h.r[offHost+i*128:], h.sess[i].head)
}

func (h *fakeHost) prefill(sid uint32, toks []uint32) hci.SQE {
	for i, t := range toks {
		binary.LittleEndian.PutUint32(h.r[offPrompt+4*i:], t)
	}
	e := hci.SQE{OPC: hci.OpPrefill, SID: sid, PRP1: iovaR + offPrompt}
	e.Put(hci.PrefillCount, uint64(len(toks)))
	e.Put(hci.PrefillCRC, uint64(hci.CRC32C(h.r[offPrompt:offPrompt+4*len(toks)])))
	return e
}

func gen(sid uint32, epoch uint16, n int) hci.SQE {
	e := hci.SQE{OPC: hci.OpGenerate, SID: sid}
	e.Put(hci.GenerateMaxTokens, uint64(n))
	e.Put(hci.GenerateEpoch, uint64(epoch))
	e.Put(hci.GenerateInvTemp, 65536)
	e.Put(hci.GenerateTopP, 65536)
	e.Put(hci.GenerateSeedLo, 7)
	return e
}

func greedy(sid uint32, epoch uint16, n int) hci.SQE {
	e := gen(sid, epoch, n)
	e.Put(hci.GenerateGreedy, 1)
	return e
}

// records takes what is in the ring of session i, of epoch.
func (h *fakeHost) records(i int, epoch uint16) (out []hci.Record) {
	h.t.Helper()
	v := &h.sess[i]
	for {
		var r hci.Record
		at := offRing + i*0x10000 + int(v.head&(1<<v.log2-1))*hci.RecordSize
		r.Decode((*[64]byte)(h.w[at:]))
		if r.Sequence != v.head || r.Epoch != epoch {
			return out
		}
		if r.Sum() != r.CRC {
			h.t.Fatalf("record %d: crc %#x, computed %#x", v.head, r.CRC, r.Sum())
		}
		out = append(out, r)
		v.head++
		h.setHead(i)
		hevt := binary.LittleEndian.Uint32(h.w[offCard+i*128+hci.CardOffHEVT:])
		if v.head-hevt-1 < 1 {
			h.bell(1, hci.DoorbellKICK, v.sid&0xFFFF)
		}
	}
}

// all takes records until the epoch has ended, letting the card work.
func (h *fakeHost) all(i int, epoch uint16) (out []hci.Record) {
	h.t.Helper()
	for range 10_000 {
		out = append(out, h.records(i, epoch)...)
		if n := len(out); n > 0 && out[n-1].Stop != 0 {
			return out
		}
		h.settle()
	}
	h.t.Fatalf("epoch %d does not end: %d records", epoch, len(out))
	return nil
}

func ids(rs []hci.Record) (out []uint32) {
	for _, r := range rs {
		if r.Flags&hci.FlagCandidates != 0 {
			out = append(out, r.Payload[r.Chosen])
			continue
		}
		out = append(out, r.Payload[:r.Count]...)
	}
	return out
}

func (h *fakeHost) cardBlock(i, off int) uint64 {
	return binary.LittleEndian.Uint64(h.w[offCard+i*128+off:])
}

func count(n int) []uint32 {
	t := make([]uint32, n)
	for i := range t {
		t[i] = uint32(3 + i%50)
	}
	return t
}
