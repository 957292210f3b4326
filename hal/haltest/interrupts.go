package haltest

import (
	"errors"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// slack is how late a Wait may be on a machine that is busy with other tests.
const slack = 2 * time.Second

// G4, Vectors: as many as MSI-X has, each call replaces the one before, and
// more is ErrUnsupported. Wait returns "false after d without" an interrupt,
// never before; "d == 0 only looks". An old vector is ErrClosed, to a Wait that
// is under way as well.
func vectors(t *testing.T, open Open) {
	fn := with(t, open)
	s := space{t, fn}
	at := s.capabilities()[capMSIX]
	if at == 0 {
		t.Fatal("no MSI-X capability")
	}
	most := int(s.read(at+2, 2)&0x7FF) + 1
	vs, err := fn.Vectors(most)
	if err != nil || len(vs) != most {
		t.Fatalf("%d of %d vectors: %v", len(vs), most, err)
	}
	for _, n := range []int{most + 1, 4096} {
		if _, err := fn.Vectors(n); !errors.Is(err, hal.ErrUnsupported) {
			t.Errorf("%d vectors, the card has %d: %v", n, most, err)
		}
	}
	if _, err := fn.Vectors(-1); err == nil {
		t.Error("-1 vectors were given")
	}
	replaced := make(chan error, 1)
	go func() { replaced <- second(vs[most-1].Wait(hal.WaitForever)) }()
	time.Sleep(5 * time.Millisecond)
	one, err := fn.Vectors(1)
	if err != nil || len(one) != 1 {
		t.Fatalf("%d vectors, %v", len(one), err)
	}
	select {
	case err := <-replaced:
		if !errors.Is(err, hal.ErrClosed) {
			t.Errorf("a waiter when its vector was replaced: %v", err)
		}
	case <-time.After(patience):
		t.Error("a waiter was left behind by Vectors")
	}
	if _, err := vs[0].Wait(0); !errors.Is(err, hal.ErrClosed) {
		t.Errorf("a vector that was replaced: %v", err)
	}
	start := time.Now()
	for range 100 {
		if fired, err := one[0].Wait(0); fired || err != nil {
			t.Fatalf("idle vector: %v, %v", fired, err)
		}
	}
	if d := time.Since(start); d > slack {
		t.Errorf("looked 100 times in %v", d)
	}
	for _, d := range []time.Duration{time.Microsecond, 30 * time.Millisecond} {
		start = time.Now()
		if fired, err := one[0].Wait(d); fired || err != nil {
			t.Errorf("idle vector: %v, %v", fired, err)
		}
		if got := time.Since(start); got < d || got > d+slack {
			t.Errorf("waited %v for %v", got, d)
		}
	}
	if none, err := fn.Vectors(0); err != nil || len(none) != 0 {
		t.Errorf("vectors turned off: %d, %v", len(none), err)
	}
}

// G12, Wait: "returns true when the interrupt has fired since the last Wait
// that returned true"; "firings in between count as one"; a waiter without
// bound is woken; each vector hears its own interrupts only; they still come
// after Vectors was called again.
func interrupts(t *testing.T, open Open) {
	fn := with(t, open)
	a := bringUp(t, fn)
	vs, err := fn.Vectors(2)
	if err != nil {
		t.Fatal(err)
	}
	page := alloc(t, fn, hci.CapsSize, hal.CardWrites)
	identify := func() {
		t.Helper()
		if s := a.identify(page.IOVA); s != hci.StatusSuccess {
			t.Fatalf("IDENTIFY: %v", s)
		}
	}
	expect := func(what string, v hal.Vector, d time.Duration, want bool) {
		t.Helper()
		if fired, err := v.Wait(d); fired != want || err != nil {
			t.Errorf("%s: fired %v, %v", what, fired, err)
		}
	}
	for range 3 {
		identify()
	}
	time.Sleep(20 * time.Millisecond) // the last completion may come before its interrupt
	expect("three interrupts", vs[0], 0, true)
	expect("after them", vs[0], 20*time.Millisecond, false)
	expect("vector 1", vs[1], 0, false)

	woken := make(chan error, 1)
	go func() {
		fired, err := vs[0].Wait(hal.WaitForever)
		if err == nil && !fired {
			err = errors.New("a wait without bound ended without an interrupt")
		}
		woken <- err
	}()
	time.Sleep(5 * time.Millisecond)
	identify()
	select {
	case err := <-woken:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("a waiter was not woken")
	}

	// An I/O queue pair on vector 1.
	ioSQ, ioCQ := alloc(t, fn, hci.PageSize, hal.CardReads), alloc(t, fn, hci.PageSize, hal.CardWrites)
	cq := hci.SQE{OPC: hci.AdminCreateIOCQ, PRP1: ioCQ.IOVA}
	cq.Put(hci.CreateIOCQQID, 1)
	cq.Put(hci.CreateIOCQQsize, 1)
	cq.Put(hci.CreateIOCQPC, 1)
	cq.Put(hci.CreateIOCQIEN, 1)
	cq.Put(hci.CreateIOCQIV, 1)
	sq := hci.SQE{OPC: hci.AdminCreateIOSQ, PRP1: ioSQ.IOVA}
	sq.Put(hci.CreateIOSQQID, 1)
	sq.Put(hci.CreateIOSQQsize, 1)
	sq.Put(hci.CreateIOSQPC, 1)
	sq.Put(hci.CreateIOSQCQID, 1)
	for _, e := range []hci.SQE{cq, sq} {
		if st := a.command(e); st != hci.StatusSuccess {
			t.Fatalf("opcode %#x: %v", e.OPC, st)
		}
	}
	time.Sleep(20 * time.Millisecond)
	vs[0].Wait(0)
	var raw [hci.SQESize]byte
	(&hci.SQE{OPC: hci.OpCancel, SID: 0x00010000}).Encode(&raw) // no such session: it completes, which is enough
	copy(ioSQ.Bytes, raw[:])
	a.db.Store32(1<<(12+int(hci.CAPDSTRD.Get(a.regs.Load64(hci.RegCAP))))+hci.DoorbellSQTDBL, 1)
	expect("vector 1", vs[1], patience, true)
	expect("vector 0", vs[0], 20*time.Millisecond, false)

	vs, err = fn.Vectors(1)
	if err != nil {
		t.Fatal(err)
	}
	identify()
	expect("after Vectors was called again", vs[0], patience, true)
}
