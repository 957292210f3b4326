package card

import (
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// state is a controller state of section 6.
type state uint8

const (
	stateDisabled state = iota
	stateStarting
	stateReady
	stateShuttingDown
	stateShutDown
	stateFatal
)

// registers is BAR0, and what its writes asked for that a step has yet to do.
type registers struct {
	cc, csts, aqa uint32
	asq, acq      uint64
	bsts, ferr    uint32
	rgen          uint32

	state     state
	starting  bool  // CC.EN went to 1
	disabling bool  // CC.EN went to 0
	until     int64 // when the transition under way ends; 0 = not begun
}

// ReadBAR is a register read of 4 or 8 bytes.
func (c *Card) ReadBAR(bar, off, width int) uint64 {
	c.counters.MMIOReads++
	v, ok := c.reach(bar, off, width, false)
	if ok {
		switch bar {
		case hci.BARRegs:
			v = c.readReg(off, width)
		case hci.BARDoorbells:
			v = 0
		case hci.BARMSIX:
			v = c.readMSIX(off, width)
		}
	}
	c.traceReg(kindMMIORead, bar, off, width, v)
	return v
}

// WriteBAR is a register write of 4 or 8 bytes.
func (c *Card) WriteBAR(bar, off, width int, v uint64) {
	c.counters.MMIOWrites++
	if width == 4 {
		v &= 0xFFFF_FFFF
	}
	c.traceReg(kindMMIOWrite, bar, off, width, v)
	if _, ok := c.reach(bar, off, width, true); !ok {
		return
	}
	switch bar {
	case hci.BARRegs:
		c.writeReg(off, width, v)
	case hci.BARDoorbells:
		c.writeDoorbell(off, width, v)
	case hci.BARMSIX:
		c.writeMSIX(off, width, v)
	}
}

// BARSize is the size of a BAR, 0 where there is none.
func BARSize(bar int) int {
	switch bar {
	case hci.BARRegs:
		return hci.BARRegsSize
	case hci.BARDoorbells:
		return hci.BARDoorbellsSize
	case hci.BARMSIX:
		return hci.BARMSIXSize
	}
	return 0
}

// reach checks that an access gets to the function at all. Where it does
// not, a read gives v.
func (c *Card) reach(bar, off, width int, write bool) (v uint64, ok bool) {
	ones := ^uint64(0) >> (64 - 8*width)
	c.faultAt(onMMIO)
	if c.reset.lost {
		return ones, false
	}
	why := ""
	switch {
	case c.Resetting():
		why = "during a reset"
	case c.cfgSpace.d3():
		why = "in D3hot"
	case !c.cfgSpace.memory():
		why = "with memory space disabled"
	}
	if why != "" {
		c.violate(Unreachable, where(bar, off), accessName(write)+" "+why)
		return ones, false
	}
	if width != 4 && width != 8 || off < 0 || off%width != 0 || off+width > BARSize(bar) {
		c.violate(Width, where(bar, off), fmt.Sprintf("%s of %d bytes", accessName(write), width))
		return 0, false
	}
	return 0, true
}

func where(bar, off int) string { return fmt.Sprintf("BAR%d %#x", bar, off) }

func accessName(write bool) string {
	if write {
		return "write"
	}
	return "read"
}

func (c *Card) capRegister() uint64 {
	v := hci.CAPMQES.Put(0, maxQueue-1)
	v = hci.CAPCQR.Put(v, 1)
	v = hci.CAPTO.Put(v, readyTimeout)
	return hci.CAPNQP.Put(v, numQueues)
}

func (c *Card) version() uint32 { return hci.Version | uint32(c.cfg.Minor)<<8 }

func (c *Card) readReg(off, width int) uint64 {
	if width == 8 {
		switch off {
		case hci.RegCAP, hci.RegASQ, hci.RegACQ:
			return uint64(c.reg32(off)) | uint64(c.reg32(off+4))<<32
		}
		c.violate(Width, where(hci.BARRegs, off), "64-bit read of a 32-bit register")
		return 0
	}
	return uint64(c.reg32(off))
}

func (c *Card) reg32(off int) uint32 {
	r := &c.regs
	switch off {
	case hci.RegCAP:
		return uint32(c.capRegister())
	case hci.RegCAP + 4:
		return uint32(c.capRegister() >> 32)
	case hci.RegVS:
		return c.version()
	case hci.RegCC:
		return r.cc
	case hci.RegCSTS:
		return r.csts
	case hci.RegAQA:
		return r.aqa
	case hci.RegASQ:
		return uint32(r.asq)
	case hci.RegASQ + 4:
		return uint32(r.asq >> 32)
	case hci.RegACQ:
		return uint32(r.acq)
	case hci.RegACQ + 4:
		return uint32(r.acq >> 32)
	case hci.RegBSTS:
		return r.bsts
	case hci.RegFERR:
		return r.ferr
	case hci.RegRGEN:
		return r.rgen
	}
	return 0
}

func (c *Card) writeReg(off, width int, v uint64) {
	if width == 8 {
		switch off {
		case hci.RegASQ, hci.RegACQ:
			c.writeReg32(off, uint32(v))
			c.writeReg32(off+4, uint32(v>>32))
		default:
			c.violate(Width, where(hci.BARRegs, off), "64-bit write of a 32-bit register")
		}
		return
	}
	c.writeReg32(off, uint32(v))
}

func (c *Card) writeReg32(off int, v uint32) {
	r := &c.regs
	set := func(reg *uint64, lo, hi uint) {
		*reg = hci.Bits{Lo: uint8(lo), Hi: uint8(hi)}.Put(*reg, uint64(v))
	}
	if off != hci.RegCC && r.cc&1 != 0 {
		switch off {
		case hci.RegAQA, hci.RegASQ, hci.RegASQ + 4, hci.RegACQ, hci.RegACQ + 4:
			c.violate(Sequence, where(hci.BARRegs, off), "admin queue register written while CC.EN = 1")
			return
		}
	}
	switch off {
	case hci.RegCC:
		c.writeCC(v)
	case hci.RegAQA:
		const mask = 0x0FFF_0FFF
		if v&^mask != 0 {
			c.violate(Reserved, "AQA", fmt.Sprintf("reserved bits: %#x", v))
		}
		r.aqa = v & mask
	case hci.RegASQ:
		set(&r.asq, 0, 31)
	case hci.RegASQ + 4:
		set(&r.asq, 32, 63)
	case hci.RegACQ:
		set(&r.acq, 0, 31)
	case hci.RegACQ + 4:
		set(&r.acq, 32, 63)
	default:
		c.violate(ReadOnly, where(hci.BARRegs, off), fmt.Sprintf("write of %#x", v))
	}
}

func (c *Card) writeCC(v uint32) {
	const mask = 1 | 0xF<<7 | 3<<14 | 0xF<<16 | 0xF<<20
	r := &c.regs
	if v&^mask != 0 {
		c.violate(Reserved, "CC", fmt.Sprintf("reserved bits: %#x", v))
		v &= mask
	}
	old := r.cc
	r.cc = v
	switch {
	case old&1 == 0 && v&1 != 0:
		if r.disabling || r.csts&1 != 0 {
			c.violate(Sequence, "CC", "EN set before CSTS.RDY = 0")
		}
		r.starting, r.until = true, 0
		r.state = stateStarting
	case old&1 != 0 && v&1 == 0:
		r.disabling, r.starting = true, false
	case v&1 != 0 && hci.CCSHN.Get(uint64(v)) != 0 && hci.CCSHN.Get(uint64(old)) == 0:
		if r.state == stateReady {
			r.state, r.until = stateShuttingDown, 0
			r.csts = uint32(hci.CSTSSHST.Put(uint64(r.csts), 1))
		}
	}
}
