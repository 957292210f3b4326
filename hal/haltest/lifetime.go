package haltest

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// G8, Reset(ResetFLR): "returns when the function answers again and its
// Transactions Pending is clear"; registers have their reset values, RGEN
// went on, and the card writes to no memory. "BARs, vectors and DMA mappings
// stay usable; the vectors must be turned on again." A level that does not
// exist is ErrUnsupported and no reset.
func reset(t *testing.T, open Open) {
	fn := with(t, open)
	resetAs(t, fn, hal.ResetFLR)
	gen := enable(t, fn).Load32(hci.RegRGEN)
	for _, level := range []hal.Level{0, 99} {
		if err := fn.Reset(level); !errors.Is(err, hal.ErrUnsupported) {
			t.Errorf("reset of level %d: %v", level, err)
		}
	}
	if g := enable(t, fn).Load32(hci.RegRGEN); g != gen {
		t.Errorf("a level that does not exist reset the card: RGEN %d, was %d", g, gen)
	}
}

// G13, Reset(ResetHot): the same, or ErrUnsupported and no reset.
func hotReset(t *testing.T, open Open) {
	fn := with(t, open)
	a := bringUp(t, fn)
	gen := a.regs.Load32(hci.RegRGEN)
	switch err := fn.Reset(hal.ResetHot); {
	case errors.Is(err, hal.ErrUnsupported):
		if g, cc := a.regs.Load32(hci.RegRGEN), a.regs.Load32(hci.RegCC); g != gen || cc&1 == 0 {
			t.Errorf("a refused hot reset reset the card: RGEN %d, was %d; CC %#x", g, gen, cc)
		}
		return
	case err != nil:
		t.Fatal(err)
	}
	resetAs(t, fn, hal.ResetHot)
}

func resetAs(t *testing.T, fn hal.Function, level hal.Level) {
	t.Helper()
	a := bringUp(t, fn)
	page, record := alloc(t, fn, hci.CapsSize, hal.CardWrites), alloc(t, fn, 1, hal.CardWrites)
	a.watch(record) // so that there is something to go on writing
	gen := a.regs.Load32(hci.RegRGEN)
	if err := fn.Reset(level); err != nil {
		t.Fatalf("reset: %v", err)
	}
	for _, d := range []*hal.DMA{a.cq, record, page} {
		clear(d.Bytes)
	}
	s := space{t, fn}
	if at := s.capabilities()[capPCIe]; at == 0 || s.read(at+0x0A, 2)>>5&1 != 0 {
		t.Error("Transactions Pending is set after a reset")
	}
	enable(t, fn)
	r := a.regs // from before the reset
	a.until("boot", func() bool { return hci.BSTSStage.Get(uint64(r.Load32(hci.RegBSTS))) == 0xFF })
	for _, reg := range []struct {
		name string
		v    uint64
	}{{"CC", uint64(r.Load32(hci.RegCC))}, {"CSTS", uint64(r.Load32(hci.RegCSTS))}, {"AQA", uint64(r.Load32(hci.RegAQA))},
		{"ASQ", r.Load64(hci.RegASQ)}, {"ACQ", r.Load64(hci.RegACQ)}, {"FERR", uint64(r.Load32(hci.RegFERR))}} {
		if reg.v != 0 {
			t.Errorf("%s is %#x after a reset", reg.name, reg.v)
		}
	}
	if g := r.Load32(hci.RegRGEN); int32(g-gen) <= 0 {
		t.Errorf("RGEN is %d after a reset, was %d", g, gen)
	}
	time.Sleep(5 * healthInterval)
	untouched(t, "completion queue", a.cq)
	untouched(t, "health record", record)
	b := bringUp(t, fn)
	if s := b.identify(page.IOVA); s != hci.StatusSuccess { // mapped before the reset
		t.Errorf("IDENTIFY after a reset: %v", s)
	}
	if fired, err := b.vector.Wait(patience); !fired || err != nil {
		t.Errorf("interrupt after a reset: %v, %v", fired, err)
	}
}

// G9, Close: every method fails with ErrClosed after it, a second Close
// returns nil, freeing a buffer is harmless, and whoever waits without bound
// is let go with ErrClosed.
func closing(t *testing.T, open Open) {
	fn := open(t)
	a := bringUp(t, fn)
	if ev := fn.Events(); len(ev) != 0 {
		t.Errorf("events of a sound card: %v", ev)
	}
	waiter := make(chan error, 1)
	go func() {
		for {
			if _, err := a.vector.Wait(hal.WaitForever); err != nil {
				waiter <- err
				return
			}
		}
	}()
	time.Sleep(5 * time.Millisecond)
	if err := fn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fn.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	select {
	case err := <-waiter:
		if !errors.Is(err, hal.ErrClosed) {
			t.Errorf("a waiter when the function was closed: %v", err)
		}
	case <-time.After(patience):
		t.Error("a waiter was left behind by Close")
	}
	if _, err := a.vector.Wait(0); !errors.Is(err, hal.ErrClosed) {
		t.Errorf("Wait: %v", err)
	}
	for name, err := range map[string]error{
		"ReadConfig": second(fn.ReadConfig(0, 4)), "WriteConfig": fn.WriteConfig(cfgCommand, 2, 0), "Reset": fn.Reset(hal.ResetFLR),
		"Region": second(fn.Region(0)), "AllocDMA": second(fn.AllocDMA(4096, hal.CardReads)), "Vectors": second(fn.Vectors(1)),
	} {
		if !errors.Is(err, hal.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ev := fn.Events(); ev != nil {
		t.Errorf("events of a closed function: %v", ev)
	}
	a.sq.Free()
	a.cq.Free()
	next := bringUp(t, with(t, open))
	if next.regs.Load32(hci.RegVS) == 0 {
		t.Error("nothing answers when it is opened again")
	}
}

// G10, Close: "the card is reset (as by an FLR) and its mappings are gone". A
// function that is given up without a shutdown is found disabled, by the next
// one to open it, with the old one's queues forgotten and bus mastering off.
func closeResets(t *testing.T, open Open) {
	fn := open(t)
	a := bringUp(t, fn)
	a.watch(alloc(t, fn, 1, hal.CardWrites))
	if err := fn.Close(); err != nil {
		t.Fatal(err)
	}
	next := with(t, open)
	r := enable(t, next)
	if cc, csts := r.Load32(hci.RegCC), r.Load32(hci.RegCSTS); cc != 0 || csts != 0 {
		t.Errorf("CC %#x, CSTS %#x after the last holder closed", cc, csts)
	}
	if asq, acq := r.Load64(hci.RegASQ), r.Load64(hci.RegACQ); asq != 0 || acq != 0 {
		t.Errorf("ASQ %#x, ACQ %#x after the last holder closed", asq, acq)
	}
	page := alloc(t, next, hci.CapsSize, hal.CardWrites)
	time.Sleep(3 * healthInterval)
	untouched(t, "memory of the next holder", page)
}

// G11: opening, use and closing leave no goroutine and no file behind.
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

// G14: "Config, AllocDMA, Vectors and Reset ... may be called from any
// goroutine", and a Region used by any. The race detector is the judge.
func goroutines(t *testing.T, open Open) {
	fn := with(t, open)
	a := bringUp(t, fn)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 50 {
				if v := a.regs.Load32(hci.RegVS); v>>16 != hci.VersionMajor {
					t.Errorf("VS %#x", v)
				}
				if v, err := fn.ReadConfig(cfgClass, 4); err != nil || v>>8 != hci.PCIClass {
					t.Errorf("class %#x, %v", v>>8, err)
				}
				d, err := fn.AllocDMA(1+i*hci.PageSize, hal.CardWrites)
				if err != nil {
					t.Error(err)
					return
				}
				d.Bytes[0] = 1
				if err := d.Free(); err != nil {
					t.Error(err)
				}
				fn.Events()
			}
		})
	}
	page := alloc(t, fn, hci.CapsSize, hal.CardWrites)
	for range 20 {
		if s := a.identify(page.IOVA); s != hci.StatusSuccess {
			t.Errorf("IDENTIFY: %v", s)
		}
	}
	all.Wait()
}
