package haltest

import (
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// admin is the least of a host that makes a card do DMA: the admin queue,
// one command at a time (docs/hci.md sections 6 and 7).
type admin struct {
	t      *testing.T
	regs   hal.Region
	db     hal.Region
	vector hal.Vector
	sq, cq *hal.DMA
	n      uint32 // commands given
}

const (
	adminEntries   = 8
	patience       = 10 * time.Second // emulated cards share the machine
	healthInterval = 10 * time.Millisecond
)

// enable turns memory decoding and bus mastering on.
func enable(t *testing.T, fn hal.Function) hal.Region {
	t.Helper()
	if err := fn.WriteConfig(cfgCommand, 2, commandMemory|commandMaster); err != nil {
		t.Fatal(err)
	}
	r, err := fn.Region(hci.BARRegs)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func alloc(t *testing.T, fn hal.Function, size int, dir hal.Direction) *hal.DMA {
	t.Helper()
	d, err := fn.AllocDMA(size, dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// bringUp is section 6 with one vector and queues of their own.
func bringUp(t *testing.T, fn hal.Function) *admin {
	t.Helper()
	a := &admin{t: t, regs: enable(t, fn)}
	var err error
	if a.db, err = fn.Region(hci.BARDoorbells); err != nil {
		t.Fatal(err)
	}
	vs, err := fn.Vectors(1)
	if err != nil {
		t.Fatal(err)
	}
	a.vector = vs[0]
	a.sq = alloc(t, fn, adminEntries*hci.SQESize, hal.CardReads)
	a.cq = alloc(t, fn, adminEntries*hci.CQESize, hal.CardWrites)
	a.until("boot", func() bool { return hci.BSTSStage.Get(uint64(a.regs.Load32(hci.RegBSTS))) == 0xFF })
	a.regs.Store32(hci.RegCC, 0)
	a.until("disable", func() bool { return a.regs.Load32(hci.RegCSTS)&1 == 0 })
	a.regs.Store32(hci.RegAQA, (adminEntries-1)<<16|(adminEntries-1))
	a.regs.Store64(hci.RegASQ, a.sq.IOVA)
	a.regs.Store64(hci.RegACQ, a.cq.IOVA)
	a.regs.Store32(hci.RegCC, uint32(hci.CCEN.Put(hci.CCIOCQES.Put(hci.CCIOSQES.Put(0, 6), 4), 1)))
	a.until("enable", func() bool {
		csts := a.regs.Load32(hci.RegCSTS)
		if csts&2 != 0 {
			t.Fatalf("fatal error %d", a.regs.Load32(hci.RegFERR))
		}
		return csts&1 == 1
	})
	return a
}

func (a *admin) until(what string, f func() bool) {
	a.t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			a.t.Fatalf("%s: nothing in %v", what, patience)
		}
	}
}

// command gives one admin command and returns its status without DNR.
func (a *admin) command(e hci.SQE) hci.Status {
	a.t.Helper()
	e.CID = uint16(a.n)
	var raw [hci.SQESize]byte
	e.Encode(&raw)
	i := a.n % adminEntries
	copy(a.sq.Bytes[i*hci.SQESize:], raw[:])
	phase := uint64(1 ^ a.n/adminEntries&1)
	a.n++
	a.db.Store32(hci.DoorbellSQTDBL, a.n%adminEntries)
	var tail uint64
	a.until("completion", func() bool {
		tail = load64(a.cq.Bytes, int(i)*hci.CQESize+8)
		return tail>>48&1 == phase
	})
	if cid := uint16(tail >> 32); cid != e.CID {
		a.t.Errorf("completion of command %#x, expected %#x", cid, e.CID)
	}
	a.db.Store32(hci.DoorbellCQHDBL, a.n%adminEntries)
	return hci.Status(tail>>49) &^ hci.StatusDNR
}

// identify has the card write its capability page to an address.
func (a *admin) identify(iova uint64) hci.Status {
	a.t.Helper()
	e := hci.SQE{OPC: hci.AdminIdentify, PRP1: iova}
	e.Put(hci.IdentifyCNS, 1)
	return a.command(e)
}

// watch has the card write its health record, again and again.
func (a *admin) watch(d *hal.DMA) {
	a.t.Helper()
	e := hci.SQE{OPC: hci.AdminHealthRecordConfig, PRP1: d.IOVA}
	e.Put(hci.HealthRecordConfigInterval, uint64(healthInterval/time.Millisecond))
	if s := a.command(e); s != hci.StatusSuccess {
		a.t.Fatalf("HEALTH RECORD CONFIG: %v", s)
	}
	a.until("health record", func() bool { return load64(d.Bytes, hci.HealthOffRGEN)>>32 >= 2 })
}
