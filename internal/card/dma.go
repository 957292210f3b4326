package card

import (
	"errors"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/iommu"
)

// Fault is an access that the IOMMU refused.
type Fault = iommu.Fault

// errInjected is a refusal of the fault plan's making, not the host's.
var errInjected = errors.New("card: injected fault")

// The card's accesses to memory. They return false where the IOMMU refuses;
// c.fault then says which.

func (c *Card) dmaRead(iova uint64, b []byte) bool {
	c.counters.DMAReads++
	c.counters.DMAReadBytes += uint64(len(b))
	err := c.dmaFault()
	if err == nil {
		err = c.bus.Read(iova, b)
	}
	if err != nil {
		return c.refused(iova, false, err)
	}
	if c.faults.any && c.faultAt(onDMARead).is("flip-dma") && len(b) > 0 {
		b[len(b)/2] ^= 0x10
	}
	c.traceDMA(kindDMARead, iova, b)
	return true
}

func (c *Card) dmaWrite(iova uint64, b []byte) bool {
	c.counters.DMAWrites++
	c.counters.DMAWrittenBytes += uint64(len(b))
	err := c.dmaFault()
	if err == nil {
		err = c.bus.Write(iova, b)
	}
	if err != nil {
		return c.refused(iova, true, err)
	}
	c.traceDMA(kindDMAWrite, iova, b)
	return true
}

func (c *Card) load32(iova uint64) (uint32, bool) {
	c.counters.DMAReads++
	c.counters.DMAReadBytes += 4
	err := c.dmaFault()
	var v uint32
	if err == nil {
		v, err = c.bus.Load32(iova)
	}
	if err != nil {
		return 0, c.refused(iova, false, err)
	}
	c.traceWord(kindDMARead, iova, 4, uint64(v))
	return v, true
}

func (c *Card) load64(iova uint64) (uint64, bool) {
	c.counters.DMAReads++
	c.counters.DMAReadBytes += 8
	err := c.dmaFault()
	var v uint64
	if err == nil {
		v, err = c.bus.Load64(iova)
	}
	if err != nil {
		return 0, c.refused(iova, false, err)
	}
	c.traceSecret(kindDMARead, iova, v)
	return v, true
}

func (c *Card) store32(iova uint64, v uint32) bool {
	c.counters.DMAWrites++
	c.counters.DMAWrittenBytes += 4
	err := c.dmaFault()
	if err == nil {
		err = c.bus.Store32(iova, v)
	}
	if err != nil {
		return c.refused(iova, true, err)
	}
	c.traceWord(kindDMAWrite, iova, 4, uint64(v))
	return true
}

func (c *Card) store64(iova uint64, v uint64) bool {
	c.counters.DMAWrites++
	c.counters.DMAWrittenBytes += 8
	err := c.dmaFault()
	if err == nil {
		err = c.bus.Store64(iova, v)
	}
	if err != nil {
		return c.refused(iova, true, err)
	}
	c.traceWord(kindDMAWrite, iova, 8, v)
	return true
}

func (c *Card) dmaFault() error {
	if c.faults.any && c.faultAt(onDMA).is("dma-fault") {
		return errInjected
	}
	return nil
}

// refused records an access that did not happen.
func (c *Card) refused(iova uint64, write bool, err error) bool {
	if c.Resetting() { // its accesses are given up with it
		return false
	}
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

// transferError is the result of a command one of whose accesses failed.
func (c *Card) transferError() result {
	return result{hci.StatusDataTransferError, uint32(c.fault.IOVA), uint32(c.fault.IOVA >> 32)}
}
