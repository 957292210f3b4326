package card

import (
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Transactions Pending is set during an access, and from a reset in the
// middle of a step to the end of the step; never longer.
func TestTransactionsPending(t *testing.T) {
	h := up(t, Config{}, nil, false)
	h.lax = true
	pending := func() bool { return h.c.ReadConfig(cfgDevSta, 2)&devStaPending != 0 }
	b := insideHost(h, nil)
	sid := h.open(0)
	b.come = func(int) {
		if !pending() {
			t.Error("an access is under way and not pending")
		}
	}
	h.ok(1, h.prefill(sid, count(40)))
	b.n, b.come = 0, func(n int) {
		if n == 1 {
			h.c.WriteConfig(cfgDevCtl, 2, devCtlFLR)
		}
	}
	h.e.compute = func() { t.Error("the silicon goes on in a reset") }
	h.submit(1, h.prefill(sid, count(40)))
	if pending() {
		t.Error("pending between steps")
	}
	h.step()
	if b.n != 2 || pending() {
		t.Errorf("after the step: %d visits, pending %v", b.n, pending())
	}
	h.settle()
	if pending() || h.reg(hci.RegCSTS) != 0xFFFF_FFFF { // memory space is off
		t.Error("after the reset")
	}
}

// ARMs that come in the middle of a step.
func TestArmsInside(t *testing.T) {
	h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, false)
	b := insideHost(h, nil)
	const token = 58960
	fired := func(what string, want int) {
		t.Helper()
		if h.irqs[3] != want {
			t.Fatalf("%s: %d interrupts, want %d", what, h.irqs[3], want)
		}
	}
	once := func(at uint64, act func()) {
		b.come = func(int) {
			if b.at == at {
				b.come = nil
				act()
			}
		}
	}
	var sid [2]uint32
	for i := range sid {
		sid[i] = h.open(i)
		h.ok(1, h.prefill(sid[i], count(3)))
	}
	// Behind a command whose queue has been looked at in this step already:
	// it counts as queued.
	once(iovaW+offCQ+0x2000, func() { h.submit(1, greedy(sid[0], 1, 300)); h.armFor(0, 104, 0) })
	h.submit(2, hci.SQE{OPC: hci.OpCancel, SID: sid[1]})
	h.run(4 * token)
	fired("not yet", 0)
	h.run(2 * token)
	fired("record 104", 1)
	// In place of one that is being looked at.
	once(iovaR+offHost, func() { h.armFor(0, 110, 0) })
	h.armFor(0, 1000, 10)
	h.run(token / 2)
	if b.come != nil {
		t.Fatal("HEAD was not read")
	}
	fired("replaced", 1)
	h.run(6 * token)
	fired("record 110", 2)
	// The ring was full when the card looked last.
	h.submit(1, greedy(sid[1], 1, 300))
	for !h.c.slots[0].full || h.c.flight.s != h.c.slots[1] {
		h.step()
	}
	h.records(0, 1)
	h.armFor(0, 1000, 0)
	h.step()
	fired("no longer full", 2)
	// In two halves, on the page of a queue that is created meanwhile.
	next := h.c.slots[0].seq
	h.c.WriteBAR(hci.BARDoorbells, 3*hci.PageSize+hci.DoorbellARM, 4, uint64(next+5))
	h.put(0, createCQ(3, 32, 9))
	h.ring(0)
	h.run(1000)
	h.c.WriteBAR(hci.BARDoorbells, 3*hci.PageSize+hci.DoorbellARM+4, 4, 0)
	h.run(token)
	fired("high half", 2)
	h.run(12 * token)
	fired("record 5 further on", 3)
}

// A host that shuts down takes the completions that this makes, while bus
// mastering is off or its queue is full.
func TestShutdownWaits(t *testing.T) {
	h := up(t, Config{}, &hashEngine{vocab: 100, context: 4096}, false)
	sid := h.open(0)
	h.ok(0, deleteSQ(2))
	h.ok(0, deleteCQ(2))
	h.createQueue(2, 4)
	h.ok(1, h.prefill(sid, count(3)))
	for range 3 {
		h.submit(2, hci.SQE{OPC: hci.OpCancel, SID: sid})
	}
	h.settle()
	e := gen(sid, 1, 10)
	e.Put(hci.GenerateStepped, 1)
	h.submit(2, e)
	h.submit(2, h.prefill(sid, count(3)))
	h.settle()
	h.c.WriteConfig(cfgCommand, 2, commandMemory)
	h.set(hci.RegCC, h.reg(hci.RegCC)|1<<14)
	h.run(10 * shutdownNS)
	if s := h.reg(hci.RegCSTS); s != 1|1<<2 {
		t.Errorf("without the bus: CSTS %#x", s)
	}
	h.c.WriteConfig(cfgCommand, 2, commandMemory|commandMaster)
	h.run(10 * shutdownNS)
	if s := h.reg(hci.RegCSTS); s != 1|1<<2 {
		t.Errorf("with a full queue: CSTS %#x", s)
	}
	for range 3 {
		c, _ := h.poll(2)
		h.want(c, hci.StatusSuccess)
	}
	h.settle()
	if s := h.reg(hci.RegCSTS); s != 1|2<<2 {
		t.Errorf("at the end: CSTS %#x", s)
	}
	for range 2 {
		c, _ := h.poll(2)
		h.want(c, hci.StatusCancelled)
	}
}

// What ends a GENERATE looks at HEAD, and is stopped there: it ends all the
// same, with a record.
func TestEndIsStopped(t *testing.T) {
	h := up(t, Config{}, &hashEngine{vocab: 100, context: 4096}, false)
	b := insideHost(h, nil)
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(3)))
	cid := h.submit(1, greedy(sid, 1, 100))
	h.settle() // the ring is full
	h.sess[0].head += 10
	h.setHead(0)
	b.come = func(int) {
		if b.at == iovaR+offHost {
			h.c.WriteConfig(cfgCommand, 2, commandMemory)
		}
	}
	h.submit(2, hci.SQE{OPC: hci.OpCancel, SID: sid})
	h.settle()
	if _, ok := h.peek(1); ok {
		t.Error("ended without the bus")
	}
	b.come = nil
	h.c.WriteConfig(cfgCommand, 2, commandMemory|commandMaster)
	h.settle()
	if c := h.take(1, cid, hci.StatusCancelled); c.DW0 != 165 {
		t.Errorf("next sequence %d", c.DW0)
	}
	if b.bad != "" {
		t.Error(b.bad)
	}
}

// A controller that fails is not brought back by what the step was at, and
// what waited for the bus is not written any more.
func TestFatalInside(t *testing.T) {
	for _, shut := range []bool{false, true} {
		h := up(t, Config{}, &hashEngine{vocab: 100, context: 4096}, false)
		h.lax = true
		b := insideHost(h, nil)
		sid := h.open(0)
		h.ok(1, h.prefill(sid, count(3)))
		e := gen(sid, 1, 10)
		e.Put(hci.GenerateStepped, 1)
		cid := h.submit(1, e)
		h.settle()
		b.come = func(int) {
			if b.at < iovaW+offRing { // not the end record
				return
			}
			b.come = nil
			if h.poked = true; shut {
				h.bell(1, hci.DoorbellCQHDBL, 99)
			} else {
				h.c.WriteConfig(cfgCommand, 2, commandMemory)
			}
		}
		if shut {
			h.set(hci.RegCC, h.reg(hci.RegCC)|1<<14)
		} else {
			h.put(2, hci.SQE{OPC: hci.OpCancel, SID: sid})
			h.ring(2)
		}
		h.settle()
		if !shut {
			h.bell(1, hci.DoorbellSQTDBL, 99)
		}
		h.c.WriteConfig(cfgCommand, 2, commandMemory|commandMaster)
		h.settle()
		if c, ok := h.peek(1); ok {
			t.Errorf("%#x completes in FATAL: %+v", cid, c)
		}
		if s := h.reg(hci.RegCSTS); s != 3 || h.reg(hci.RegFERR) != hci.FatalDoorbell {
			t.Errorf("CSTS %#x, FERR %d", s, h.reg(hci.RegFERR))
		}
	}
}
