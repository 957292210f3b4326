// Package haltest is the written guarantees of hal.Function as tests. Every
// backend runs it; a driver may rely on what is here and on nothing else.
// The card must be an hc1 card: the suite brings its admin queue up itself,
// from docs/hci.md section 6, to see DMA, interrupts and resets at work.
package haltest

import (
	"errors"
	"math"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Open gives a fresh handle of the function under test. When the one before
// was closed it is the same card.
type Open func(t *testing.T) hal.Function

// Run runs the whole suite.
func Run(t *testing.T, open Open) {
	for _, g := range []struct {
		name string
		f    func(*testing.T, Open)
	}{
		{"G1 configuration space", config},
		{"G2 regions", regions},
		{"G3 DMA memory", memory},
		{"G4 vectors", vectors},
		{"G5 DMA reaches memory", transfers},
		{"G6 wrong direction faults", direction},
		{"G7 freed memory faults", freed},
		{"G8 reset", reset},
		{"G9 close", closing},
		{"G10 close resets the function", closeResets},
		{"G11 nothing is left", leaks},
	} {
		t.Run(g.name, func(t *testing.T) { g.f(t, open) })
	}
}

func with(t *testing.T, open Open) hal.Function {
	fn := open(t)
	t.Cleanup(func() {
		if err := fn.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return fn
}

// G1: configuration space is there, of an accelerator, with a capability
// list that ends; accesses of another width, unaligned or beyond it are
// ErrOutOfRange and change nothing.
func config(t *testing.T, open Open) {
	fn := with(t, open)
	read := func(off, width int) uint32 {
		v, err := fn.ReadConfig(off, width)
		if err != nil {
			t.Fatalf("read %d bytes at %#x: %v", width, off, err)
		}
		return v
	}
	if id := read(0, 4); id == math.MaxUint32 || uint16(id) != uint16(read(0, 2)) || read(2, 2) != id>>16 {
		t.Errorf("ids %#x", id)
	}
	if class := read(8, 4) >> 8; class != hci.PCIClass {
		t.Errorf("class %#06x", class)
	}
	seen := map[uint32]bool{}
	for p := read(0x34, 1); p != 0; p = read(int(p)+1, 1) {
		if p < 0x40 || p&3 != 0 || seen[p] {
			t.Fatalf("capability list leads to %#x", p)
		}
		seen[p] = true
	}
	before := read(4, 2)
	for _, x := range []struct{ off, width int }{{0, 3}, {0, 8}, {0, 0}, {1, 2}, {2, 4}, {-4, 4}, {4096, 4}, {4095, 2}} {
		if _, err := fn.ReadConfig(x.off, x.width); !errors.Is(err, hal.ErrOutOfRange) {
			t.Errorf("read of %d bytes at %d: %v", x.width, x.off, err)
		}
		if err := fn.WriteConfig(x.off, x.width, math.MaxUint32); !errors.Is(err, hal.ErrOutOfRange) {
			t.Errorf("write of %d bytes at %d: %v", x.width, x.off, err)
		}
	}
	if after := read(4, 2); after != before {
		t.Errorf("command register changed from %#x to %#x", before, after)
	}
}

// G2: the BARs that the card has are there, powers of two in size; others
// are ErrOutOfRange. 64-bit loads are what two 32-bit ones give. An access
// out of range or misaligned panics with ErrOutOfRange.
func regions(t *testing.T, open Open) {
	fn := with(t, open)
	for _, bar := range []int{hci.BARRegs, hci.BARDoorbells, hci.BARMSIX} {
		r, err := fn.Region(bar)
		if err != nil {
			t.Errorf("BAR %d: %v", bar, err)
			continue
		}
		if n := r.Size(); n < hci.PageSize || n&(n-1) != 0 {
			t.Errorf("BAR %d of %d bytes", bar, n)
		}
	}
	for _, bar := range []int{-1, 1, 3, 5, 6} {
		if _, err := fn.Region(bar); !errors.Is(err, hal.ErrOutOfRange) {
			t.Errorf("BAR %d: %v", bar, err)
		}
	}
	r := enable(t, fn)
	if v := r.Load32(hci.RegVS); hci.VSMJR.Get(uint64(v)) != hci.VersionMajor {
		t.Errorf("VS %#x", v)
	}
	if lo, hi, v := r.Load32(hci.RegCAP), r.Load32(hci.RegCAP+4), r.Load64(hci.RegCAP); v != uint64(hi)<<32|uint64(lo) {
		t.Errorf("CAP %#x as one, %#x %#x as two", v, hi, lo)
	}
	for name, f := range map[string]func(){
		"load beyond":    func() { r.Load32(r.Size()) },
		"load before":    func() { r.Load32(-4) },
		"load64 at end":  func() { r.Load64(r.Size() - 4) },
		"misaligned":     func() { r.Load32(2) },
		"misaligned 64":  func() { r.Load64(4 + 2) },
		"store beyond":   func() { r.Store32(r.Size(), 0) },
		"store64 before": func() { r.Store64(-8, 0) },
	} {
		func() {
			defer func() {
				if err, ok := recover().(error); !ok || !errors.Is(err, hal.ErrOutOfRange) {
					t.Errorf("%s: %v", name, err)
				}
			}()
			f()
			t.Errorf("%s: no panic", name)
		}()
	}
}

// G3: DMA memory is zeroed, whole pages, page-aligned, apart from all other,
// and what was asked for; what cannot be had is ErrNoMemory.
func memory(t *testing.T, open Open) {
	fn := with(t, open)
	type span struct{ from, to uint64 }
	var spans []span
	var kept []*hal.DMA
	for i := range 256 {
		size := 1 + i*37%9000
		dir := []hal.Direction{hal.CardReads, hal.CardWrites}[i%2]
		d, err := fn.AllocDMA(size, dir)
		if err != nil {
			t.Fatalf("allocation %d of %d bytes: %v", i, size, err)
		}
		if len(d.Bytes) < size || len(d.Bytes)%hci.PageSize != 0 || d.IOVA%hci.PageSize != 0 || d.Dir != dir {
			t.Errorf("%d bytes: got %d at %#x, direction %d", size, len(d.Bytes), d.IOVA, d.Dir)
		}
		for _, b := range d.Bytes {
			if b != 0 {
				t.Fatal("memory is not zeroed")
			}
		}
		d.Bytes[0], d.Bytes[len(d.Bytes)-1] = 1, 1 // it is the host's to write
		s := span{d.IOVA, d.IOVA + uint64(len(d.Bytes))}
		for _, o := range spans {
			if s.from < o.to && o.from < s.to {
				t.Fatalf("%#x..%#x overlaps %#x..%#x", s.from, s.to, o.from, o.to)
			}
		}
		spans, kept = append(spans, s), append(kept, d)
	}
	for _, d := range kept {
		if err := d.Free(); err != nil {
			t.Errorf("free: %v", err)
		}
	}
	for _, size := range []int{0, -1, math.MaxInt, 1 << 46} {
		if d, err := fn.AllocDMA(size, hal.CardReads); err == nil {
			t.Errorf("allocation of %d bytes gave %d", size, len(d.Bytes))
		}
	}
	if _, err := fn.AllocDMA(1<<46, hal.CardReads); !errors.Is(err, hal.ErrNoMemory) {
		t.Errorf("64 TiB: %v", err)
	}
	if _, err := fn.AllocDMA(4096, 0); err == nil {
		t.Error("a buffer without direction was given")
	}
}

// G4: as many vectors as the card has, no more; Wait is bounded, and with 0
// only looks.
func vectors(t *testing.T, open Open) {
	fn := with(t, open)
	vs, err := fn.Vectors(1)
	if err != nil || len(vs) != 1 {
		t.Fatalf("%d vectors, %v", len(vs), err)
	}
	if fired, err := vs[0].Wait(0); fired || err != nil {
		t.Errorf("idle vector: %v, %v", fired, err)
	}
	start := time.Now()
	if fired, err := vs[0].Wait(20 * time.Millisecond); fired || err != nil {
		t.Errorf("idle vector: %v, %v", fired, err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("waited %v for 20 ms", d)
	}
	for _, n := range []int{-1, 4096} {
		if _, err := fn.Vectors(n); err == nil {
			t.Errorf("%d vectors were given", n)
		}
	}
}

// G5: the card reads what the host wrote and writes where it was told, and
// an interrupt announces it.
func transfers(t *testing.T, open Open) {
	fn := with(t, open)
	a := bringUp(t, fn)
	page := alloc(t, fn, hci.CapsSize, hal.CardWrites)
	if s := a.identify(page.IOVA); s != hci.StatusSuccess {
		t.Fatalf("IDENTIFY: %v", s)
	}
	if _, err := hci.DecodeCapabilities(page.Bytes); err != nil {
		t.Error(err)
	}
	if fired, err := a.vector.Wait(time.Second); !fired || err != nil {
		t.Errorf("interrupt: %v, %v", fired, err)
	}
}

// G6: an access against a buffer's direction is refused and changes nothing.
func direction(t *testing.T, open Open) {
	fn := with(t, open)
	a := bringUp(t, fn)
	page := alloc(t, fn, hci.CapsSize, hal.CardReads)
	if s := a.identify(page.IOVA); s != hci.StatusDataTransferError {
		t.Errorf("write into memory that the card only reads: %v", s)
	}
	untouched(t, page)
}

// G7: freed memory is out of the card's reach at once.
func freed(t *testing.T, open Open) {
	fn := with(t, open)
	a := bringUp(t, fn)
	page := alloc(t, fn, hci.CapsSize, hal.CardWrites)
	if err := page.Free(); err != nil {
		t.Fatal(err)
	}
	if s := a.identify(page.IOVA); s != hci.StatusDataTransferError {
		t.Errorf("write into freed memory: %v", s)
	}
	untouched(t, page)
	if s := a.identify(0x10); s == hci.StatusSuccess {
		t.Error("write to an address never given")
	}
}

// G8: FLR brings registers to their reset values and is over, with nothing
// in flight, when it returns; memory stays usable.
func reset(t *testing.T, open Open) {
	fn := with(t, open)
	a := bringUp(t, fn)
	gen := a.regs.Load32(hci.RegRGEN)
	if err := fn.Reset(hal.ResetFLR); err != nil {
		t.Fatalf("FLR: %v", err)
	}
	r := enable(t, fn)
	if cc, csts := r.Load32(hci.RegCC), r.Load32(hci.RegCSTS); cc != 0 || csts != 0 {
		t.Errorf("after FLR CC %#x, CSTS %#x", cc, csts)
	}
	if g := r.Load32(hci.RegRGEN); g == gen {
		t.Errorf("RGEN is still %d", g)
	}
	clear(a.cq.Bytes)
	time.Sleep(5 * time.Millisecond)
	untouched(t, a.cq)
	b := bringUp(t, fn)
	page := alloc(t, fn, hci.CapsSize, hal.CardWrites)
	if s := b.identify(page.IOVA); s != hci.StatusSuccess {
		t.Errorf("IDENTIFY after FLR: %v", s)
	}
	if err := fn.Reset(99); !errors.Is(err, hal.ErrUnsupported) {
		t.Errorf("reset of an unknown level: %v", err)
	}
}

// G9: after Close every method fails with ErrClosed, and a second Close is
// nothing.
func closing(t *testing.T, open Open) {
	fn := open(t)
	if err := fn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fn.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	_, errs := fn.ReadConfig(0, 4)
	for name, err := range map[string]error{
		"ReadConfig": errs, "WriteConfig": fn.WriteConfig(4, 2, 0), "Reset": fn.Reset(hal.ResetFLR),
		"Region": second(fn.Region(0)), "AllocDMA": second(fn.AllocDMA(4096, hal.CardReads)), "Vectors": second(fn.Vectors(1)),
	} {
		if !errors.Is(err, hal.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// G10: a function that is given up without a shutdown is reset: the next one
// to open it finds it disabled, and it writes no more to the old memory.
func closeResets(t *testing.T, open Open) {
	fn := open(t)
	a := bringUp(t, fn)
	if err := fn.Close(); err != nil {
		t.Fatal(err)
	}
	clear(a.cq.Bytes)
	next := with(t, open)
	if cc := enable(t, next).Load32(hci.RegCC); cc != 0 {
		t.Errorf("CC %#x after the last holder closed", cc)
	}
	untouched(t, a.cq)
}

// G11: opening and closing leaves no goroutine and no file behind.
func leaks(t *testing.T, open Open) {
	files := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return 0
		}
		return len(d)
	}
	cycle := func() {
		fn := open(t)
		bringUp(t, fn)
		if err := fn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	g, f := runtime.NumGoroutine(), files()
	for range 20 {
		cycle()
	}
	for range 100 {
		if runtime.NumGoroutine() <= g && files() <= f {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines and %d files, before %d and %d", runtime.NumGoroutine(), files(), g, f)
}

func untouched(t *testing.T, d *hal.DMA) {
	t.Helper()
	for i, b := range d.Bytes {
		if b != 0 {
			t.Errorf("byte %d was written", i)
			return
		}
	}
}
