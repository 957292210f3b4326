package card

import (
	"encoding/binary"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// capabilityPage fills c.caps with the page of section 10.
func (c *Card) capabilityPage() {
	p := hci.Capabilities{
		VID: hci.PCIVendor, SSVID: hci.PCISubVendor,
		VER: c.version(),
		ACL: abortLimit - 1, AERL: aerLimit - 1, ELPE: errorEntries - 1,
		ModelID:    c.info.ModelID,
		NumericsID: c.info.NumericsID,
		Vocab:      uint32(c.info.Vocab),
		Context:    uint32(c.cfg.Context),
		KVBudget:   uint32(c.cfg.KVBudget),
		Sessions:   uint16(c.cfg.Sessions),
		Candidates: candidates, MaxStop: hci.MaxStopIDs,
		Block: 1, Features: cardFeatures &^ c.cfg.Without,
		MaxBias: maxBias, MaskSlots: maxMaskSlots, RingMin: ringMin, RingMax: ringMax,
		BOS: c.info.BOS, NStop: uint8(len(c.info.Stops)),
		TokenNS: c.cfg.TokenNS, PrefillNS: c.cfg.TokenNS,
		Chunk: chunk, Depth: depth,
		PowerMinMW: powerMinMW, PowerMaxMW: powerMaxMW, TempWarn: tempWarn, TempCrit: tempCrit,
	}
	copy(p.SN[:], fmt.Sprintf("HC1-%016X", c.cfg.Serial))
	copy(p.MN[:], modelNumber)
	copy(p.FR[:], firmwareRev)
	copy(p.Stop[:], c.info.Stops)
	copy(p.Silicon[:], c.info.Kind)
	copy(p.ModelName[:], c.info.Name)
	if c.cfg.Minor > 0 { // what a later minor may add
		p.Features |= 1<<20 | 1<<31
	}
	b := hci.Marshal(&p)
	copy(c.caps[:], b)
	if c.cfg.Minor > 0 {
		copy(c.caps[2048:], "a field of a later minor version")
	}
	binary.LittleEndian.PutUint32(c.caps[hci.CapsOffCRC:], hci.CRC32C(c.caps[:hci.CapsOffCRC]))
}
