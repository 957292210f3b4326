package card

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

func TestConfigSpace(t *testing.T) {
	h := newHost(t, Config{Serial: 0x1122334455667788}, nil)
	rd := func(off, w int) uint32 { return h.c.ReadConfig(off, w) }
	for _, c := range []struct {
		off, w int
		want   uint32
	}{
		{0, 2, hci.PCIVendor}, {2, 2, hci.PCIDevice}, {8, 4, hci.PCIClass<<8 | hci.PCIRevision}, {0x0B, 1, 0x12}, {0x0E, 1, 0},
		{0x2C, 2, hci.PCISubVendor}, {0x2E, 2, hci.PCISubDevice}, {6, 2, 0x10},
	} {
		if got := rd(c.off, c.w); got != c.want {
			t.Errorf("config %#x: %#x, want %#x", c.off, got, c.want)
		}
	}
	for bar, size := range map[int]uint64{0: hci.BARRegsSize, 2: hci.BARDoorbellsSize, 4: hci.BARMSIXSize} {
		off := 0x10 + 4*bar
		if f := rd(off, 4) & 0xF; f != 4 {
			t.Errorf("BAR%d: flags %#x", bar, f)
		}
		h.c.WriteConfig(off, 4, 0xFFFF_FFFF)
		h.c.WriteConfig(off+4, 4, 0xFFFF_FFFF)
		v := uint64(rd(off, 4)&^0xF) | uint64(rd(off+4, 4))<<32
		if -v != size {
			t.Errorf("BAR%d: sized %#x, want %#x", bar, -v, size)
		}
		h.c.WriteConfig(off, 4, 0xC000_0004)
		if got := rd(off, 4); got != 0xC000_0004 {
			t.Errorf("BAR%d: %#x", bar, got)
		}
	}
	caps := map[uint32]int{}
	for p := int(rd(0x34, 1)); p != 0; p = int(rd(p+1, 1)) {
		caps[rd(p, 1)] = p
		if len(caps) > 10 {
			t.Fatal("loop in the capability list")
		}
	}
	ext := map[uint32]int{}
	for p := 0x100; p != 0; p = int(rd(p, 4) >> 20) {
		ext[rd(p, 4)&0xFFFF] = p
		if len(ext) > 10 {
			t.Fatal("loop in the extended list")
		}
	}
	if len(caps) != 3 || caps[1] == 0 || caps[0x11] == 0 || caps[0x10] == 0 || len(ext) != 2 || ext[1] == 0 || ext[3] == 0 {
		t.Fatalf("capabilities %v, extended %v", caps, ext)
	}
	if sn := uint64(rd(ext[3]+4, 4)) | uint64(rd(ext[3]+8, 4))<<32; sn != 0x1122334455667788 {
		t.Errorf("serial %#x", sn)
	}
	if n := rd(caps[0x11]+2, 2) & 0x7FF; n != NumVectors-1 {
		t.Errorf("%d vectors", n+1)
	}
	if rd(caps[0x11]+4, 4) != hci.BARMSIX || rd(caps[0x11]+8, 4) != 0x1000|hci.BARMSIX {
		t.Error("MSI-X table or pending bits elsewhere")
	}
	if rd(caps[0x10]+4, 4)>>28&1 != 1 {
		t.Error("no FLR")
	}
	if rd(caps[1]+4, 2)&8 == 0 {
		t.Error("NoSoftRst")
	}
	// D3hot keeps state, and hides the BARs.
	h.lax = true
	h.c.WriteConfig(caps[1]+4, 2, 3)
	if v := h.reg(hci.RegVS); v != 0xFFFF_FFFF {
		t.Errorf("VS in D3hot: %#x", v)
	}
	h.c.WriteConfig(caps[1]+4, 2, 0)
	if v := h.reg(hci.RegVS); v != hci.Version {
		t.Errorf("VS: %#x", v)
	}
	h.c.WriteConfig(cfgCommand, 2, commandMaster)
	if v := h.reg(hci.RegVS); v != 0xFFFF_FFFF {
		t.Errorf("VS without memory space: %#x", v)
	}
	for _, bad := range [][2]int{{1, 2}, {2, 4}, {4096, 1}, {-1, 1}, {0, 3}, {0, 8}} {
		h.c.ReadConfig(bad[0], bad[1])
		h.c.WriteConfig(bad[0], bad[1], 0xFFFF_FFFF)
	}
}

func TestRegistersReset(t *testing.T) {
	h := newHost(t, Config{}, nil)
	for _, r := range hci.Registers {
		if r.Reset == "implementation" {
			continue
		}
		want, err := strconv.ParseUint(r.Reset, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		got := uint64(h.reg(int(r.Offset)))
		if r.Name == "BSTS" {
			got &= 0xFFFF // the slot is the implementation's
		}
		if got != want {
			t.Errorf("%s: %#x, want %#x", r.Name, got, want)
		}
	}
	cap := h.c.ReadBAR(0, hci.RegCAP, 8)
	if lo, hi := h.reg(0), h.reg(4); uint64(lo)|uint64(hi)<<32 != cap || hci.CAPCQR.Get(cap) != 1 || hci.CAPMPSMIN.Get(cap) != 0 || hci.CAPNQP.Get(cap) != numQueues {
		t.Errorf("CAP %#x", cap)
	}
	h.set(hci.RegASQ, 0x1234_5000)
	h.set(hci.RegASQ+4, 0x9)
	if v := h.c.ReadBAR(0, hci.RegASQ, 8); v != 0x9_1234_5000 {
		t.Errorf("ASQ %#x", v)
	}
}

func TestBringUp(t *testing.T) {
	type setup struct {
		cc, aqa  uint32
		asq, acq uint64
	}
	for _, c := range []struct {
		name string
		s    setup
		ferr uint32
	}{
		{"good", setup{1 | 6<<16 | 4<<20, 15 | 15<<16, iovaR, iovaW}, 0},
		{"smallest", setup{1 | 6<<16 | 4<<20, 1 | 1<<16, iovaR, iovaW}, 0},
		{"largest", setup{1 | 6<<16 | 4<<20, 4095 | 4095<<16, iovaR, iovaW}, 0},
		{"SQE size", setup{1 | 7<<16 | 4<<20, 15 | 15<<16, iovaR, iovaW}, hci.FatalConfig},
		{"CQE size", setup{1 | 6<<16 | 3<<20, 15 | 15<<16, iovaR, iovaW}, hci.FatalConfig},
		{"page size", setup{1 | 1<<7 | 6<<16 | 4<<20, 15 | 15<<16, iovaR, iovaW}, hci.FatalConfig},
		{"one entry", setup{1 | 6<<16 | 4<<20, 0 | 15<<16, iovaR, iovaW}, hci.FatalConfig},
		{"not a power of two", setup{1 | 6<<16 | 4<<20, 15 | 14<<16, iovaR, iovaW}, hci.FatalConfig},
		{"ASQ unaligned", setup{1 | 6<<16 | 4<<20, 15 | 15<<16, iovaR + 64, iovaW}, hci.FatalConfig},
		{"ACQ null", setup{1 | 6<<16 | 4<<20, 15 | 15<<16, iovaR, 0}, hci.FatalConfig},
	} {
		h := newHost(t, Config{}, nil)
		h.set(hci.RegAQA, c.s.aqa)
		h.c.WriteBAR(0, hci.RegASQ, 8, c.s.asq)
		h.c.WriteBAR(0, hci.RegACQ, 8, c.s.acq)
		h.set(hci.RegCC, c.s.cc)
		if h.reg(hci.RegCSTS) != 0 {
			t.Errorf("%s: ready at once", c.name)
		}
		h.settle()
		want := uint32(1)
		if c.ferr != 0 {
			want = 2
		}
		if s, f := h.reg(hci.RegCSTS), h.reg(hci.RegFERR); s != want || f != c.ferr {
			t.Errorf("%s: CSTS %#x FERR %d", c.name, s, f)
		}
		// Whatever it was, EN = 0 leads out of it.
		gen := h.reg(hci.RegRGEN)
		h.set(hci.RegCC, c.s.cc&^1)
		h.settle()
		if s, f := h.reg(hci.RegCSTS), h.reg(hci.RegFERR); s != 0 || f != 0 || h.reg(hci.RegRGEN) != gen+1 {
			t.Errorf("%s: after EN = 0: CSTS %#x FERR %d RGEN %d", c.name, s, f, h.reg(hci.RegRGEN))
		}
		h.enable(16)
		h.ok(0, getFeature(hci.FeatureIDQueues, 0))
	}
}

func TestShutdown(t *testing.T) {
	h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, false)
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(3)))
	a := h.put(1, greedy(sid, 1, 60))
	b := h.submit(1, h.prefill(sid, count(3)))
	h.run(200_000)
	h.set(hci.RegCC, h.reg(hci.RegCC)|1<<14)
	if s := h.reg(hci.RegCSTS); s != 1|1<<2 {
		t.Errorf("CSTS %#x", s)
	}
	h.settle()
	if s := h.reg(hci.RegCSTS); s != 1|2<<2 {
		t.Errorf("CSTS %#x", s)
	}
	rs := h.records(0, 1)
	if last := rs[len(rs)-1]; last.Stop != hci.StopCancelled {
		t.Errorf("%+v", last)
	}
	for _, cid := range []uint16{a, b} { // no doorbells any more
		c, ok := h.peek(1)
		if !ok || c.CID != cid || c.Code() != hci.StatusCancelled {
			t.Errorf("%+v %v", c, ok)
		}
		h.head[1]++
	}
	h.set(hci.RegCC, 0)
	h.settle()
	if s := h.reg(hci.RegCSTS); s != 0 {
		t.Errorf("CSTS %#x", s)
	}
	h.bringUp(false)
}

// Section 21, row by row.
func TestResetTable(t *testing.T) {
	for _, c := range []struct {
		kind                     ResetKind
		features, cap, logs, pci bool // kept
		vectors, boot            bool
	}{
		{CCEnable, true, true, true, true, true, false},
		{FLR, false, true, true, false, false, false},
		{HotReset, false, true, true, false, false, true},
		{PowerReset, false, false, false, false, false, true},
		{LastFD, false, true, true, false, false, false},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, true)
			h.lax = true
			set := func(fid int, v uint64) {
				e := hci.SQE{OPC: hci.AdminSetFeatures}
				e.Put(hci.SetFeaturesFID, uint64(fid))
				e.Put(hci.SetFeaturesValue, v)
				h.ok(0, e)
			}
			set(hci.FeatureIDTempThreshold, 500)
			set(hci.FeatureIDPowerCap, 100_000)
			h.do(0, hci.SQE{OPC: 0x03}) // an entry of the ERROR log
			sid := h.open(0)
			h.ok(1, h.prefill(sid, count(9)))
			h.submit(1, greedy(sid, 1, 60))
			h.run(500_000)
			e := hci.SQE{OPC: hci.AdminAsyncEventRequest}
			h.submit(0, e)
			h.run(0)
			gen := h.reg(hci.RegRGEN)
			state := h.e.states[0]
			switch c.kind {
			case CCEnable:
				h.set(hci.RegCC, 0)
			case FLR:
				h.c.WriteConfig(cfgDevCtl, 2, uint32(h.c.ReadConfig(cfgDevCtl, 2))|devCtlFLR)
			default:
				h.c.Reset(c.kind)
			}
			if c.kind != CCEnable {
				if v := h.reg(hci.RegVS); v != 0xFFFF_FFFF {
					t.Errorf("VS during the reset: %#x", v)
				}
			}
			writes := h.c.counters.DMAWrites
			irqs := h.irqs
			h.next = h.c.Step(h.now)
			if c.boot {
				for h.c.Resetting() {
					h.step()
				}
				h.c.WriteConfig(cfgCommand, 2, commandMemory)
				if s := h.reg(hci.RegBSTS); s&0xFF == 0xFF {
					t.Errorf("BSTS %#x right after", s)
				}
				h.c.WriteConfig(cfgCommand, 2, 0)
			}
			h.settle()
			if c.kind != PowerReset && h.c.counters.DMAWrites != writes || h.irqs != irqs {
				t.Error("the card went on after the reset")
			}
			if c.pci != h.c.cfgSpace.busMaster() {
				t.Error("bus master")
			}
			if !c.pci {
				h.c.WriteConfig(cfgCommand, 2, commandMaster|commandMemory)
			}
			if !state.zeroed || state.Len() != 0 {
				t.Error("KV not zeroed")
			}
			if h.reg(hci.RegCSTS) != 0 || h.reg(hci.RegRGEN) != gen+1 || h.reg(hci.RegBSTS)&0xFF != 0xFF {
				t.Errorf("CSTS %#x RGEN %d (was %d) BSTS %#x", h.reg(hci.RegCSTS), h.reg(hci.RegRGEN), gen, h.reg(hci.RegBSTS))
			}
			if h.c.ReadConfig(cfgMSIXCtl, 2)&msixEnable != 0 != c.vectors {
				t.Error("MSI-X")
			}
			h.bringUp(true)
			get := func(fid int) uint32 { return h.ok(0, getFeature(fid, 0)).DW0 }
			if v := get(hci.FeatureIDTempThreshold); v == 500 != c.features {
				t.Errorf("threshold %d", v)
			}
			if v := get(hci.FeatureIDPowerCap); v == 100_000 != c.cap {
				t.Errorf("cap %d", v)
			}
			if n := binary.LittleEndian.Uint64(h.log(hci.LogError, 64)); n == 1 != c.logs {
				t.Errorf("error log: entry %d", n)
			}
			var ev hci.EventEntry
			if err := hci.Unmarshal(h.log(hci.LogEvents, 32), &ev); err != nil {
				t.Fatal(err)
			}
			if ev.Code != hci.EventReset || ev.Arg0 != uint64(c.kind) || ev.Arg1 != uint64(gen+1) {
				t.Errorf("event %+v", ev)
			}
			h.want(h.do(1, hci.SQE{OPC: hci.OpClose, SID: sid}), hci.StatusSessionInvalid)
			if h.c.charged != 0 {
				t.Errorf("%d tokens charged", h.c.charged)
			}
		})
	}
}

// log reads a log page through the card.
func (h *fakeHost) log(lid, n int) []byte {
	h.t.Helper()
	e := hci.SQE{OPC: hci.AdminGetLogPage, PRP1: iovaW + offData}
	e.Put(hci.GetLogPageLID, uint64(lid))
	e.Put(hci.GetLogPageNUMD, uint64(n/4-1))
	h.ok(0, e)
	return h.w[offData : offData+n]
}

// A reset while the silicon computes: the result is thrown away.
func TestResetDuringCompute(t *testing.T) {
	for _, how := range []string{"flr", "cc", "flr unpaced"} {
		e := &hashEngine{vocab: 100, context: 4096}
		h := up(t, Config{Paced: how != "flr unpaced"}, e, false)
		sid := h.open(0)
		h.ok(1, h.prefill(sid, count(9)))
		n := 0
		var writes uint64
		pending := uint32(0)
		e.compute = func() {
			if n++; n == 5 {
				if how == "cc" {
					h.set(hci.RegCC, 0)
				} else {
					h.c.WriteConfig(cfgDevCtl, 2, devCtlFLR)
					pending = h.c.ReadConfig(cfgDevSta, 2) & devStaPending
				}
				writes = h.c.counters.DMAWrites
			}
		}
		h.submit(1, greedy(sid, 1, 60))
		h.settle()
		if n != 5 || h.c.counters.DMAWrites != writes {
			t.Errorf("%s: %d passes, %d writes after the reset", how, n, h.c.counters.DMAWrites-writes)
		}
		if how != "cc" && pending == 0 {
			t.Error("transactions not pending while one was under way")
		}
		if h.c.ReadConfig(cfgDevSta, 2)&devStaPending != 0 {
			t.Error("transactions pending for ever")
		}
		if !e.states[0].zeroed {
			t.Error("KV not zeroed")
		}
		e.compute = nil
		h.c.WriteConfig(cfgCommand, 2, commandMaster|commandMemory)
		h.bringUp(false)
		h.open(0)
	}
}

func TestViolations(t *testing.T) {
	for _, c := range []struct {
		name string
		cat  Category
		act  func(h *fakeHost, sid uint32)
	}{
		{"read-only register", ReadOnly, func(h *fakeHost, _ uint32) { h.set(hci.RegCSTS, 0) }},
		{"reserved register", ReadOnly, func(h *fakeHost, _ uint32) { h.set(0x200, 1) }},
		{"64-bit on CC", Width, func(h *fakeHost, _ uint32) { h.c.WriteBAR(0, hci.RegCC+4, 8, 0) }},
		{"byte", Width, func(h *fakeHost, _ uint32) { h.c.ReadBAR(0, 0, 1) }},
		{"unaligned", Width, func(h *fakeHost, _ uint32) { h.c.ReadBAR(0, 2, 4) }},
		{"beyond", Width, func(h *fakeHost, _ uint32) { h.c.ReadBAR(0, hci.BARRegsSize, 4) }},
		{"no BAR", Width, func(h *fakeHost, _ uint32) { h.c.ReadBAR(1, 0, 4) }},
		{"64-bit tail", Width, func(h *fakeHost, _ uint32) { h.c.WriteBAR(2, hci.PageSize, 8, 0) }},
		{"reserved doorbell", ReadOnly, func(h *fakeHost, _ uint32) { h.bell(1, 0x20, 0) }},
		{"missing queue", Doorbell, func(h *fakeHost, _ uint32) { h.bell(9, hci.DoorbellSQTDBL, 0) }},
		{"missing queue head", Doorbell, func(h *fakeHost, _ uint32) { h.bell(9, hci.DoorbellCQHDBL, 0) }},
		{"tail beyond", Overrun, func(h *fakeHost, _ uint32) { h.bell(1, hci.DoorbellSQTDBL, 32) }},
		{"head beyond", Overrun, func(h *fakeHost, _ uint32) { h.bell(1, hci.DoorbellCQHDBL, 32) }},
		{"head overrun", Overrun, func(h *fakeHost, _ uint32) { h.bell(1, hci.DoorbellCQHDBL, h.head[1]%32+3) }},
		{"tail overrun", Overrun, func(h *fakeHost, _ uint32) {
			h.c.WriteConfig(cfgCommand, 2, commandMemory) // so that it does not fetch
			h.bell(1, hci.DoorbellSQTDBL, (h.tail[1]+20)%32)
			h.bell(1, hci.DoorbellSQTDBL, (h.tail[1]+10)%32)
		}},
		{"CC reserved", Reserved, func(h *fakeHost, _ uint32) { h.set(hci.RegCC, h.reg(hci.RegCC)|1<<30) }},
		{"AQA while enabled", Sequence, func(h *fakeHost, _ uint32) { h.set(hci.RegAQA, 1) }},
		{"bus master off", BusMaster, func(h *fakeHost, sid uint32) {
			h.c.WriteConfig(cfgCommand, 2, commandMemory)
			h.submit(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
			h.settle()
		}},
		{"during a reset", Unreachable, func(h *fakeHost, _ uint32) {
			h.c.WriteConfig(cfgDevCtl, 2, devCtlFLR)
			h.bell(1, hci.DoorbellSQTDBL, 1)
		}},
		{"doorbell before ready", Sequence, func(h *fakeHost, _ uint32) {
			h.set(hci.RegCC, 0)
			h.settle()
			h.bell(1, hci.DoorbellSQTDBL, 1)
		}},
		{"reserved command bits", Reserved, func(h *fakeHost, sid uint32) {
			h.do(1, hci.SQE{OPC: hci.OpCancel, SID: sid, DW3: 1})
		}},
		{"HEAD not SEQUENCE", Sequence, func(h *fakeHost, _ uint32) {
			e := h.openCmd(1, 6, 5)
			h.sess[1].head = 4
			h.setHead(1)
			h.do(1, e)
		}},
		{"PBA", ReadOnly, func(h *fakeHost, _ uint32) { h.c.WriteBAR(4, msixPBA, 4, 1) }},
		{"ring unmapped", BadDMA, func(h *fakeHost, sid uint32) {
			h.c.slots[0].ring = 0x7777_0000
			h.ok(1, h.prefill(sid, count(1)))
			h.want(h.do(1, greedy(sid, 1, 5)), hci.StatusDataTransferError)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := up(t, Config{}, nil, false)
			h.lax = true
			sid := h.open(0)
			c.act(h, sid)
			v, n := h.c.Violations()
			if n == 0 || v[0].Category != c.cat {
				t.Errorf("%v, want %s", v, c.cat)
			}
		})
	}
	t.Run("shadow words", func(t *testing.T) {
		for _, w := range []struct{ off, v uint32 }{{hci.ShadowOffSQT, 1000}, {hci.ShadowOffSQT, 0}, {hci.ShadowOffCQH, 1000}} {
			h := up(t, Config{}, nil, true)
			h.lax = true
			sid := h.open(0)
			binary.LittleEndian.PutUint32(h.r[offShadow+hci.ShadowStride+int(w.off):], w.v)
			h.bell(1, hci.DoorbellSQTDBL, 0)
			if w.off == hci.ShadowOffCQH { // looked at when the queue is full
				for range 40 {
					h.put(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
					binary.LittleEndian.PutUint32(h.r[offShadow+hci.ShadowStride:], h.tail[1])
					h.bell(1, hci.DoorbellSQTDBL, 0)
					h.settle()
				}
			}
			h.settle()
			v, n := h.c.Violations()
			if n == 0 || v[0].Category != Overrun || h.reg(hci.RegFERR) != hci.FatalDoorbell {
				t.Errorf("%+v: %v, FERR %d", w, v, h.reg(hci.RegFERR))
			}
		}
	})
}

func TestMSIXMasking(t *testing.T) {
	h := up(t, Config{}, nil, false)
	sid := h.open(0)
	before := h.irqs[1]
	mask := func(v uint64) { h.c.WriteBAR(hci.BARMSIX, 16+12, 4, v) }
	mask(1)
	h.ok(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
	h.ok(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
	if h.irqs[1] != before || h.c.ReadBAR(hci.BARMSIX, msixPBA, 8) != 2 {
		t.Errorf("%d interrupts, pending %#x", h.irqs[1]-before, h.c.ReadBAR(hci.BARMSIX, msixPBA, 8))
	}
	mask(0)
	h.settle()
	if h.irqs[1] != before+1 || h.c.ReadBAR(hci.BARMSIX, msixPBA, 8) != 0 {
		t.Errorf("%d interrupts after unmasking", h.irqs[1]-before)
	}
	h.c.WriteConfig(cfgMSIXCtl, 2, msixEnable|msixFuncMask)
	h.ok(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
	h.c.WriteConfig(cfgMSIXCtl, 2, msixEnable)
	h.settle()
	if h.irqs[1] != before+2 {
		t.Errorf("%d interrupts after the function mask", h.irqs[1]-before)
	}
	if got := fmt.Sprintf("%x", h.c.ReadBAR(hci.BARMSIX, 12, 4)); got != "0" {
		t.Error(got)
	}
}
