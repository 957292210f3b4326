package card

import (
	"encoding/binary"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

const (
	msixPBA   = 0x1000
	msixEntry = 16
	msixCtl   = 12 // vector control within an entry; bit 0 masks
)

// msix is the table and pending bits of BAR4.
type msix struct {
	table   [NumVectors * msixEntry]byte
	pending uint64 // masked and fired
	raised  uint64 // to be sent at the end of the step
	changed bool   // masks may have been lifted
}

func (m *msix) toDefault() {
	*m = msix{}
	for v := range NumVectors {
		m.table[v*msixEntry+msixCtl] = 1
	}
}

// raise asks for an interrupt; it is sent after the step's memory writes.
func (m *msix) raise(v uint16) { m.raised |= 1 << v }

// flush sends what was masked and is no longer.
func (m *msix) flush(c *Card) {
	if !m.changed {
		return
	}
	m.changed = false
	m.raised |= m.pending
	m.pending = 0
	c.postInterrupts()
}

// postInterrupts sends the interrupts raised in this step.
func (c *Card) postInterrupts() {
	m := &c.msix
	if m.raised == 0 || c.stopped() || len(c.posted) > 0 { // behind what they announce
		return
	}
	ctl := c.cfgSpace.u16(cfgMSIXCtl)
	for v := 0; v < NumVectors; v++ {
		if m.raised&(1<<v) == 0 {
			continue
		}
		m.raised &^= 1 << v
		switch {
		case ctl&msixEnable == 0: // no way to send one
		case ctl&msixFuncMask != 0 || m.table[v*msixEntry+msixCtl]&1 != 0:
			m.pending |= 1 << v
		default:
			c.send(v)
		}
	}
}

// send makes one interrupt, unless the fault plan has other ideas.
func (c *Card) send(v int) {
	switch f := c.faultAt(onIRQ); {
	case f.is("lost-irq"):
		return
	case f.is("wrong-vector"):
		v = (v + 1) % NumVectors
	case f.is("double-irq"):
		c.interrupt(v)
	}
	c.interrupt(v)
}

func (c *Card) interrupt(v int) {
	c.counters.Interrupts++
	c.traceIRQ(v)
	c.bus.Interrupt(v)
}

func (c *Card) readMSIX(off, width int) uint64 {
	m := &c.msix
	switch {
	case off+width <= len(m.table):
		return getLE(m.table[off:], width)
	case off >= msixPBA && off+width <= msixPBA+8:
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], m.pending)
		return getLE(b[off-msixPBA:], width)
	}
	return 0
}

func (c *Card) writeMSIX(off, width int, v uint64) {
	m := &c.msix
	if off+width > len(m.table) {
		c.violate(ReadOnly, fmt.Sprintf("BAR%d %#x", hci.BARMSIX, off), "write outside the MSI-X table")
		return
	}
	putLE(m.table[off:], width, v)
	m.changed = true
}

func getLE(b []byte, width int) uint64 {
	if width == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return uint64(binary.LittleEndian.Uint32(b))
}

func putLE(b []byte, width int, v uint64) {
	if width == 8 {
		binary.LittleEndian.PutUint64(b, v)
	} else {
		binary.LittleEndian.PutUint32(b, uint32(v))
	}
}
