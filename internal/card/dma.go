package card

import (
	"errors"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/iommu"
)

// Fault is an access that the IOMMU refused.
type Fault = iommu.Fault

var (
	// errInjected is a refusal of the fault plan's making, not the host's.
	errInjected = errors.New("card: injected fault")
	// errStopped is an access that may not begin.
	errStopped = errors.New("card: the bus is not to be used")
)

// The card's accesses to memory. They return false where the IOMMU refuses;
// c.fault then says which.
//
// The host may come in at any of them, and may then take the bus from the
// card or reset it. No access begins after that (section 2). A read is put
// off: it returns false with c.putOff set, and what it was for is tried again
// in a later step. A write waits in c.posted, so that writes stay in order;
// a reset drops it.

// stopped reports whether no access may begin now.
func (c *Card) stopped() bool {
	return !c.mayMaster() || c.reset.pending != noReset || c.regs.disabling || c.reset.lost
}

// posted is a write that waits for the bus: of b, or of a word.
type posted struct {
	iova  uint64
	width int // of the word
	v     uint64
	b     []byte
}

// mayBegin makes the writes that wait, and reports whether an access may
// begin behind them.
func (c *Card) mayBegin() bool {
	for len(c.posted) > 0 && !c.stopped() {
		w := c.posted[0]
		c.posted = c.posted[1:]
		c.write(&w)
	}
	return !c.stopped()
}

// beginRead and endRead are around every read.
func (c *Card) beginRead(n int) error {
	if !c.mayBegin() {
		return errStopped
	}
	c.counters.DMAReads++
	c.counters.DMAReadBytes += uint64(n)
	c.access = true
	if c.faults.any && c.faultAt(onDMA).is("dma-fault") {
		return errInjected
	}
	return nil
}

func (c *Card) endRead(iova uint64, err error) bool {
	c.access = false
	// What was read while the bus went away may be old when it comes back.
	if c.putOff = c.stopped(); c.putOff {
		return false
	}
	return err == nil || c.refused(iova, false, err)
}

func (c *Card) dmaRead(iova uint64, b []byte) bool {
	err := c.beginRead(len(b))
	if err == nil {
		err = c.bus.Read(iova, b)
	}
	if !c.endRead(iova, err) {
		return false
	}
	if c.faults.any && c.faultAt(onDMARead).is("flip-dma") && len(b) > 0 {
		b[len(b)/2] ^= 0x10
	}
	c.traceDMA(kindDMARead, iova, b)
	return true
}

func (c *Card) load32(iova uint64) (v uint32, ok bool) {
	err := c.beginRead(4)
	if err == nil {
		v, err = c.bus.Load32(iova)
	}
	if !c.endRead(iova, err) {
		return 0, false
	}
	c.traceWord(kindDMARead, iova, 4, uint64(v))
	return v, true
}

func (c *Card) load64(iova uint64) (v uint64, ok bool) {
	err := c.beginRead(8)
	if err == nil {
		v, err = c.bus.Load64(iova)
	}
	if !c.endRead(iova, err) {
		return 0, false
	}
	c.traceSecret(kindDMARead, iova, v)
	return v, true
}

func (c *Card) dmaWrite(iova uint64, b []byte) bool { return c.put(posted{iova: iova, b: b}) }
func (c *Card) store32(iova uint64, v uint32) bool  { return c.put(posted{iova, 4, uint64(v), nil}) }
func (c *Card) store64(iova uint64, v uint64) bool  { return c.put(posted{iova, 8, v, nil}) }

func (c *Card) put(w posted) bool {
	if !c.mayBegin() {
		w.b = append([]byte(nil), w.b...)
		c.posted = append(c.posted, w)
		return true
	}
	return c.write(&w)
}

func (c *Card) write(w *posted) bool {
	n := w.width + len(w.b)
	c.counters.DMAWrites++
	c.counters.DMAWrittenBytes += uint64(n)
	c.putOff, c.access = false, true
	var err error
	switch {
	case c.faults.any && c.faultAt(onDMA).is("dma-fault"):
		err = errInjected
	case w.width == 4:
		err = c.bus.Store32(w.iova, uint32(w.v))
	case w.width == 8:
		err = c.bus.Store64(w.iova, w.v)
	default:
		err = c.bus.Write(w.iova, w.b)
	}
	c.access = false
	switch {
	case err == nil:
	case c.stopped(): // by a host that may have taken its memory too: again
		w.b = append([]byte(nil), w.b...)
		c.posted = append([]posted{*w}, c.posted...)
		return true
	default:
		return c.refused(w.iova, true, err)
	}
	if w.width == 0 {
		c.traceDMA(kindDMAWrite, w.iova, w.b)
	} else {
		c.traceWord(kindDMAWrite, w.iova, w.width, w.v)
	}
	return true
}

// refused records an access that did not happen.
func (c *Card) refused(iova uint64, write bool, err error) bool {
	c.counters.DMAFaults++
	c.fault = Fault{IOVA: iova, Write: write}
	var f *Fault
	if errors.As(err, &f) {
		c.fault = *f
		c.violate(Category(f.Why), fmt.Sprintf("iova %#x", f.IOVA), accessName(write)+" by the card refused")
	}
	c.note(fmt.Sprintf("dma fault %#x", c.fault.IOVA))
	arg := uint64(0)
	if write {
		arg = 1
	}
	c.cfgSpace.aer(aerUnsupportedRequest)
	c.event(hci.EventDMAFault, c.fault.IOVA, arg)
	return false
}

// statusPutOff is no status of a command: it has not ended, for want of a
// read that was put off.
const statusPutOff hci.Status = 0xFFFF

// transferError is the result of a command one of whose accesses failed.
func (c *Card) transferError() result {
	if c.putOff {
		return refuse(statusPutOff)
	}
	return result{hci.StatusDataTransferError, uint32(c.fault.IOVA), uint32(c.fault.IOVA >> 32)}
}
