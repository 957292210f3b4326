package card

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// A completion queue of 4 wraps many times; phase and SQHD stay right.
func TestPhaseWraps(t *testing.T) {
	for _, shadow := range []bool{false, true} {
		h := newHost(t, Config{}, nil)
		h.msixOn()
		h.enable(4)
		if h.shadow = shadow; shadow {
			h.ok(0, hci.SQE{OPC: hci.AdminDoorbellBufferConfig, PRP1: iovaR + offShadow, PRP2: iovaW + offEvent})
		}
		h.createQueue(1, 4)
		sid := h.open(0)
		for i := range 100 {
			c := h.ok(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
			if uint32(c.SQHD) != h.tail[1]%4 {
				t.Fatalf("%d: SQHD %d, tail %d", i, c.SQHD, h.tail[1])
			}
		}
		for range 20 {
			h.ok(0, getFeature(hci.FeatureIDQueues, 0))
		}
		if h.irqs[0] == 0 || h.irqs[1] == 0 {
			t.Error("no interrupts")
		}
	}
}

func getFeature(fid, sel int) hci.SQE {
	e := hci.SQE{OPC: hci.AdminGetFeatures}
	e.Put(hci.GetFeaturesFID, uint64(fid))
	e.Put(hci.GetFeaturesSEL, uint64(sel))
	return e
}

// A full CQ holds completions, and nothing is lost or overwritten.
func TestFullCompletionQueueHolds(t *testing.T) {
	for _, shadow := range []bool{false, true} {
		h := up(t, Config{}, nil, shadow)
		h.t = t
		h.ok(0, deleteSQ(2))
		h.ok(0, deleteCQ(2))
		h.size[2], h.tail[2], h.head[2] = 32, 0, 0
		clear(h.w[offCQ+0x2000:][:0x1000])
		clear(h.r[offShadow+2*hci.ShadowStride:][:hci.ShadowStride])
		h.ok(0, createCQ(2, 4, 2)) // SQ of 32, CQ of 4
		h.ok(0, createSQ(2, 32))
		sid := h.open(0)
		var cids []uint16
		for range 20 {
			cids = append(cids, h.put(2, hci.SQE{OPC: hci.OpCancel, SID: sid}))
		}
		h.ring(2)
		h.settle()
		h.size[2] = 4 // of the CQ, for poll
		for i, cid := range cids {
			c, ok := h.peek(2)
			if !ok || c.CID != cid {
				t.Fatalf("completion %d: %+v %v", i, c, ok)
			}
			h.poll(2)
			h.settle()
		}
		if _, ok := h.peek(2); ok {
			t.Error("one too many")
		}
	}
}

func TestCIDConflict(t *testing.T) {
	h := up(t, Config{Paced: true}, nil, false)
	h.lax = true
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(3)))
	a := h.submit(1, greedy(sid, 1, 50))
	h.run(100_000)
	h.cid = a - 1
	b := h.submit(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
	h.run(100_000)
	h.take(1, b, hci.StatusCIDConflict)
	if v, _ := h.c.Violations(); len(v) != 1 || v[0].Category != Sequence {
		t.Error(v)
	}
}

// While the card is busy it sees new commands without a doorbell.
func TestBusyCardNeedsNoDoorbell(t *testing.T) {
	h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, true)
	a, b := h.open(0), h.open(1)
	h.ok(1, h.prefill(a, count(3)))
	h.submit(1, greedy(a, 1, 60))
	h.run(300_000)
	before := h.c.counters.Doorbells
	for range 5 {
		cid := h.submit(1, hci.SQE{OPC: hci.OpCancel, SID: b})
		h.run(2 * 58960)
		h.take(1, cid, hci.StatusSuccess)
	}
	if n := h.c.counters.Doorbells - before; n != 0 {
		t.Errorf("%d doorbells", n)
	}
	h.settle()
	h.submit(1, hci.SQE{OPC: hci.OpCancel, SID: b})
	if h.c.counters.Doorbells == before {
		t.Error("an idle card got no doorbell")
	}
	h.settle()
}

func TestQueueCommands(t *testing.T) {
	h := newHost(t, Config{}, nil)
	h.lax = true
	h.msixOn()
	h.enable(16)
	put := func(e hci.SQE, fs ...any) hci.SQE {
		for i := 0; i < len(fs); i += 2 {
			e.Put(fs[i].(hci.CommandField), uint64(fs[i+1].(int)))
		}
		return e
	}
	raw := func(e hci.SQE, f func(*hci.SQE)) hci.SQE { f(&e); return e }
	for _, c := range []struct {
		name string
		e    hci.SQE
		s    hci.Status
	}{
		{"cq 0", put(createCQ(1, 16, 1), hci.CreateIOCQQID, 0), hci.StatusQIDInvalid},
		{"cq above", put(createCQ(1, 16, 1), hci.CreateIOCQQID, numQueues+1), hci.StatusQIDInvalid},
		{"cq size 1", put(createCQ(1, 16, 1), hci.CreateIOCQQsize, 0), hci.StatusQueueSizeInvalid},
		{"cq size 3", put(createCQ(1, 16, 1), hci.CreateIOCQQsize, 2), hci.StatusQueueSizeInvalid},
		{"cq size 8192", put(createCQ(1, 16, 1), hci.CreateIOCQQsize, 8191), hci.StatusQueueSizeInvalid},
		{"cq not contiguous", put(createCQ(1, 16, 1), hci.CreateIOCQPC, 0), hci.StatusInvalidField},
		{"cq vector", put(createCQ(1, 16, 1), hci.CreateIOCQIV, NumVectors), hci.StatusVectorInvalid},
		{"cq unaligned", raw(createCQ(1, 16, 1), func(e *hci.SQE) { e.PRP1 += 64 }), hci.StatusInvalidField},
		{"cq null", raw(createCQ(1, 16, 1), func(e *hci.SQE) { e.PRP1 = 0 }), hci.StatusInvalidField},
		{"cq reserved", raw(createCQ(1, 16, 1), func(e *hci.SQE) { e.PRP2 = 1 }), hci.StatusInvalidField},
		{"sq without cq", createSQ(1, 16), hci.StatusCQInvalid},
		{"cq", createCQ(1, 16, 1), hci.StatusSuccess},
		{"cq again", createCQ(1, 16, 1), hci.StatusQIDInvalid},
		{"sq other cq", put(createSQ(1, 16), hci.CreateIOSQCQID, 2), hci.StatusCQInvalid},
		{"sq size", put(createSQ(1, 16), hci.CreateIOSQQsize, 4), hci.StatusQueueSizeInvalid},
		{"sq", createSQ(1, 16), hci.StatusSuccess},
		{"sq again", createSQ(1, 16), hci.StatusQIDInvalid},
		{"delete cq first", deleteCQ(1), hci.StatusQueueDeletionInvalid},
		{"delete sq", deleteSQ(1), hci.StatusSuccess},
		{"delete sq again", deleteSQ(1), hci.StatusQIDInvalid},
		{"delete cq", deleteCQ(1), hci.StatusSuccess},
		{"delete cq again", deleteCQ(1), hci.StatusQIDInvalid},
		{"delete 0", deleteSQ(0), hci.StatusQIDInvalid},
		{"shadow unaligned", hci.SQE{OPC: hci.AdminDoorbellBufferConfig, PRP1: 64, PRP2: iovaW}, hci.StatusInvalidField},
		{"identify cns", put(hci.SQE{OPC: hci.AdminIdentify, PRP1: iovaW}, hci.IdentifyCNS, 2), hci.StatusInvalidField},
		{"identify unmapped", put(hci.SQE{OPC: hci.AdminIdentify, PRP1: 0x5000}, hci.IdentifyCNS, 1), hci.StatusDataTransferError},
		{"identify wrong way", put(hci.SQE{OPC: hci.AdminIdentify, PRP1: iovaR}, hci.IdentifyCNS, 1), hci.StatusDataTransferError},
		{"opcode", hci.SQE{OPC: 0x03}, hci.StatusInvalidOpcode},
		{"firmware download", hci.SQE{OPC: hci.AdminFirmwareDownload}, hci.StatusInvalidOpcode},
		{"firmware commit", hci.SQE{OPC: hci.AdminFirmwareCommit}, hci.StatusInvalidOpcode},
		{"adapter load", hci.SQE{OPC: hci.AdminAdapterLoad}, hci.StatusInvalidOpcode},
		{"adapter unload", hci.SQE{OPC: hci.AdminAdapterUnload}, hci.StatusInvalidOpcode},
		{"attest", hci.SQE{OPC: hci.AdminAttest}, hci.StatusInvalidOpcode},
		{"admin sid", hci.SQE{OPC: hci.AdminGetFeatures, SID: 1}, hci.StatusInvalidField},
		{"feature", getFeature(0x01, 0), hci.StatusInvalidField},
		{"feature select", getFeature(hci.FeatureIDPowerCap, 2), hci.StatusInvalidField},
		{"health interval", put(hci.SQE{OPC: hci.AdminHealthRecordConfig, PRP1: iovaW + offHealth}, hci.HealthRecordConfigInterval, 9), hci.StatusInvalidField},
		{"health unaligned", put(hci.SQE{OPC: hci.AdminHealthRecordConfig, PRP1: iovaW + 8}, hci.HealthRecordConfigInterval, 10), hci.StatusInvalidField},
		{"health wrong way", put(hci.SQE{OPC: hci.AdminHealthRecordConfig, PRP1: iovaR}, hci.HealthRecordConfigInterval, 10), hci.StatusDataTransferError},
		{"log", put(hci.SQE{OPC: hci.AdminGetLogPage, PRP1: iovaW}, hci.GetLogPageLID, 0x02), hci.StatusLogPageInvalid},
		{"log length", put(hci.SQE{OPC: hci.AdminGetLogPage, PRP1: iovaW}, hci.GetLogPageLID, 0xC0, hci.GetLogPageNUMD, 1024), hci.StatusInvalidField},
		{"log offset", put(hci.SQE{OPC: hci.AdminGetLogPage, PRP1: iovaW}, hci.GetLogPageLID, 0xC0, hci.GetLogPageLPO, 2), hci.StatusInvalidField},
		{"self-test code", put(hci.SQE{OPC: hci.AdminSelfTest}, hci.SelfTestSTC, 5), hci.StatusInvalidField},
		{"abort no queue", abortCmd(9, 1), hci.StatusQIDInvalid},
	} {
		if got := h.do(0, c.e); got.Code() != c.s {
			t.Errorf("%s: %v dw1=%#x, want %v", c.name, got.Code(), got.DW1, c.s)
		}
	}
	if c := h.ok(0, abortCmd(0, 77)); c.DW0 != 1 {
		t.Errorf("abort of nothing: %+v", c)
	}
}

// Memory of queues that is not there.
func TestQueueMemoryFaults(t *testing.T) {
	t.Run("admin SQ", func(t *testing.T) {
		h := newHost(t, Config{}, nil)
		h.lax = true
		h.set(hci.RegAQA, 15|15<<16)
		h.c.WriteBAR(hci.BARRegs, hci.RegASQ, 8, 0xDEAD000)
		h.c.WriteBAR(hci.BARRegs, hci.RegACQ, 8, iovaW+offCQ)
		h.set(hci.RegCC, 1|6<<16|4<<20)
		h.settle()
		h.bell(0, hci.DoorbellSQTDBL, 1)
		h.settle()
		if s, f := h.reg(hci.RegCSTS), h.reg(hci.RegFERR); s&2 == 0 || f != hci.FatalAdminDMA {
			t.Errorf("CSTS %#x, FERR %d", s, f)
		}
	})
	t.Run("I/O SQ and CQ", func(t *testing.T) {
		h := up(t, Config{}, nil, false)
		h.lax = true
		e := createCQ(3, 4, 3)
		e.PRP1 = iovaR // the wrong way
		h.ok(0, e)
		h.size[3] = 4
		h.ok(0, createSQ(3, 4))
		h.submit(3, hci.SQE{OPC: hci.OpCancel})
		h.settle()
		if !h.c.queues[3].stuck {
			t.Error("goes on with a queue whose memory is gone")
		}
		sid := h.open(0) // others live on
		h.ok(1, hci.SQE{OPC: hci.OpClose, SID: sid})
		v, _ := h.c.Violations()
		if len(v) != 1 || v[0].Category != BadDirection {
			t.Error(v)
		}
	})
}

func TestUseAfterFreeIsNamed(t *testing.T) {
	h := up(t, Config{}, nil, false)
	h.lax = true
	sid := h.open(0)
	h.Unmap(iovaR, sizeR, nil)
	h.bell(1, hci.DoorbellSQTDBL, (h.tail[1]+1)%32)
	h.settle()
	v, _ := h.c.Violations()
	if len(v) == 0 || v[0].Category != UseAfterFree {
		t.Errorf("%v (session %#x)", v, sid)
	}
}

// Dekker: the card re-reads after it has written the event index.
func TestShadowRaceIsClosed(t *testing.T) {
	h := up(t, Config{}, nil, true)
	sid := h.open(0)
	off := hci.ShadowStride + hci.ShadowOffSQT
	// The host stores the word without a doorbell at the moment when the card
	// stores its event index.
	cid := h.put(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
	h.hook = func(iova uint64) {
		if iova == iovaW+offEvent+uint64(off) {
			binary.LittleEndian.PutUint32(h.r[offShadow+off:], h.tail[1])
		}
	}
	h.c.queues[1].sqEvent-- // so that it is written again
	h.settle()
	h.take(1, cid, hci.StatusSuccess)
}

// ARM: every condition, and once only.
func TestArm(t *testing.T) {
	h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, true)
	sid := h.open(0)
	const v = 3
	arm := func(seq uint32, delay uint64) {
		h.c.WriteBAR(hci.BARDoorbells, hci.PageSize+hci.DoorbellARM, 8, uint64(seq)|uint64(sid&0xFFFF)<<32|delay<<48)
	}
	fired := func(what string, want int) {
		t.Helper()
		if h.irqs[v] != want {
			t.Fatalf("%s: %d interrupts, want %d", what, h.irqs[v], want)
		}
	}
	arm(100, 0)
	h.settle()
	fired("nothing runs", 1)
	h.settle()
	fired("one-shot", 1)
	h.ok(1, h.prefill(sid, count(3)))
	h.submit(1, greedy(sid, 1, 300))
	h.run(20_000)
	arm(100, 0)
	h.run(20_000)
	fired("not yet", 1)
	h.run(60_000)
	fired("record", 2)
	arm(100, 0)
	h.run(0)
	fired("true already", 3)
	arm(120, 0)
	arm(110, 0) // replaces it
	h.run(9 * 58960)
	fired("one before", 3)
	h.run(58960)
	fired("later record", 4)
	h.run(58960)
	fired("once", 4)
	h.records(0, 1)
	arm(150, 500)
	h.run(400_000)
	fired("delay not over", 4)
	h.run(200_000)
	fired("delay", 5)
	arm(1000, 0)
	h.run(100 * 58960)
	fired("ring full", 6)
	h.records(0, 1)
	h.bell(1, hci.DoorbellKICK, sid&0xFFFF)
	h.run(58960)
	arm(1000, 0)
	h.run(10_000)
	fired("ring has room", 6)
	h.submit(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
	h.run(200_000)
	fired("nothing more comes", 7)
	// A delay with nothing to consume fires with the next record.
	h.all(0, 1)
	h.run(0)
	h.c.WriteBAR(hci.BARDoorbells, hci.DoorbellARM, 4, 0) // split in two, other page
	h.c.WriteBAR(hci.BARDoorbells, hci.DoorbellARM+4, 4, uint64(sid&0xFFFF))
	h.run(0)
	fired("split store", 8)
}

func TestRingFull(t *testing.T) {
	h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, true)
	e := h.openCmd(0, 4, ^uint32(3)) // 16 records; the sequence wraps
	sid := h.ok(1, e).DW0
	h.sess[0].sid = sid
	prompt := count(5)
	h.ok(1, h.prefill(sid, prompt))
	h.submit(1, greedy(sid, 1, 100))
	h.settle()
	if n := h.c.slots[0].seq - ^uint32(3); n != 16 {
		t.Fatalf("%d records in a ring of 16", n)
	}
	if ev := uint32(h.cardBlock(0, 0)); ev != ^uint32(3) {
		t.Errorf("HEVT %#x", ev)
	}
	if h.c.counters.RingStalls != 1 {
		t.Errorf("%d stalls", h.c.counters.RingStalls)
	}
	h.now += 5_000_000
	rs := h.all(0, 1)
	if got, want := ids(rs), h.e.greedy(prompt, 100); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if n := h.cardBlock(0, hci.CardOffStallNS); n < 5_000_000 {
		t.Errorf("STALL_NS %d", n)
	}
}

func TestHeadOutsideTheRing(t *testing.T) {
	for _, bad := range []uint32{99, 165, 0xFFFF_FFFF} {
		h := up(t, Config{}, &hashEngine{vocab: 100, context: 4096}, true)
		h.lax = true
		sid := h.open(0)
		h.ok(1, h.prefill(sid, count(5)))
		cid := h.submit(1, greedy(sid, 1, 100))
		h.settle() // 64 records, full
		binary.LittleEndian.PutUint32(h.r[offHost:], bad)
		h.bell(1, hci.DoorbellKICK, sid&0xFFFF)
		h.settle()
		h.take(1, cid, hci.StatusRingInvalid)
		if v, _ := h.c.Violations(); len(v) == 0 || v[0].Category != HeadBack {
			t.Error(v)
		}
	}
}

// Of k sessions that decode each gets 1/k; a prompt holds others up by a
// chunk at most; a full ring costs the others nothing.
func TestRoundRobin(t *testing.T) {
	h := up(t, Config{Paced: true, Context: 2000, KVBudget: 8000}, &hashEngine{vocab: 100, context: 4096}, true)
	var s [4]uint32
	for i := range 4 {
		s[i] = h.ok(1, h.openCmd(i, 10, 0)).DW0
		h.ok(1, h.prefill(s[i], count(3)))
	}
	for i := range 3 {
		h.put(1, greedy(s[i], 1, 1000))
	}
	h.ring(1)
	h.run(300 * 58960)
	for i := range 3 {
		if n := int(h.c.slots[i].seq); n < 99 || n > 101 {
			t.Errorf("session %d: %d of 300 steps", i, n)
		}
	}
	h.submit(1, h.prefill(s[3], count(640))) // 20 chunks
	from := h.c.slots[0].seq
	h.run((20*32 + 3*20) * 58960)
	for i := range 3 {
		if n := int(h.c.slots[i].seq - from); n < 18 || n > 22 {
			t.Errorf("session %d: %d steps beside 20 chunks", i, n)
		}
	}
	if n := h.c.slots[3].kvLen; n < 600 || n > 643 {
		t.Errorf("prefilled %d", n)
	}
	for range 3 { // the first ring fills: the others share its turns
		h.run(800 * 58960)
	}
}

func TestStatusNamesAreComplete(t *testing.T) {
	for _, s := range hci.Statuses {
		if fmt.Sprint(s.Code) != s.Name {
			t.Errorf("%v", s)
		}
	}
}
