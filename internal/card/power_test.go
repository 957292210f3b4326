package card

import (
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

func (h *fakeHost) telemetry() (t hci.Telemetry) {
	h.t.Helper()
	if err := hci.Unmarshal(h.log(hci.LogTelemetry, 256), &t); err != nil {
		h.t.Fatal(err)
	}
	return t
}

func (h *fakeHost) feature(fid int, v uint32) {
	h.t.Helper()
	e := hci.SQE{OPC: hci.AdminSetFeatures}
	e.Put(hci.SetFeaturesFID, uint64(fid))
	e.Put(hci.SetFeaturesValue, uint64(v))
	h.ok(0, e)
}

// busy decodes on all of a card's time for ns.
func (h *fakeHost) busy(ns int64) {
	h.t.Helper()
	if h.c.slots[0] == nil {
		h.open(0)
	}
	s := h.c.slots[0]
	for end := h.now + ns; h.now < end; {
		h.submit(2, h.prefill(s.sid, count(1)))
		h.submit(2, greedy(s.sid, s.epoch+1, 1000))
		h.all(0, s.epoch+1)
		h.settle()
		h.poll(2)
		h.poll(2)
		e := hci.SQE{OPC: hci.OpTruncate, SID: s.sid}
		h.ok(2, e)
	}
}

func TestEnergyPerToken(t *testing.T) {
	for _, paced := range []bool{true, false} {
		h := up(t, Config{Paced: paced}, &hashEngine{vocab: 100, context: 4096}, true)
		sid := h.open(0)
		h.ok(1, h.prefill(sid, count(16)))
		h.submit(1, greedy(sid, 1, 256))
		h.all(0, 1)
		h.settle()
		// 200 W for 58.96 µs a token, prompt included, whatever the host took.
		want := 272 * 58.960e-6 * 200 * 1e6
		if got := float64(h.cardBlock(0, hci.CardOffEnergyUJ)); got < want-300 || got > want+300 {
			t.Errorf("paced %v: %v µJ, want %v", paced, got, want)
		}
	}
}

func TestPowerFollowsLoad(t *testing.T) {
	h := up(t, Config{Paced: true, Context: 2000, KVBudget: 4000}, &hashEngine{vocab: 16, context: 4096}, true)
	h.run(100_000_000)
	idle := h.telemetry()
	if idle.PowerMW != idleMW || idle.Throttle != 0 || idle.ClockCoreMHz != coreMHz {
		t.Errorf("idle: %+v", idle)
	}
	h.busy(400_000_000)
	full := h.telemetry()
	if full.PowerMW < 190_000 || full.PowerMW > 200_000 {
		t.Errorf("busy: %d mW", full.PowerMW)
	}
	if full.PowerCoreMW+full.PowerSramMW+full.PowerIOMW != full.PowerMW {
		t.Errorf("rails do not add up: %+v", full)
	}
	if full.TempCore <= idle.TempCore || full.TempSram <= idle.TempSram || full.TempBoard <= idle.TempBoard {
		t.Errorf("no warmer: %+v, %+v", idle, full)
	}
	// mJ: 200 W while busy, 45 W else.
	mj := float64(full.EnergyMJ - idle.EnergyMJ)
	busy := float64(full.BusyNS-idle.BusyNS) / 1e9
	total := float64(full.UptimeNS-idle.UptimeNS) / 1e9
	if want := 1000 * (200*busy + 45*(total-busy)); mj < want-600 || mj > want+600 {
		t.Errorf("%v mJ, want %v", mj, want)
	}
}

func TestPowerCapSlowsTokens(t *testing.T) {
	h := up(t, Config{Paced: true, Context: 2000, KVBudget: 4000}, &hashEngine{vocab: 16, context: 4096}, true)
	h.feature(hci.FeatureIDPowerCap, 110_000)
	h.submit(0, hci.SQE{OPC: hci.AdminAsyncEventRequest})
	h.settle()
	h.take(0, h.cid, hci.StatusSuccess)
	h.busy(100_000_000)
	before := h.telemetry()
	if before.Throttle != throttlePower || before.State != 1 || before.PowerMW > 110_000 || before.PowerCapMW != 110_000 {
		t.Fatalf("%+v", before)
	}
	h.busy(100_000_000)
	after := h.telemetry()
	per := float64(after.UptimeNS-before.UptimeNS) / float64(after.Tokens-before.Tokens)
	if want := 58960 * 155.0 / 65; per < want*0.98 || per > want*1.05 {
		t.Errorf("%.0f ns per token, want %.0f", per, want)
	}
	// The cap survives an FLR, and goes with the power.
	h.feature(hci.FeatureIDPowerCap, powerMaxMW)
	h.busy(50_000_000)
	if n := h.telemetry(); n.Throttle != 0 || n.ClockCoreMHz != coreMHz {
		t.Errorf("%+v", n)
	}
}

func TestHeat(t *testing.T) {
	plan, err := ParsePlan("hot,c=60")
	if err != nil {
		t.Fatal(err)
	}
	h := up(t, Config{Paced: true, TokenNS: 1_000_000, Context: 2000, KVBudget: 4000, Faults: plan}, &hashEngine{vocab: 16, context: 4096}, true)
	h.feature(hci.FeatureIDTempThreshold, 800)
	h.busy(10_000_000_000)
	a := h.telemetry()
	if a.TempCore < 850 {
		t.Fatalf("%+v", a)
	}
	h.busy(20_000_000_000)
	b := h.telemetry()
	if b.Throttle&throttleThermal == 0 && b.TempCore > tempWarn {
		t.Errorf("not throttled: %+v", b)
	}
	codes := map[uint16]int{}
	log := h.log(hci.LogEvents, 32*eventEntries)
	for i := 0; i < len(log); i += 32 {
		var e hci.EventEntry
		if err := hci.Unmarshal(log[i:i+32], &e); err != nil {
			t.Fatal(err)
		}
		codes[e.Code]++
	}
	if codes[hci.EventTemperature] == 0 || codes[hci.EventThrottle] == 0 {
		t.Errorf("events %v", codes)
	}
	// Past the critical temperature the card stops.
	h.c.power.ambient = 120
	h.run(60_000_000_000)
	h.c.power.unsettled = true
	h.run(1_000_000_000)
	if h.reg(hci.RegCSTS)&2 == 0 || h.reg(hci.RegFERR) != hci.FatalThermal {
		t.Errorf("CSTS %#x FERR %d at %d", h.reg(hci.RegCSTS), h.reg(hci.RegFERR), h.c.power.hottest())
	}
}

func TestTooHotToStart(t *testing.T) {
	h := up(t, Config{}, nil, false)
	sid := h.open(0)
	h.c.power.core = 103
	h.want(h.do(1, h.prefill(sid, count(1))), hci.StatusThermal)
	h.want(h.do(1, h.openCmd(1, 6, 0)), hci.StatusThermal)
}

func TestHealthRecord(t *testing.T) {
	h := up(t, Config{Paced: true}, nil, true)
	e := hci.SQE{OPC: hci.AdminHealthRecordConfig, PRP1: iovaW + offHealth}
	e.Put(hci.HealthRecordConfigInterval, 100)
	h.ok(0, e)
	get := func() hci.Health {
		t.Helper()
		r, err := hci.DecodeHealth((*[64]byte)(h.w[offHealth:]))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := get(); r.Sequence != 1 || r.State != 0 {
		t.Errorf("%+v", r)
	}
	h.run(1_000_000_000)
	if r := get(); r.Sequence != 11 {
		t.Errorf("%d records after 1 s", r.Sequence)
	}
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(40)))
	h.run(100_000_000)
	if r := get(); r.Open != 1 || r.KVUsed != 40 || r.PowerMW == 0 || r.ClockMHz != coreMHz || r.Temp == 0 || r.RGEN != 0 {
		t.Errorf("%+v", r)
	}
	// A failed controller says so, once.
	h.lax = true
	h.bell(1, hci.DoorbellSQTDBL, 999)
	h.settle()
	if r := get(); r.State != 3 {
		t.Errorf("%+v", r)
	}
}

func TestSelfTest(t *testing.T) {
	start := func(code uint64) hci.SQE {
		e := hci.SQE{OPC: hci.AdminSelfTest}
		e.Put(hci.SelfTestSTC, code)
		return e
	}
	h := up(t, Config{Paced: true}, nil, false)
	page := func() (p hci.SelfTestLog) {
		t.Helper()
		e := hci.SQE{OPC: hci.AdminGetLogPage, PRP1: iovaW + offData}
		e.Put(hci.GetLogPageLID, hci.LogSelfTest)
		e.Put(hci.GetLogPageNUMD, 15)
		h.submit(0, e)
		h.run(0)
		h.take(0, h.cid, hci.StatusSuccess)
		if err := hci.Unmarshal(h.w[offData:offData+64], &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for code := range uint64(3) {
		if code == 0 {
			continue
		}
		cid := h.submit(0, start(code))
		h.run(testShortNS / 2)
		h.take(0, cid, hci.StatusSuccess) // at once
		if p := page(); p.Current != uint8(code) || p.Percent == 0 || p.Percent > 99 {
			t.Errorf("%+v", p)
		}
		cid = h.submit(0, start(1))
		h.run(0)
		h.take(0, cid, hci.StatusSelfTestInProgress)
		h.run(testLongNS)
		if p := page(); p.Current != 0 || p.Code != uint8(code) || p.Result != testPassed || p.TimeNS == 0 {
			t.Errorf("%+v", p)
		}
	}
	h.submit(0, start(2))
	h.submit(0, start(testAbort))
	h.run(0)
	if p := page0(h); p.Code != 2 || p.Result != testAborted {
		t.Errorf("%+v", p)
	}
	h.e.selfTest = errBroken("weights")
	h.submit(0, start(1))
	h.run(testShortNS + 1)
	if p := page0(h); p.Result != testWeights {
		t.Errorf("%+v", p)
	}
	h.e.selfTest = errBroken("forward pass differs")
	h.submit(0, start(1))
	h.run(testShortNS + 1)
	if p := page0(h); p.Result != testForward {
		t.Errorf("%+v", p)
	}
}

type errBroken string

func (e errBroken) Error() string { return string(e) }

func page0(h *fakeHost) *hci.SelfTestLog { return h.c.selftest.page(h.c) }

func TestAsyncEvents(t *testing.T) {
	h := up(t, Config{}, nil, false)
	var cids []uint16
	for range aerLimit {
		cids = append(cids, h.put(0, hci.SQE{OPC: hci.AdminAsyncEventRequest}))
	}
	over := h.put(0, hci.SQE{OPC: hci.AdminAsyncEventRequest})
	h.ring(0)
	h.settle()
	h.take(0, over, hci.StatusAERLimit)
	cid := h.submit(0, abortCmd(0, cids[3]))
	h.settle()
	h.take(0, cids[3], hci.StatusAbortRequested)
	if c := h.take(0, cid, hci.StatusSuccess); c.DW0 != 0 {
		t.Errorf("%+v", c)
	}
}

func TestEventsAreReportedOnce(t *testing.T) {
	h := up(t, Config{}, nil, false)
	h.lax = true
	h.do(0, hci.SQE{OPC: 0x03}) // ERROR, waits for a request
	h.do(0, hci.SQE{OPC: 0x03})
	a := h.submit(0, hci.SQE{OPC: hci.AdminAsyncEventRequest})
	b := h.submit(0, hci.SQE{OPC: hci.AdminAsyncEventRequest})
	h.settle()
	c := h.take(0, a, hci.StatusSuccess)
	if c.DW0 != 0|hci.EventError<<8|hci.LogError<<16 {
		t.Errorf("DW0 %#x", c.DW0)
	}
	h.do(0, hci.SQE{OPC: 0x03})
	h.settle()
	if x, ok := h.poll(0); ok {
		t.Errorf("reported before its page was read: %+v", x)
	}
	e := hci.SQE{OPC: hci.AdminGetLogPage, PRP1: iovaW + offData}
	e.Put(hci.GetLogPageLID, hci.LogError)
	e.Put(hci.GetLogPageNUMD, 15)
	e.Put(hci.GetLogPageRAE, 1)
	h.ok(0, e)
	h.do(0, hci.SQE{OPC: 0x03})
	h.settle()
	if x, ok := h.poll(0); ok {
		t.Errorf("reported although RAE kept it: %+v", x)
	}
	e.Put(hci.GetLogPageRAE, 0)
	h.ok(0, e)
	// Masked events are not reported.
	h.feature(hci.FeatureIDAsyncEvents, 0xFFFF_FFFF&^(1<<hci.EventError))
	h.do(0, hci.SQE{OPC: 0x03})
	h.settle()
	if x, ok := h.poll(0); ok {
		t.Errorf("reported although masked: %+v", x)
	}
	cid := h.put(0, getFeature(hci.FeatureIDAsyncEvents, 0))
	h.ring(0)
	h.settle()
	h.take(0, cid, hci.StatusSuccess)
	h.submit(0, func() hci.SQE {
		e := hci.SQE{OPC: hci.AdminSetFeatures}
		e.Put(hci.SetFeaturesFID, hci.FeatureIDAsyncEvents)
		e.Put(hci.SetFeaturesValue, 0xFFFF_FFFF)
		return e
	}())
	h.settle()
	h.take(0, b, hci.StatusSuccess)
}

func TestFeatures(t *testing.T) {
	h := up(t, Config{}, nil, false)
	for _, c := range []struct {
		fid          int
		def, lo, hi  uint32
		settable, ok uint32
	}{
		{hci.FeatureIDQueues, numQueues, numQueues, numQueues, 0, 0},
		{hci.FeatureIDAsyncEvents, 0xFFFF_FFFF, 0, 0xFFFF_FFFF, 1, 5},
		{hci.FeatureIDPowerCap, powerMaxMW, powerMinMW, powerMaxMW, 1, 90_000},
		{hci.FeatureIDTempThreshold, tempWarn, 0, tempCrit, 1, 700},
	} {
		if v := h.ok(0, getFeature(c.fid, 0)).DW0; v != c.def {
			t.Errorf("%#x: %d", c.fid, v)
		}
		if v := h.ok(0, getFeature(c.fid, 1)).DW0; v != c.def {
			t.Errorf("%#x: default %d", c.fid, v)
		}
		if v := h.ok(0, getFeature(c.fid, 3)); v.DW0 != c.lo || v.DW1 != c.hi {
			t.Errorf("%#x: supported %d..%d", c.fid, v.DW0, v.DW1)
		}
		set := func(v uint32) hci.CQE {
			e := hci.SQE{OPC: hci.AdminSetFeatures}
			e.Put(hci.SetFeaturesFID, uint64(c.fid))
			e.Put(hci.SetFeaturesValue, uint64(v))
			return h.do(0, e)
		}
		if c.settable == 0 {
			h.want(set(c.def), hci.StatusInvalidField)
			continue
		}
		h.want(set(c.ok), hci.StatusSuccess)
		if v := h.ok(0, getFeature(c.fid, 0)).DW0; v != c.ok {
			t.Errorf("%#x: %d after set", c.fid, v)
		}
		if c.hi != 0xFFFF_FFFF {
			h.want(set(c.hi+1), hci.StatusInvalidField)
		}
		if c.lo > 0 {
			h.want(set(c.lo-1), hci.StatusInvalidField)
		}
	}
}

func TestCapabilityPage(t *testing.T) {
	for minor := range uint8(2) {
		h := up(t, Config{Serial: 0xABC, Minor: minor, Without: hci.FeatureFork | hci.FeatureScore | hci.FeatureSelftest}, nil, false)
		e := hci.SQE{OPC: hci.AdminIdentify, PRP1: iovaW + offData}
		e.Put(hci.IdentifyCNS, 1)
		h.ok(0, e)
		p, err := hci.DecodeCapabilities(h.w[offData : offData+hci.CapsSize])
		if err != nil {
			t.Fatal(err)
		}
		if hci.Text(p.SN[:]) != "HC1-0000000000000ABC" || p.Vocab != 100 || p.NStop != 1 || p.Stop[0] != 2 || p.VER != hci.Version|uint32(minor)<<8 ||
			p.VER != h.reg(hci.RegVS) || hci.Text(p.Silicon[:]) != "hash" || p.Features&(hci.FeatureFork|hci.FeatureAttest) != 0 {
			t.Errorf("%+v", p)
		}
		if p.Features>>20&1 != uint32(minor) {
			t.Errorf("features %#x", p.Features)
		}
		sid := h.open(0)
		f := h.openCmd(1, 6, 0)
		f.OPC, f.SID = hci.OpFork, sid
		h.want(h.do(1, f), hci.StatusInvalidOpcode)
		s := h.prefill(sid, count(3))
		s.Put(hci.PrefillScore, 1)
		s.Put(hci.PrefillEpoch, 1)
		h.want(h.do(1, s), hci.StatusSamplingUnsupported)
		st := hci.SQE{OPC: hci.AdminSelfTest}
		st.Put(hci.SelfTestSTC, 1)
		h.want(h.do(0, st), hci.StatusInvalidOpcode)
		l := hci.SQE{OPC: hci.AdminGetLogPage, PRP1: iovaW + offData}
		l.Put(hci.GetLogPageLID, 0xC3)
		want := hci.StatusSuccess
		if minor == 0 {
			want = hci.StatusLogPageInvalid
		}
		h.want(h.do(0, l), want)
	}
}

func TestSessionsLog(t *testing.T) {
	h := up(t, Config{Sessions: 4}, nil, false)
	a, b := h.open(0), h.open(1)
	h.ok(1, h.prefill(b, count(11)))
	h.ok(1, hci.SQE{OPC: hci.OpClose, SID: a})
	page := h.log(hci.LogSessions, 64*5)
	for i := range 5 {
		var e hci.SessionEntry
		if err := hci.Unmarshal(page[64*i:64*i+64], &e); err != nil {
			t.Fatal(err)
		}
		switch i {
		case 1:
			if e.SID != b || e.State != 1 || e.KVLen != 11 || e.Charge != 11 || e.Sequence != 100 {
				t.Errorf("%+v", e)
			}
		case 4: // beyond the page's end
			if e.SID != 0 {
				t.Errorf("%+v", e)
			}
		default:
			if e.SID != 0xFFFF_FFFF || e.State != 0 {
				t.Errorf("%+v", e)
			}
		}
	}
}
