package card

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// A refused access, at every access there is in a life with all features:
// the card neither panics nor hangs, keeps its books, and a reset brings it
// back.
func TestRefusedAccessAnywhere(t *testing.T) {
	for n := 1; ; n++ {
		plan, err := ParsePlan(fmt.Sprintf("dma-fault@dma#%d", n))
		if err != nil {
			t.Fatal(err)
		}
		x := &hostile{fakeHost: newHost(t, Config{Faults: plan, Sessions: 4}, &hashEngine{vocab: 100, context: 4096})}
		x.lax = true
		life(x)
		if v, _ := x.c.Violations(); len(v) > 0 {
			t.Fatalf("access %d: the fault plan's doing was held against the host: %v", n, v)
		}
		if n == 1 && x.reg(hci.RegFERR) != hci.FatalAdminDMA {
			t.Errorf("FERR %d", x.reg(hci.RegFERR))
		}
		refused := x.c.counters.DMAFaults
		x.c.Reset(FLR)
		x.settleBounded()
		x.c.WriteConfig(cfgCommand, 2, commandMemory|commandMaster)
		if refused == 0 { // the life has fewer accesses
			if n < 200 {
				t.Errorf("only %d accesses", n)
			}
			return
		}
		x.bringUp(true)
		x.open(0)
		x.check()
	}
}

// life uses everything once and expects nothing.
func life(x *hostile) {
	var sids [4]uint32
	submit := func(q int, e hci.SQE) (c hci.CQE) {
		x.put(q, e)
		if x.reg(hci.RegCSTS) == 1 {
			x.ring(q)
		}
		x.settleBounded()
		for {
			d, ok := x.peek(q)
			if !ok {
				x.check()
				return c
			}
			c = d
			x.head[q]++
			if x.reg(hci.RegCSTS) == 1 {
				x.headBell(q)
			}
		}
	}
	x.recover()
	x.head[0], x.tail[0] = 4, 4 // it created four queues
	if x.reg(hci.RegCSTS) != 1 {
		return
	}
	clear(x.r[offShadow : offShadow+0x1000])
	if c := submit(0, hci.SQE{OPC: hci.AdminDoorbellBufferConfig, PRP1: iovaR + offShadow, PRP2: iovaW + offEvent}); c.Code() == 0 {
		x.shadow = true
	}
	e := hci.SQE{OPC: hci.AdminHealthRecordConfig, PRP1: iovaW + offHealth}
	e.Put(hci.HealthRecordConfigInterval, 10)
	submit(0, e)
	e = hci.SQE{OPC: hci.AdminIdentify, PRP1: iovaW + offData}
	e.Put(hci.IdentifyCNS, 1)
	submit(0, e)
	e = hci.SQE{OPC: hci.AdminGetLogPage, PRP1: iovaW + offData}
	e.Put(hci.GetLogPageLID, hci.LogTelemetry)
	e.Put(hci.GetLogPageNUMD, 63)
	submit(0, e)
	submit(0, hci.SQE{OPC: hci.AdminAsyncEventRequest})
	for _, mw := range []uint64{200_000, powerMaxMW} { // an event each
		e = hci.SQE{OPC: hci.AdminSetFeatures}
		e.Put(hci.SetFeaturesFID, hci.FeatureIDPowerCap)
		e.Put(hci.SetFeaturesValue, mw)
		submit(0, e)
	}
	for i := range 2 {
		sids[i] = submit(1, x.openCmd(i, 4, 0)).DW0
	}
	f := x.openCmd(2, 4, 0)
	f.OPC, f.SID = hci.OpFork, sids[0]
	submit(1, f)
	e = x.prefill(sids[0], count(20))
	e.Put(hci.PrefillScore, 1)
	e.Put(hci.PrefillEpoch, 1)
	submit(1, e) // the ring of 16 fills
	x.records(0, 1)
	x.settleBounded()
	x.records(0, 1)
	submit(1, x.prefill(sids[1], count(5)))
	p := hci.Params{MaskSlots: 4, MaskIOVA: iovaR + offMask, Presence: 1}
	x.setBias(&p, biasEntry{1, 1})
	x.setParams(p)
	e = withParams(gen(sids[0], 2, 3))
	e.Put(hci.GenerateMask, 1)
	submit(1, e)
	x.setMask(2, 20, 4, func(_, id int) bool { return id > 3 })
	x.bell2(hci.DoorbellKICK, sids[0]&0xFFFF)
	x.settleBounded()
	x.records(0, 2)
	e = gen(sids[1], 1, 3)
	e.Put(hci.GenerateStepped, 1)
	submit(1, e)
	if s := x.c.session(sids[1]); s != nil && s.running {
		x.choose(1, 1, uint32(s.kvLen), s.gen.top[0].id)
		x.settleBounded()
	}
	x.c.arm(uint64(sids[1]&0xFFFF)<<32 | 1<<48)
	x.step()
	submit(2, hci.SQE{OPC: hci.OpCancel, SID: sids[0]})
	submit(2, hci.SQE{OPC: hci.OpCancel, SID: sids[1]})
	submit(0, deleteSQ(2))
	submit(1, hci.SQE{OPC: hci.OpClose, SID: sids[1]})
}

// bell2 is a doorbell for a card that may have failed.
func (x *hostile) bell2(reg int, v uint32) {
	if x.reg(hci.RegCSTS) == 1 {
		x.bell(1, reg, v)
	}
}

func TestEngineErrorsAreInternal(t *testing.T) {
	e := &hashEngine{vocab: 100, context: 4096}
	h := up(t, Config{}, e, false)
	sid := h.open(0)
	e.fail = errors.New("broken")
	h.want(h.do(1, h.prefill(sid, count(3))), hci.StatusInternalError)
	e.fail = nil
	h.ok(1, h.prefill(sid, count(3)))
	n := 0
	e.compute = func() {
		if n++; n == 4 {
			e.fail = errors.New("broken")
		}
	}
	h.want(h.do(1, greedy(sid, 1, 20)), hci.StatusInternalError)
	rs := h.records(0, 1)
	if last := rs[len(rs)-1]; last.Stop != hci.StopError || len(rs) != 5 {
		t.Errorf("%d records, %+v", len(rs), last)
	}
}

func TestScoreOfNoNumber(t *testing.T) {
	e := &hashEngine{vocab: 100, context: 4096, tweak: func(p int, l []float32) {
		if p == 7 {
			l[3] = float32(math.NaN())
		}
		l[9] = negInf
	}}
	h := up(t, Config{}, e, false)
	sid := h.open(0)
	toks := count(20)
	toks[4] = 9
	x := h.prefill(sid, toks)
	x.Put(hci.PrefillScore, 1)
	x.Put(hci.PrefillEpoch, 1)
	c := h.do(1, x)
	h.want(c, hci.StatusNumericError)
	rs := h.records(0, 1)
	if c.DW0 != 7 || len(rs) == 0 || rs[3].Payload[0] != 9 || rs[3].LogProb(0) != 0xFBFF {
		t.Errorf("%+v, %+v", c, rs)
	}
}

// The states of the SESSIONS log.
func TestSessionStates(t *testing.T) {
	h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, false)
	state := func(i int) uint8 { return h.c.slots[i].entry().State }
	for i := range 3 {
		h.open(i)
		h.ok(1, h.prefill(h.sess[i].sid, count(2)))
	}
	if state(0) != 1 {
		t.Errorf("idle: %d", state(0))
	}
	h.submit(1, h.prefill(h.sess[0].sid, count(100)))
	h.run(100_000)
	if state(0) != 2 {
		t.Errorf("prefill: %d", state(0))
	}
	h.settle()
	h.poll(1)
	h.submit(1, greedy(h.sess[0].sid, 1, 1000))
	h.run(500_000)
	if state(0) != 3 {
		t.Errorf("decode: %d", state(0))
	}
	h.settle()
	if state(0) != 4 {
		t.Errorf("ring full: %d", state(0))
	}
	e := gen(h.sess[1].sid, 1, 5)
	e.Put(hci.GenerateStepped, 1)
	h.submit(1, e)
	h.settle()
	if state(1) != 5 {
		t.Errorf("choice: %d", state(1))
	}
	h.setParams(hci.Params{MaskSlots: 2, MaskIOVA: iovaR + offMask})
	e = withParams(gen(h.sess[2].sid, 1, 5))
	e.Put(hci.GenerateMask, 1)
	h.submit(1, e)
	h.settle()
	if state(2) != 6 {
		t.Errorf("mask: %d", state(2))
	}
	for i := range 3 {
		h.submit(2, hci.SQE{OPC: hci.OpCancel, SID: h.sess[i].sid})
	}
	h.settle()
	if state(0) != 1 || state(1) != 1 || state(2) != 1 {
		t.Error("not idle after CANCEL")
	}
}

// A vocabulary at the limit: masks, candidates and log-probabilities reach
// its last token.
func TestLargestVocabulary(t *testing.T) {
	const last = hci.MaxVocab - 1
	e := &hashEngine{vocab: hci.MaxVocab, context: 100, tweak: func(p int, l []float32) { l[last] = 100 }}
	h := up(t, Config{}, e, false)
	sid := h.open(0)
	h.ok(1, h.prefill(sid, []uint32{last, 0}))
	h.setParams(hci.Params{MaskSlots: 2, MaskIOVA: iovaR + offMask})
	h.setMask(1, 2, 2, func(_, id int) bool { return id == last })
	h.setMask(1, 3, 2, func(_, id int) bool { return id != last })
	g := withParams(greedy(sid, 1, 2))
	g.Put(hci.GenerateMask, 1)
	g.Put(hci.GenerateLogprobs, 1)
	h.ok(1, g)
	rs := h.records(0, 1)
	if len(rs) != 2 || rs[0].Count != 1 || rs[0].Payload[0] != last || rs[0].LogProb(0) != 0 || rs[1].Count != 8 || rs[1].Payload[0] == last {
		t.Errorf("%+v", rs)
	}
}
