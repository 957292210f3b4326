package card

import (
	"encoding/binary"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// maskSlot is the address of the mask for the position in hand.
func (s *session) maskSlot() uint64 {
	return s.gen.params.MaskIOVA + uint64(uint32(s.kvLen)%s.gen.params.MaskSlots)*hci.MaskStride
}

// maskValid reports whether that mask is there.
func (c *Card) maskValid(s *session) bool {
	v, ok := c.load64(s.maskSlot() + hci.MaskOffValid)
	if !ok {
		if !c.putOff {
			c.endGenerate(s, hci.StopError, c.transferError())
		}
		return false
	}
	return v == uint64(uint32(s.kvLen))|uint64(s.epoch)<<32|1<<48
}

// maskThere is maskValid for a session that waits for its mask.
func (c *Card) maskThere(s *session) bool { return c.maskValid(s) && s.running }

// readMask copies the mask, once. nil allows every token.
func (c *Card) readMask(s *session) ([]byte, result) {
	at := s.maskSlot()
	if !c.dmaRead(at+hci.MaskOffCRC, c.maskHdr[:]) {
		return nil, c.transferError()
	}
	if binary.LittleEndian.Uint32(c.maskHdr[4:])&1 != 0 {
		return nil, result{}
	}
	if !c.dmaRead(at, c.mask) {
		return nil, c.transferError()
	}
	if sum := hci.CRC32C(c.mask); sum != binary.LittleEndian.Uint32(c.maskHdr[:]) {
		return nil, result{hci.StatusCRCError, sum, 0}
	}
	return c.mask, result{}
}
