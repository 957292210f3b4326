package mock

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// host is a driver as small as can be, for one goroutine.
type host struct {
	t      testing.TB
	m      *Mock
	db     hal.Region
	regs   hal.Region
	r, w   *hal.DMA
	tail   [2]uint32
	head   [2]uint32
	cid    uint16
	vec    []hal.Vector
	seq    uint32
	rhead  uint32
	shadow bool
}

// Places in the two arenas.
const (
	rASQ, rSQ, rShadow, rHost, rPrompt, rParams = 0x0000, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
	wACQ, wCQ, wEvent, wCard, wRing, wPage      = 0x0000, 0x1000, 0x2000, 0x3000, 0x4000, 0x14000
	qSize                                       = 64
	ringLog                                     = 6
)

func testEngine(t testing.TB, n int) silicon.Engine {
	t.Helper()
	text := make([]uint32, n)
	for i := range text {
		text[i] = uint32(3 + i%700)
	}
	e, err := silicon.NewScript(768, 8192, 1, 2, text, [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func bring(t testing.TB, m *Mock, shadow bool) *host {
	t.Helper()
	h := &host{t: t, m: m, shadow: shadow}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	h.regs, err = m.Region(hci.BARRegs)
	must(err)
	h.db, err = m.Region(hci.BARDoorbells)
	must(err)
	h.r, err = m.AllocDMA(0x8000, hal.CardReads)
	must(err)
	h.w, err = m.AllocDMA(0x20000, hal.CardWrites)
	must(err)
	h.vec, err = m.Vectors(2)
	must(err)
	must(m.WriteConfig(4, 2, 6))
	h.enable()
	if shadow {
		e := hci.SQE{OPC: hci.AdminDoorbellBufferConfig, PRP1: h.r.IOVA + rShadow, PRP2: h.w.IOVA + wEvent}
		h.ok(0, e)
	}
	e := hci.SQE{OPC: hci.AdminCreateIOCQ, PRP1: h.w.IOVA + wCQ}
	e.Put(hci.CreateIOCQQID, 1)
	e.Put(hci.CreateIOCQQsize, qSize-1)
	e.Put(hci.CreateIOCQPC, 1)
	e.Put(hci.CreateIOCQIEN, 1)
	e.Put(hci.CreateIOCQIV, 1)
	h.ok(0, e)
	e = hci.SQE{OPC: hci.AdminCreateIOSQ, PRP1: h.r.IOVA + rSQ}
	e.Put(hci.CreateIOSQQID, 1)
	e.Put(hci.CreateIOSQQsize, qSize-1)
	e.Put(hci.CreateIOSQPC, 1)
	e.Put(hci.CreateIOSQCQID, 1)
	h.ok(0, e)
	return h
}

func (h *host) enable() {
	h.regs.Store32(hci.RegAQA, (qSize-1)|(qSize-1)<<16)
	h.regs.Store64(hci.RegASQ, h.r.IOVA+rASQ)
	h.regs.Store64(hci.RegACQ, h.w.IOVA+wACQ)
	h.regs.Store32(hci.RegCC, 1|6<<16|4<<20)
	h.until(func() bool { return h.regs.Load32(hci.RegCSTS) == 1 })
}

// until spins, in the manner of a driver, for at most 20 s.
func (h *host) until(done func() bool) {
	h.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for i := 0; !done(); i++ {
		if i%1024 == 0 && time.Now().After(end) {
			h.t.Fatal("timeout")
		}
		h.m.Clock().Relax()
	}
}

func (h *host) submit(q int, e hci.SQE) {
	h.cid++
	e.CID = h.cid
	base := rASQ
	if q == 1 {
		base = rSQ
	}
	var b [hci.SQESize]byte
	e.Encode(&b)
	copy(h.r.Bytes[base+int(h.tail[q]%qSize)*hci.SQESize:], b[:])
	old := h.tail[q]
	h.tail[q]++
	h.ring(q, hci.ShadowOffSQT, hci.DoorbellSQTDBL, old, h.tail[q])
}

func (h *host) ring(q, off, reg int, old, new uint32) {
	if h.shadow && q == 1 {
		st32(h.r.Bytes, rShadow+q*hci.ShadowStride+off, new)
		if ev := ld32(h.w.Bytes, wEvent+q*hci.ShadowStride+off); new-ev-1 >= new-old {
			return
		}
	}
	h.db.Store32(q*hci.PageSize+reg, new%qSize)
}

func (h *host) poll(q int) (c hci.CQE, ok bool) {
	off := wACQ
	if q == 1 {
		off = wCQ
	}
	off += int(h.head[q]%qSize) * hci.CQESize
	hi := ld64(h.w.Bytes, off+8)
	if uint32(hi>>48)&1 != 1^h.head[q]/qSize&1 {
		return c, false
	}
	lo := ld64(h.w.Bytes, off)
	h.head[q]++
	h.ring(q, hci.ShadowOffCQH, hci.DoorbellCQHDBL, h.head[q]-1, h.head[q])
	return hci.CQE{DW0: uint32(lo), DW1: uint32(lo >> 32), SQHD: uint16(hi), SQID: uint16(hi >> 16), CID: uint16(hi >> 32), Status: uint16(hi >> 48)}, true
}

func (h *host) wait(q int) (c hci.CQE) {
	h.t.Helper()
	ok := false
	h.until(func() bool { c, ok = h.poll(q); return ok })
	return c
}

func (h *host) do(q int, e hci.SQE) hci.CQE { h.t.Helper(); h.submit(q, e); return h.wait(q) }

func (h *host) ok(q int, e hci.SQE) hci.CQE {
	h.t.Helper()
	c := h.do(q, e)
	if c.Code() != hci.StatusSuccess {
		h.t.Fatalf("opcode %#x: %v dw0=%#x dw1=%#x", e.OPC, c.Code(), c.DW0, c.DW1)
	}
	return c
}

func (h *host) open() uint32 {
	h.t.Helper()
	e := hci.SQE{OPC: hci.OpOpen, MPTR: h.w.IOVA + wCard, PRP1: h.w.IOVA + wRing, PRP2: h.r.IOVA + rHost}
	st32(h.r.Bytes, rHost, h.seq)
	h.rhead = h.seq
	e.Put(hci.OpenRingLog2, ringLog)
	e.Put(hci.OpenSequence, uint64(h.seq))
	e.Put(hci.OpenIV, 1)
	return h.ok(1, e).DW0
}

func (h *host) prefill(sid uint32, ids ...uint32) hci.SQE {
	for i, id := range ids {
		binary.LittleEndian.PutUint32(h.r.Bytes[rPrompt+4*i:], id)
	}
	e := hci.SQE{OPC: hci.OpPrefill, SID: sid, PRP1: h.r.IOVA + rPrompt}
	e.Put(hci.PrefillCount, uint64(len(ids)))
	e.Put(hci.PrefillCRC, uint64(hci.CRC32C(h.r.Bytes[rPrompt:rPrompt+4*len(ids)])))
	return e
}

func generate(sid uint32, epoch uint16, n int) hci.SQE {
	e := hci.SQE{OPC: hci.OpGenerate, SID: sid}
	e.Put(hci.GenerateMaxTokens, uint64(n))
	e.Put(hci.GenerateEpoch, uint64(epoch))
	e.Put(hci.GenerateGreedy, 1)
	return e
}

// record takes the next record, if it is there.
func (h *host) record(epoch uint16) (r hci.Record, ok bool) {
	off := wRing + int(h.rhead%(1<<ringLog))*hci.RecordSize
	tail := ld64(h.w.Bytes, off+56)
	if uint32(tail>>32) != h.rhead || uint16(tail) != epoch {
		return r, false
	}
	r.Decode((*[64]byte)(h.w.Bytes[off:]))
	if r.Sum() != r.CRC {
		h.t.Fatalf("record %d: bad crc", h.rhead)
	}
	old := h.rhead
	h.rhead++
	st32(h.r.Bytes, rHost, h.rhead)
	if ev := ld32(h.w.Bytes, wCard+hci.CardOffHEVT); h.rhead-ev-1 < h.rhead-old {
		h.db.Store32(hci.PageSize+hci.DoorbellKICK, 0)
	}
	return r, true
}

func TestWholePath(t *testing.T) {
	for _, clock := range []Clock{Realtime, Fast, Virtual} {
		for _, shadow := range []bool{false, true} {
			name := clock.String()
			if shadow {
				name += "/shadow"
			}
			t.Run(name, func(t *testing.T) {
				m, err := New(Options{Engine: testEngine(t, 500), Clock: clock, Serial: 7})
				if err != nil {
					t.Fatal(err)
				}
				h := bring(t, m, shadow)
				sid := h.open()
				h.submit(1, h.prefill(sid, 1))
				h.submit(1, generate(sid, 1, 300))
				var got []uint32
				stop := uint8(0)
				h.until(func() bool {
					for {
						r, ok := h.record(1)
						if !ok {
							return stop != 0
						}
						got = append(got, r.Payload[0])
						stop = r.Stop
					}
				})
				if len(got) != 300 || stop != hci.StopMaxTokens || got[0] != 3 || got[299] != 302 {
					t.Fatalf("%d tokens, stop %d: %v", len(got), stop, got[:4])
				}
				h.wait(1)
				c := h.wait(1)
				if c.Code() != 0 || c.DW0 != 300 || c.DW1 != 300 {
					t.Fatalf("%+v", c)
				}
				decode := ld64(h.w.Bytes, wCard+hci.CardOffDecodeNS)
				t.Logf("decode %d ns, energy %d uJ", decode, ld64(h.w.Bytes, wCard+hci.CardOffEnergyUJ))
				h.ok(1, hci.SQE{OPC: hci.OpClose, SID: sid})
				if v := m.Violations(); len(v) > 0 {
					t.Fatal(v)
				}
				t.Logf("%+v", m.Counters())
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}
