package mock

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/card/trace"
	"github.com/hc1-toolkit/hc1/internal/emu"
)

func newMock(t testing.TB, o Options) *Mock {
	t.Helper()
	if o.Engine == nil {
		o.Engine = testEngine(t, 500)
	}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func plan(t testing.TB, s string) *card.Plan {
	t.Helper()
	p, err := card.ParsePlan(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var clocks = []Clock{Realtime, Fast, Virtual}

func TestClockNames(t *testing.T) {
	for _, c := range clocks {
		if got, err := emu.ParseClock(c.String()); err != nil || got != c {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	if _, err := emu.ParseClock("sundial"); err == nil {
		t.Error("accepted")
	}
	if _, err := New(Options{Engine: testEngine(t, 5), Clock: 9}); err == nil {
		t.Error("accepted")
	}
	if _, err := New(Options{Engine: testEngine(t, 5), Clock: Fast, World: NewWorld()}); err == nil {
		t.Error("accepted")
	}
	if _, err := New(Options{}); err == nil {
		t.Error("accepted")
	}
}

func TestRangesAreChecked(t *testing.T) {
	m := newMock(t, Options{Clock: Virtual})
	for _, c := range [][2]int{{0, 3}, {1, 2}, {2, 4}, {-4, 4}, {4096, 1}, {4094, 4}, {0, 8}} {
		if _, err := m.ReadConfig(c[0], c[1]); !errors.Is(err, hal.ErrOutOfRange) {
			t.Errorf("read %v: %v", c, err)
		}
		if err := m.WriteConfig(c[0], c[1], 0); !errors.Is(err, hal.ErrOutOfRange) {
			t.Errorf("write %v: %v", c, err)
		}
	}
	for _, bar := range []int{-1, 1, 3, 5, 6} {
		if _, err := m.Region(bar); !errors.Is(err, hal.ErrOutOfRange) {
			t.Errorf("BAR%d: %v", bar, err)
		}
	}
	r, err := m.Region(hci.BARRegs)
	if err != nil {
		t.Fatal(err)
	}
	if r.Size() != hci.BARRegsSize {
		t.Errorf("size %#x", r.Size())
	}
	for name, f := range map[string]func(){
		"unaligned": func() { r.Load32(2) }, "beyond": func() { r.Load32(hci.BARRegsSize) }, "last": func() { r.Load64(hci.BARRegsSize - 4) },
		"negative": func() { r.Store32(-4, 0) }, "unaligned 64": func() { r.Store64(4, 0) },
	} {
		func() {
			defer func() {
				if err, ok := recover().(error); !ok || !errors.Is(err, hal.ErrOutOfRange) {
					t.Errorf("%s: %v", name, err)
				}
			}()
			f()
		}()
	}
	if _, err := m.Vectors(33); !errors.Is(err, hal.ErrUnsupported) {
		t.Errorf("33 vectors: %v", err)
	}
	for _, n := range []int{0, -1} {
		if _, err := m.AllocDMA(n, hal.CardReads); err == nil {
			t.Errorf("%d bytes", n)
		}
	}
	if _, err := m.AllocDMA(1<<40, hal.CardReads); !errors.Is(err, hal.ErrNoMemory) {
		t.Error(err)
	}
	if _, err := m.AllocDMA(1, 3); err == nil {
		t.Error("direction 3")
	}
	if err := m.Reset(7); !errors.Is(err, hal.ErrUnsupported) {
		t.Error(err)
	}
}

func TestDMABuffers(t *testing.T) {
	m := newMock(t, Options{Clock: Virtual})
	a, err := m.AllocDMA(5000, hal.CardWrites)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.AllocDMA(1, hal.CardReads)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Bytes) != 8192 || len(b.Bytes) != 4096 || a.IOVA%4096 != 0 || b.IOVA <= a.IOVA+8192 {
		t.Errorf("%d at %#x, %d at %#x", len(a.Bytes), a.IOVA, len(b.Bytes), b.IOVA)
	}
	if !bytes.Equal(a.Bytes, make([]byte, 8192)) {
		t.Error("not zeroed")
	}
	bus := (*bus)(m)
	why := func(err error) card.Category {
		var f *card.Fault
		if errors.As(err, &f) {
			return card.Category(f.Why)
		}
		return ""
	}
	if err := bus.Write(a.IOVA+8190, []byte{1, 2}); err != nil || a.Bytes[8191] != 2 {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		err  error
		want card.Category
	}{
		"guard page": {bus.Write(a.IOVA+8190, []byte{1, 2, 3}), card.BadDMA},
		"read of W":  {bus.Read(a.IOVA, make([]byte, 1)), card.BadDirection},
		"write of R": {bus.Write(b.IOVA, []byte{1}), card.BadDirection},
	} {
		if why(c.err) != c.want {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	if err := a.Free(); err != nil {
		t.Error(err)
	}
	if why(bus.Write(a.IOVA, []byte{1})) != card.UseAfterFree {
		t.Error("use after free")
	}
	if err := a.Free(); err == nil {
		t.Error("freed twice")
	}
	c, err := m.AllocDMA(4096, hal.CardReads)
	if err != nil || c.IOVA == a.IOVA {
		t.Errorf("address used again: %v", err)
	}
}

func TestCardUsesFreedMemory(t *testing.T) {
	m := newMock(t, Options{Clock: Virtual})
	h := bring(t, m, false)
	sid := h.open()
	h.ok(1, h.prefill(sid, 1))
	h.submit(1, generate(sid, 1, 50))
	if err := h.w.Free(); err != nil {
		t.Fatal(err)
	}
	m.world.Sleep(10 * time.Millisecond)
	v := m.Violations()
	if len(v) == 0 || v[0].Category != card.UseAfterFree {
		t.Error(v)
	}
}

// Vectors: counts coalesce, a wait is bounded, a masked or turned off
// function sends nothing.
func TestVectors(t *testing.T) {
	for _, clock := range clocks {
		t.Run(clock.String(), func(t *testing.T) {
			m := newMock(t, Options{Clock: clock})
			h := bring(t, m, false)
			sid := h.open()
			v := h.vec[1]
			for ok := true; ok; {
				ok, _ = v.Wait(2 * time.Millisecond)
			}
			for range 3 {
				h.submit(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
				h.wait(1)
			}
			if ok, err := v.Wait(time.Second); !ok || err != nil {
				t.Errorf("%v %v", ok, err)
			}
			began := m.Clock().Now()
			if ok, err := v.Wait(3 * time.Millisecond); ok || err != nil {
				t.Errorf("%v %v", ok, err)
			}
			if d := m.Clock().Now() - began; d < 3_000_000 {
				t.Errorf("waited %d ns", d)
			}
			// An interrupt in the middle of a wait.
			h.submit(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
			if ok, err := v.Wait(hal.WaitForever); !ok || err != nil {
				t.Errorf("%v %v", ok, err)
			}
			h.wait(1)
			// Turned on again: the old ones are closed.
			again, err := m.Vectors(2)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.Wait(hal.WaitForever); !errors.Is(err, hal.ErrClosed) {
				t.Error(err)
			}
			h.submit(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
			if ok, err := again[1].Wait(time.Second); !ok || err != nil {
				t.Errorf("%v %v", ok, err)
			}
			h.wait(1)
			if none, err := m.Vectors(0); err != nil || none != nil {
				t.Errorf("%v %v", none, err)
			}
		})
	}
}

// A host that blocks on ARM is woken in every mode.
func TestArmWakes(t *testing.T) {
	for _, clock := range clocks {
		t.Run(clock.String(), func(t *testing.T) {
			m := newMock(t, Options{Clock: clock})
			h := bring(t, m, true)
			sid := h.open()
			h.ok(1, h.prefill(sid, 1))
			for ok := true; ok; {
				ok, _ = h.vec[1].Wait(time.Millisecond)
			}
			h.submit(1, generate(sid, 1, 200))
			n := 0
			for n < 200 {
				for {
					r, ok := h.record(1)
					if !ok {
						break
					}
					n++
					_ = r
				}
				if n < 200 {
					h.db.Store64(hci.PageSize+hci.DoorbellARM, uint64(h.rhead)|uint64(sid&0xFFFF)<<32)
					if ok, err := h.vec[1].Wait(5 * time.Second); !ok || err != nil {
						t.Fatalf("after %d records: %v %v", n, ok, err)
					}
				}
			}
			h.wait(1)
			if v := m.Violations(); len(v) > 0 {
				t.Error(v)
			}
		})
	}
}

func TestVirtualDeadlockIsNamed(t *testing.T) {
	m := newMock(t, Options{Clock: Virtual})
	h := bring(t, m, false)
	e := hci.SQE{OPC: hci.AdminHealthRecordConfig, PRP1: h.w.IOVA + wPage}
	e.Put(hci.HealthRecordConfigInterval, 100)
	h.ok(0, e)
	for ok := true; ok; {
		ok, _ = h.vec[0].Wait(0)
	}
	if _, err := h.vec[0].Wait(hal.WaitForever); !errors.Is(err, ErrDeadlock) {
		t.Errorf("%v", err)
	}
	// A bounded wait is not a deadlock, and takes no time of ours.
	began := time.Now()
	if ok, err := h.vec[0].Wait(time.Hour); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("an hour took %v", d)
	}
}

func TestReset(t *testing.T) {
	for _, clock := range clocks {
		for level := hal.ResetFLR; level <= hal.ResetHot; level++ {
			m := newMock(t, Options{Clock: clock})
			h := bring(t, m, true)
			sid := h.open()
			h.ok(1, h.prefill(sid, 1))
			h.submit(1, generate(sid, 1, 50))
			gen := h.regs.Load32(hci.RegRGEN)
			if err := m.Reset(level); err != nil {
				t.Fatal(err)
			}
			if v := h.regs.Load32(hci.RegVS); v != hci.Version {
				t.Errorf("VS %#x", v)
			}
			if g := h.regs.Load32(hci.RegRGEN); g != gen+1 {
				t.Errorf("RGEN %d, was %d", g, gen)
			}
			h.until(func() bool { return h.regs.Load32(hci.RegBSTS)&0xFF == 0xFF })
			// Mappings, BARs and bus mastering are as before; vectors are off.
			snap := append([]byte(nil), h.w.Bytes...)
			if clock != Virtual {
				time.Sleep(2 * time.Millisecond)
			}
			if !bytes.Equal(snap, h.w.Bytes) {
				t.Error("the card writes after a reset")
			}
			clear(h.r.Bytes)
			clear(h.w.Bytes)
			h.tail, h.head, h.shadow = [2]uint32{}, [2]uint32{}, false
			if h.vec, _ = m.Vectors(2); h.vec == nil {
				t.Fatal("no vectors")
			}
			h.enable()
			h.ok(0, hci.SQE{OPC: hci.AdminGetFeatures, CDW: [6]uint32{hci.FeatureIDQueues}})
			if ok, err := h.vec[0].Wait(time.Second); !ok || err != nil {
				t.Errorf("%v %v", ok, err)
			}
			if v := m.Violations(); len(v) > 0 {
				t.Error(v)
			}
		}
	}
}

func TestResetThatDoesNotEndFails(t *testing.T) {
	m, err := New(Options{Engine: testEngine(t, 5), Clock: Virtual, Faults: plan(t, "flr-stuck")})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Reset(hal.ResetFLR); err == nil {
		t.Error("succeeded")
	}
	if err := m.Close(); err == nil {
		t.Error("close succeeded")
	}
}

func TestLost(t *testing.T) {
	for _, clock := range clocks {
		m := newMock(t, Options{Clock: clock, Faults: plan(t, "aer@token#3;all-ones@token#9")})
		h := bring(t, m, false)
		sid := h.open()
		h.ok(1, h.prefill(sid, 1))
		h.submit(1, generate(sid, 1, 50))
		h.until(func() bool { return h.regs.Load32(hci.RegCSTS) == 0xFFFF_FFFF })
		if v, err := m.ReadConfig(0, 4); v != 0xFFFF_FFFF || err != nil {
			t.Errorf("config %#x %v", v, err)
		}
		if v := h.regs.Load64(hci.RegCAP); v != ^uint64(0) {
			t.Errorf("CAP %#x", v)
		}
		h.regs.Store32(hci.RegCC, 0)
		ev := m.Events()
		if len(ev) != 2 || ev[0].Kind != hal.EventError || ev[1].Kind != hal.EventLost || m.Events() != nil {
			t.Errorf("%+v", ev)
		}
		if err := m.Reset(hal.ResetFLR); !errors.Is(err, hal.ErrCardLost) {
			t.Error(err)
		}
		began := time.Now()
		if err := m.Close(); err != nil || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	}
}

func TestRemovalRequest(t *testing.T) {
	m := newMock(t, Options{Clock: Virtual})
	m.RequestRemoval()
	if ev := m.Events(); len(ev) != 1 || ev[0].Kind != hal.EventRemoval {
		t.Errorf("%+v", ev)
	}
}

func TestClose(t *testing.T) {
	for _, clock := range clocks {
		before := runtime.NumGoroutine()
		m, err := New(Options{Engine: testEngine(t, 500), Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		h := bring(t, m, true)
		sid := h.open()
		h.ok(1, h.prefill(sid, 1))
		h.submit(1, generate(sid, 1, 50))
		waiter := make(chan error, 1)
		if clock != Virtual {
			go func() {
				for {
					if _, err := h.vec[0].Wait(hal.WaitForever); err != nil {
						waiter <- err
						return
					}
				}
			}()
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if clock != Virtual {
			if err := <-waiter; !errors.Is(err, hal.ErrClosed) {
				t.Error(err)
			}
		}
		if err := m.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		for range 100 {
			if runtime.NumGoroutine() <= before {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if n := runtime.NumGoroutine(); n > before {
			t.Errorf("%v: %d goroutines, %d before", clock, n, before)
		}
		_, err1 := m.ReadConfig(0, 4)
		_, err2 := m.AllocDMA(1, hal.CardReads)
		_, err3 := m.Vectors(1)
		_, err4 := m.Region(0)
		for i, err := range []error{err1, err2, err3, err4, m.WriteConfig(0, 4, 0), m.Reset(hal.ResetFLR)} {
			if !errors.Is(err, hal.ErrClosed) {
				t.Errorf("%d: %v", i, err)
			}
		}
		if h.regs.Load32(hci.RegVS) != 0xFFFF_FFFF {
			t.Error("registers answer after Close")
		}
		if err := h.r.Free(); err != nil {
			t.Errorf("free after close: %v", err)
		}
	}
}

// The pace of a card in real time, as far as a shared machine lets it.
func TestRealtimePace(t *testing.T) {
	m := newMock(t, Options{Clock: Realtime})
	h := bring(t, m, true)
	sid := h.open()
	h.ok(1, h.prefill(sid, 1))
	began := time.Now()
	h.submit(1, generate(sid, 1, 400))
	n := 0
	h.until(func() bool {
		for {
			if _, ok := h.record(1); !ok {
				return n == 400
			}
			n++
		}
	})
	d := time.Since(began)
	if least := 400 * 58960 * time.Nanosecond; d < least-time.Millisecond {
		t.Errorf("400 tokens in %v, faster than the card is", d)
	}
	t.Logf("400 tokens in %v (nominal 23.6 ms), %d late", d, m.Counters().Late)
}

// Two virtual runs leave the same trace; two cards in a world share its time.
func TestVirtualIsRepeatable(t *testing.T) {
	run := func() ([]byte, int64) {
		var out bytes.Buffer
		w := NewWorld()
		tr := trace.NewWriter(&out, 3, false)
		o := Options{Engine: testEngine(t, 500), Clock: Virtual, World: w, Trace: tr, Seed: 3, Faults: plan(t, "slow-token%0.05,ns=90000;lost-irq%0.2")}
		a := newMock(t, o)
		o.Trace = nil
		b := newMock(t, o)
		ha, hb := bring(t, a, true), bring(t, b, false)
		for _, h := range []*host{ha, hb} {
			sid := h.open()
			h.submit(1, h.prefill(sid, 1, 3, 4, 5))
			h.submit(1, generate(sid, 1, 100))
		}
		n := 0
		ha.until(func() bool {
			for _, h := range []*host{ha, hb} {
				for {
					if _, ok := h.record(1); !ok {
						break
					}
					n++
				}
			}
			return n == 200
		})
		if a.Clock().Now() != b.Clock().Now() {
			t.Error("two times in one world")
		}
		ha.wait(1)
		tr.Flush()
		return out.Bytes(), w.Now()
	}
	a, ta := run()
	b, tb := run()
	if !bytes.Equal(a, b) || ta != tb {
		t.Errorf("two runs differ: %d and %d bytes, %d and %d ns", len(a), len(b), ta, tb)
	}
	if ta < 104*58960 || ta > 200*58960 {
		t.Errorf("%d ns: the cards do not run side by side", ta)
	}
}

// Many goroutines on one function; the race detector is the judge.
func TestManyGoroutines(t *testing.T) {
	for _, clock := range clocks {
		m := newMock(t, Options{Clock: clock})
		h := bring(t, m, true)
		sid := h.open()
		h.ok(1, h.prefill(sid, 1))
		h.submit(1, generate(sid, 1, 300))
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for range 200 {
					switch i {
					case 0:
						h.regs.Load32(hci.RegCSTS)
						m.ReadConfig(0, 4)
					case 1:
						d, err := m.AllocDMA(4096, hal.CardReads)
						if err != nil {
							t.Error(err)
							return
						}
						d.Free()
					case 2:
						m.Events()
						m.Counters()
						m.Violations()
					case 3:
						h.vec[0].Wait(time.Microsecond)
						h.db.Store32(hci.PageSize+hci.DoorbellKICK, 0)
					}
				}
			})
		}
		n := 0
		h.until(func() bool {
			for {
				if _, ok := h.record(1); !ok {
					return n == 300
				}
				n++
			}
		})
		wg.Wait()
		h.wait(1)
	}
}

// A command of an idle card: how long until its completion is seen.
func BenchmarkCommand(b *testing.B) {
	for _, clock := range clocks {
		b.Run(clock.String(), func(b *testing.B) {
			m := newMock(b, Options{Clock: clock})
			h := bring(b, m, true)
			sid := h.open()
			b.ReportAllocs()
			for b.Loop() {
				h.submit(1, hci.SQE{OPC: hci.OpCancel, SID: sid})
				h.wait(1)
			}
		})
	}
}

// BenchmarkToken is a token from silicon that costs nothing to a host that
// polls its ring.
func BenchmarkToken(b *testing.B) {
	for _, clock := range []Clock{Fast, Virtual} {
		b.Run(clock.String(), func(b *testing.B) {
			m := newMock(b, Options{Clock: clock})
			h := bring(b, m, true)
			sid := h.open()
			epoch := uint16(0)
			left := 0
			b.ReportAllocs()
			for b.Loop() {
				if left == 0 {
					if epoch > 0 {
						h.wait(1)
						h.ok(1, hci.SQE{OPC: hci.OpTruncate, SID: sid})
					}
					h.ok(1, h.prefill(sid, 1))
					epoch++
					left = 400
					h.submit(1, generate(sid, epoch, left))
				}
				h.until(func() bool { _, ok := h.record(epoch); return ok })
				left--
			}
		})
	}
}

// A card that hangs in the middle of a token is a deadlock too.
func TestHungCardIsADeadlock(t *testing.T) {
	m := newMock(t, Options{Clock: Virtual, Faults: plan(t, "hang@token#5")})
	h := bring(t, m, false)
	sid := h.open()
	h.ok(1, h.prefill(sid, 1))
	h.submit(1, generate(sid, 1, 50))
	for {
		if _, err := h.vec[1].Wait(hal.WaitForever); err != nil {
			if !errors.Is(err, ErrDeadlock) {
				t.Error(err)
			}
			return
		}
	}
}
