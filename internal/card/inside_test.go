package card

import (
	"slices"
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/iommu"
)

// busy is a host with work to do, and its bus. Of kind, bit 0 is shadow
// doorbells, bit 1 a paced card, bit 2 larger rings, bit 3 queues that get full.
func busy(t *testing.T, kind int) (*reactor, *inside) {
	h := newHost(t, Config{Paced: kind&2 != 0, Sessions: 4}, &hashEngine{vocab: 100, context: 4096})
	b := insideHost(h, nil)
	return b.again(kind), b
}

// again is the same with the card as new.
func (b *inside) again(kind int) *reactor {
	h := b.fakeHost
	h.back()
	h.c.Reset(FLR)
	h.settle()
	h.c.WriteConfig(cfgCommand, 2, commandMemory|commandMaster)
	clear(h.c.gens)
	h.c.logs = logState{} // no event of the reset
	clear(h.w[offRing : offRing+0x30000])
	clear(h.r[offMask : offMask+4*hci.MaskStride])
	h.c.violated, h.sess, h.cid, b.come, b.irq, b.bad = nil, [16]ringView{}, 0, nil, nil, ""
	h.bringUp(kind&1 != 0)
	for q := 1; q < 3 && kind&8 != 0; q++ {
		h.ok(0, deleteSQ(q))
		h.ok(0, deleteCQ(q))
		h.createQueue(q, 4)
	}
	r := work(h, uint32(4+kind>>1&2))
	r.seen[0], b.n = h.head[0], 0
	return r
}

// A host that reacts at once, wherever it is let in, gets what it gets when
// it reacts between steps.
func TestReactsInside(t *testing.T) {
	modes := []string{"between steps", "before and after", "before", "after", "now and then", "when woken"}
	for kind := range 16 {
		want := ""
		for _, mode := range modes {
			r, b := busy(t, kind)
			x := uint32(kind)
			b.come = func(n int) {
				switch mode {
				case "before":
					n++
				case "now and then":
					x = x*1664525 + 1013904223
					n = int(x >> 29)
				case "between steps", "when woken":
					return
				}
				if mode == "before and after" || n%2 == 0 {
					r.react()
				}
			}
			b.woken(r, mode == "when woken")
			got := r.play(mode != "before and after" && mode != "after" && mode != "when woken")
			if mode == modes[0] {
				want = got
			}
			if strings.Count(got, ": 0 to come") != 3 || got != want {
				t.Errorf("kind %d, %s: %s", kind, mode, differ(got, want))
			}
			if b.bad != "" {
				t.Errorf("kind %d, %s: %s", kind, mode, b.bad)
			}
			(&hostile{fakeHost: r.fakeHost}).check()
		}
	}
}

// The host takes the bus from the card, or masks its interrupts, in the
// middle of a step. Work that needs them waits, and nothing is lost: all is
// as if it had not been so.
func TestBusTakenAway(t *testing.T) {
	for at, d := range []struct {
		name    string
		off, on func(c *Card)
	}{
		{"bus master", func(c *Card) { c.WriteConfig(cfgCommand, 2, commandMemory) },
			func(c *Card) { c.WriteConfig(cfgCommand, 2, commandMemory|commandMaster) }},
		{"D3hot", func(c *Card) { c.WriteConfig(cfgPMCSR, 2, 3) }, func(c *Card) { c.WriteConfig(cfgPMCSR, 2, 0) }},
		{"bus master and memory", func(c *Card) { c.WriteConfig(cfgCommand, 2, commandMemory); c.bus.(*inside).gone() },
			func(c *Card) { c.bus.(*inside).back(); c.WriteConfig(cfgCommand, 2, commandMemory|commandMaster) }},
		{"MSI-X", func(c *Card) { c.WriteConfig(cfgMSIXCtl, 2, msixEnable|msixFuncMask) },
			func(c *Card) { c.WriteConfig(cfgMSIXCtl, 2, msixEnable) }},
		{"vectors", func(c *Card) { maskAll(c, 1) }, func(c *Card) { maskAll(c, 0) }},
	} {
		for k, kind := range []int{0, 1, 3, 8, 9} {
			masks := at > 2
			r, b := busy(t, kind)
			b.woken(r, false)
			want := r.play(true)
			r.lax = true
			for n, last := 1+(5*at+k)%17, false; !last; n += stride(17, 171) {
				r = b.again(kind)
				woken := masks || n%3 == 0
				b.woken(r, woken)
				off, steps := false, 0
				b.come = func(m int) {
					if m == n {
						d.off(r.c)
						off, steps, r.poked = true, 0, true
					}
				}
				r.away = func() bool {
					if steps++; off && steps > 1+n%2 {
						off = false
						d.on(r.c)
						r.next = r.now
					}
					return off
				}
				got := r.play(!woken)
				if last = b.n < n; last && n < 500 {
					t.Errorf("only %d accesses", n)
				}
				if got != want {
					t.Fatalf("%s, kind %d, at %d: %s", d.name, kind, n, differ(got, want))
				}
				if b.bad != "" {
					t.Fatalf("%s, kind %d, at %d: %s", d.name, kind, n, b.bad)
				}
				for _, v := range r.c.violated {
					if v.Category != BusMaster { // commands it has given before
						t.Fatalf("%s, kind %d, at %d: %v", d.name, kind, n, v)
					}
				}
				(&hostile{fakeHost: r.fakeHost}).check()
			}
		}
	}
}

func maskAll(c *Card, v uint64) {
	for i := range NumVectors {
		c.WriteBAR(hci.BARMSIX, i*msixEntry+msixCtl, 4, v)
	}
}

// stride is the step from one moment to the next one that is tried.
func stride(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// disturbances are what a host may do at any moment.
var disturbances = []struct {
	name  string
	reset bool
	act   func(h *fakeHost)
}{
	{"FLR", true, func(h *fakeHost) { h.c.WriteConfig(cfgDevCtl, 2, devCtlFLR) }},
	{"FLR and memory gone", true, func(h *fakeHost) { h.c.WriteConfig(cfgDevCtl, 2, devCtlFLR); h.gone() }},
	{"power", true, func(h *fakeHost) { h.c.Reset(PowerReset) }},
	{"last fd", true, func(h *fakeHost) { h.c.Reset(LastFD) }},
	{"EN 0", false, func(h *fakeHost) { h.set(hci.RegCC, 0) }},
	{"EN 0, 1", false, func(h *fakeHost) { h.set(hci.RegCC, 0); h.set(hci.RegCC, 1|6<<16|4<<20) }},
	{"EN 0, 1, fatal", false, func(h *fakeHost) {
		h.set(hci.RegCC, 0)
		h.set(hci.RegCC, 1|6<<16|4<<20)
		h.c.fatal(hci.FatalThermal)
	}},
	{"SHN", false, func(h *fakeHost) { h.set(hci.RegCC, h.reg(hci.RegCC)|1<<14) }},
	{"SHN, EN 0, 1", false, func(h *fakeHost) {
		h.set(hci.RegCC, h.reg(hci.RegCC)|1<<14)
		h.set(hci.RegCC, 0)
		h.set(hci.RegCC, 1|6<<16|4<<20)
	}},
	{"bus master off", false, func(h *fakeHost) { h.c.WriteConfig(cfgCommand, 2, commandMemory) }},
	{"memory off", false, func(h *fakeHost) { h.c.WriteConfig(cfgCommand, 2, commandMaster) }},
	{"D3hot", false, func(h *fakeHost) { h.c.WriteConfig(cfgPMCSR, 2, 3) }},
	{"MSI-X masked", false, func(h *fakeHost) { h.c.WriteConfig(cfgMSIXCtl, 2, msixEnable|msixFuncMask) }},
	{"tail overrun", false, func(h *fakeHost) { h.bell(1, hci.DoorbellSQTDBL, h.size[1]) }},
	{"tail at head", false, func(h *fakeHost) { h.bell(0, hci.DoorbellSQTDBL, (h.tail[0]-1)%h.size[0]) }},
}

// gone takes all memory away from the card; back gives it again.
func (h *fakeHost) gone() { h.Clear(nil) }

func (h *fakeHost) back() {
	if h.Len() == 0 {
		h.must(h.Map(iommu.Mapping{IOVA: iovaR, Bytes: h.r, Read: true}))
		h.must(h.Map(iommu.Mapping{IOVA: iovaW, Bytes: h.w, Write: true}))
	}
}

// What a host may do at any moment, at every moment there is in a life with
// all features: no access begins that must not, the card neither panics nor
// hangs, keeps its books, and a reset brings it back.
func TestDisturbedInside(t *testing.T) {
	for _, d := range disturbances {
		t.Run(d.name, func(t *testing.T) {
			h := newHost(t, Config{Sessions: 4}, &hashEngine{vocab: 100, context: 4096})
			h.lax = true
			x := &hostile{fakeHost: h}
			b := insideHost(h, nil)
			for n, last := 1, false; !last; n += stride(1, 7) {
				clear(h.w[offRing : offRing+0x30000])
				b.n = 0
				b.come = func(k int) {
					if k == n {
						d.act(h)
						h.poked = true
						if d.reset && h.c.ReadConfig(cfgDevSta, 2)&devStaPending == 0 {
							t.Error("transactions not pending")
						}
					}
				}
				life(x)
				b.come = nil
				if last = b.n < n; last && n < 400 {
					t.Errorf("only %d accesses", n)
				}
				x.settleBounded()
				x.check()
				if x.next <= x.now {
					t.Fatalf("at %d: the card does not come to rest", n)
				}
				for _, v := range h.c.violated {
					if slices.Contains([]Category{BadDMA, BadDirection, UseAfterFree}, v.Category) {
						t.Fatalf("at %d: held against the host: %v", n, v)
					}
				}
				h.c.violated = nil
				if h.c.ReadConfig(cfgDevSta, 2)&devStaPending != 0 {
					t.Error("transactions pending for ever")
				}
				h.back()
				h.c.Reset(FLR)
				x.settleBounded()
				if len(h.c.posted) > 0 {
					t.Fatalf("at %d: %d writes outlive the reset", n, len(h.c.posted))
				}
				h.c.WriteConfig(cfgCommand, 2, commandMemory|commandMaster)
				x.bringUp(true)
				sid := x.open(0)
				x.ok(1, x.prefill(sid, count(20)))
				x.ok(1, greedy(sid, 1, 5))
				if len(x.records(0, 1)) != 5 {
					t.Fatal("no tokens after the reset")
				}
				x.check()
				if b.bad != "" {
					t.Fatalf("at %d: %s", n, b.bad)
				}
			}
		})
	}
}
