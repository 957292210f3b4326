package card

import (
	"encoding/binary"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Places in configuration space. A host finds them by walking the lists.
const (
	cfgSize    = 4096
	cfgCommand = 0x04
	cfgStatus  = 0x06
	cfgBAR0    = 0x10
	cfgPM      = 0x40
	cfgMSIX    = 0x50
	cfgPCIe    = 0x60
	cfgAER     = 0x100
	cfgDSN     = 0x150

	cfgPMCSR   = cfgPM + 4
	cfgMSIXCtl = cfgMSIX + 2
	cfgDevCtl  = cfgPCIe + 8
	cfgDevSta  = cfgPCIe + 10
	cfgLnkSta  = cfgPCIe + 18
	cfgAERUnc  = cfgAER + 4
	cfgAERCor  = cfgAER + 16

	commandMemory  = 1 << 1
	commandMaster  = 1 << 2
	devCtlFLR      = 1 << 15
	devStaFatal    = 1 << 2
	devStaNonfatal = 1 << 1
	devStaPending  = 1 << 5
	msixEnable     = 1 << 15
	msixFuncMask   = 1 << 14
)

// Bits of AER's uncorrectable status that the card sets.
const (
	aerCompleterAbort     = 1 << 15
	aerUnsupportedRequest = 1 << 20
	aerInternal           = 1 << 22
)

// configSpace is the function's configuration space: bytes, which of their
// bits a host may write, and which it clears by writing a one.
type configSpace struct {
	b, rw, w1c [cfgSize]byte
	serial     uint64
}

func (s *configSpace) init(serial uint64) {
	*s = configSpace{serial: serial}
	le := binary.LittleEndian
	b := s.b[:]
	le.PutUint16(b[0x00:], hci.PCIVendor)
	le.PutUint16(b[0x02:], hci.PCIDevice)
	le.PutUint16(s.rw[cfgCommand:], 0x0546) // memory, master, parity, SERR, INTx disable
	le.PutUint16(b[cfgStatus:], 0x0010)     // capability list
	le.PutUint16(s.w1c[cfgStatus:], 0xF900)
	le.PutUint32(b[0x08:], hci.PCIClass<<8|hci.PCIRevision)
	s.rw[0x0C] = 0xFF // cache line size
	for _, bar := range [...]struct{ n, size int }{
		{hci.BARRegs, hci.BARRegsSize}, {hci.BARDoorbells, hci.BARDoorbellsSize}, {hci.BARMSIX, hci.BARMSIXSize},
	} {
		off := cfgBAR0 + 4*bar.n
		b[off] = 0x04 // 64-bit memory, not prefetchable
		le.PutUint64(s.rw[off:], ^uint64(bar.size-1))
	}
	le.PutUint16(b[0x2C:], hci.PCISubVendor)
	le.PutUint16(b[0x2E:], hci.PCISubDevice)
	b[0x34] = cfgPM
	s.rw[0x3C] = 0xFF // interrupt line

	b[cfgPM], b[cfgPM+1] = 0x01, cfgMSIX
	le.PutUint16(b[cfgPM+2:], 0x0003)  // version 3, D1/D2 and PME not supported
	le.PutUint16(b[cfgPMCSR:], 0x0008) // NoSoftRst
	s.rw[cfgPMCSR] = 0x03

	b[cfgMSIX], b[cfgMSIX+1] = 0x11, cfgPCIe
	le.PutUint16(b[cfgMSIXCtl:], NumVectors-1)
	le.PutUint16(s.rw[cfgMSIXCtl:], msixEnable|msixFuncMask)
	le.PutUint32(b[cfgMSIX+4:], 0x0000|hci.BARMSIX)
	le.PutUint32(b[cfgMSIX+8:], msixPBA|hci.BARMSIX)

	b[cfgPCIe], b[cfgPCIe+1] = 0x10, 0
	le.PutUint16(b[cfgPCIe+2:], 0x0002)                // version 2, endpoint
	le.PutUint32(b[cfgPCIe+4:], 0x1000_0000|1<<15|0x1) // FLR, role-based errors, 256-byte payload
	le.PutUint16(b[cfgDevCtl:], 0x2810)                // power-on values
	le.PutUint16(s.rw[cfgDevCtl:], 0x7FFF)
	le.PutUint16(s.w1c[cfgDevSta:], 0x000F)
	le.PutUint32(b[cfgPCIe+12:], 4|16<<4|1<<22) // 16 GT/s x16
	le.PutUint16(s.rw[cfgPCIe+16:], 0x01C3)     // link control
	le.PutUint16(b[cfgLnkSta:], 4|16<<4|1<<12)
	le.PutUint32(b[cfgPCIe+36:], 0x0000_001F) // completion timeout ranges
	le.PutUint16(s.rw[cfgPCIe+40:], 0x001F)
	le.PutUint32(b[cfgPCIe+44:], 0x0000_001E) // speeds 2.5..16
	le.PutUint16(b[cfgPCIe+48:], 4)

	le.PutUint32(b[cfgAER:], 0x0001|2<<16|cfgDSN<<20)
	le.PutUint32(s.w1c[cfgAERUnc:], 0x0FFF_F030)
	le.PutUint32(s.rw[cfgAER+8:], 0x0FFF_F030)  // mask
	le.PutUint32(b[cfgAER+12:], 0x0046_2030)    // severity
	le.PutUint32(s.rw[cfgAER+12:], 0x0FFF_F030) //
	le.PutUint32(s.w1c[cfgAERCor:], 0xF1C1)     // corrected
	le.PutUint32(b[cfgAER+20:], 0x0000_2000)
	le.PutUint32(s.rw[cfgAER+20:], 0xF1C1)

	le.PutUint32(b[cfgDSN:], 0x0003|1<<16)
	le.PutUint64(b[cfgDSN+4:], serial)
}

// toDefault is what a function level reset leaves. Error records of AER are
// sticky and stay.
func (s *configSpace) toDefault() {
	var aer [0x48]byte
	copy(aer[:], s.b[cfgAER:])
	lnk := binary.LittleEndian.Uint16(s.b[cfgLnkSta:])
	s.init(s.serial)
	copy(s.b[cfgAER:], aer[:])
	binary.LittleEndian.PutUint16(s.b[cfgLnkSta:], lnk)
}

func (s *configSpace) u16(off int) uint16      { return binary.LittleEndian.Uint16(s.b[off:]) }
func (s *configSpace) set16(off int, v uint16) { binary.LittleEndian.PutUint16(s.b[off:], v) }
func (s *configSpace) memory() bool            { return s.u16(cfgCommand)&commandMemory != 0 }
func (s *configSpace) busMaster() bool         { return s.u16(cfgCommand)&commandMaster != 0 }
func (s *configSpace) d3() bool                { return s.b[cfgPMCSR]&3 == 3 }

// aer sets bits of the uncorrectable error status and reports whether the
// host has left them unmasked.
func (s *configSpace) aer(bits uint32) bool {
	le := binary.LittleEndian
	le.PutUint32(s.b[cfgAERUnc:], le.Uint32(s.b[cfgAERUnc:])|bits)
	if le.Uint32(s.b[cfgAER+12:])&bits != 0 {
		s.b[cfgDevSta] |= devStaFatal
	} else {
		s.b[cfgDevSta] |= devStaNonfatal
	}
	return le.Uint32(s.b[cfgAER+8:])&bits == 0
}

// ReadConfig reads 1, 2 or 4 aligned bytes of configuration space.
func (c *Card) ReadConfig(off, width int) uint32 {
	ones := uint32(1)<<(8*width) - 1
	if !c.configOK(off, width) {
		return ones
	}
	c.faultAt(onConfig)
	if c.reset.lost {
		return ones
	}
	b := c.cfgSpace.b[:]
	// A reset comes when the step has ended, and until then the card is at work.
	if c.access || c.reset.pending != noReset && c.stepping {
		b[cfgDevSta] |= devStaPending
	} else {
		b[cfgDevSta] &^= devStaPending
	}
	v := uint32(0)
	for i := width - 1; i >= 0; i-- {
		v = v<<8 | uint32(b[off+i])
	}
	c.traceReg(kindConfigRead, 0, off, width, uint64(v))
	return v
}

// WriteConfig writes 1, 2 or 4 aligned bytes of configuration space.
func (c *Card) WriteConfig(off, width int, v uint32) {
	if !c.configOK(off, width) || c.reset.lost {
		return
	}
	c.faultAt(onConfig)
	c.traceReg(kindConfigWrite, 0, off, width, uint64(v))
	s := &c.cfgSpace
	flr := false
	for i := range width {
		x := byte(v >> (8 * i))
		o := off + i
		s.b[o] = s.b[o]&^s.rw[o] | x&s.rw[o]
		s.b[o] &^= x & s.w1c[o]
		if o == cfgDevCtl+1 && x&(devCtlFLR>>8) != 0 {
			flr = true
		}
	}
	if flr {
		c.Reset(FLR)
	}
	if off <= cfgMSIXCtl+1 && off+width > cfgMSIXCtl {
		c.msix.changed = true
	}
}

func (c *Card) configOK(off, width int) bool {
	if width != 1 && width != 2 && width != 4 || off < 0 || off+width > cfgSize || off%width != 0 {
		c.violate(Width, fmt.Sprintf("config %#x", off), fmt.Sprintf("access of %d bytes", width))
		return false
	}
	return true
}
