package hci

import (
	"encoding/binary"
	"fmt"
)

// The structures below are laid out so that Go's natural alignment is the
// wire layout; a test compares every offset with the document.

// Capabilities is the capability page (section 10), 4,096 bytes.
type Capabilities struct {
	VID, SSVID uint16
	SN         [20]byte
	MN         [40]byte
	FR         [8]byte
	_          [8]byte
	VER        uint32
	_          [174]byte
	ACL, AERL  uint8
	_          [2]byte
	ELPE       uint8
	_          [761]byte
	ModelID    [32]byte
	NumericsID uint32
	Vocab      uint32
	Context    uint32
	KVBudget   uint32
	Sessions   uint16
	Candidates uint8
	MaxStop    uint8
	Adapters   uint16
	Block      uint16
	Features   uint32
	MaxBias    uint32
	MaskSlots  uint16
	RingMin    uint8
	RingMax    uint8
	BOS        uint32
	NStop      uint8
	_          [3]byte
	Stop       [16]uint32
	TokenNS    uint32
	PrefillNS  uint32
	Chunk      uint16
	Depth      uint8
	_          uint8
	PowerMinMW uint32
	PowerMaxMW uint32
	TempWarn   int16
	TempCrit   int16
	_          [4]byte
	Silicon    [8]byte
	ModelName  [64]byte
	_          [2828]byte
	CRC        uint32
}

// Params is the parameter block of GENERATE (section 15), 256 bytes.
type Params struct {
	MinTokens      uint32
	NStop          uint8
	_              [3]byte
	Stop           [16]uint32
	BiasIOVA       uint64
	BiasCount      uint32
	MaskSlots      uint32
	MaskIOVA       uint64
	Presence       float32
	Frequency      float32
	Repetition     float32
	BiasCRC        uint32
	BlockSteps     uint32
	BlockThreshold float32
	BlockEdit      float32
	Reserved       [128]byte
	CRC            uint32
}

// Health is the health record (section 17.1), 64 bytes.
type Health struct {
	UptimeNS uint64
	Tokens   uint64
	EnergyMJ uint64
	PowerMW  uint32
	Temp     int16 // 0.1 °C
	ClockMHz uint16
	State    uint8
	Throttle uint8
	Open     uint16
	Runnable uint16
	_        uint16
	Errors   uint32
	Late     uint32
	KVUsed   uint32
	_        uint32
	RGEN     uint16
	CRC      uint16
	Sequence uint32
}

// Telemetry is log page 0xC0 (section 17.2), 256 bytes.
type Telemetry struct {
	UptimeNS       uint64
	EnergyMJ       uint64
	PowerMW        uint32
	PowerCoreMW    uint32
	PowerSramMW    uint32
	PowerIOMW      uint32
	PowerCapMW     uint32
	TempCore       int16 // 0.1 °C, as the others
	TempSram       int16
	TempBoard      int16
	ClockCoreMHz   uint16
	ClockSramMHz   uint16
	Throttle       uint8
	State          uint8
	EccCorrected   uint64
	EccUncorrected uint64
	Tokens         uint64
	Prefilled      uint64
	Late           uint64
	MaskLate       uint64
	RingStalls     uint64
	BusyNS         uint64
	Commands       uint64
	Interrupts     uint64
	DMARead        uint64
	DMAWritten     uint64
	DMAFaults      uint64
	_              [104]byte
}

// ErrorEntry is an entry of log page 0x01 (section 17.2).
type ErrorEntry struct {
	Count    uint64
	SQID     uint16
	CID      uint16
	Status   uint16
	Location uint16
	SID      uint32
	Code     uint32
	IOVA     uint64
	TimeNS   uint64
	_        [24]byte
}

// FirmwareLog is log page 0x03 (section 17.2).
type FirmwareLog struct {
	AFI       uint8
	Confirmed uint8
	Bootable  uint8
	Tries     uint8
	Security  uint32
	FR        [3][8]byte
	_         [480]byte
}

// SelfTestLog is log page 0x06 (section 17.2).
type SelfTestLog struct {
	Current uint8
	Percent uint8
	Code    uint8
	Result  uint8
	_       [4]byte
	TimeNS  uint64
	_       [48]byte
}

// SessionEntry is an entry of log page 0xC1 (section 17.2).
type SessionEntry struct {
	SID      uint32
	State    uint8
	Queued   uint8
	AID      uint16
	KVLen    uint32
	Charge   uint32
	Sequence uint32
	Epoch    uint16
	_        uint16
	Tokens   uint64
	_        [32]byte
}

// EventEntry is an entry of log page 0xC2 (section 17.2).
type EventEntry struct {
	TimeNS uint64
	Number uint32
	Code   uint16
	_      uint16
	Arg0   uint64
	Arg1   uint64
}

// Marshal returns the wire bytes of one of the structures above.
func Marshal(v any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil { // only a type that is not of fixed size
		panic(err)
	}
	return b
}

// Unmarshal fills one of the structures above (by pointer) from wire bytes.
func Unmarshal(b []byte, v any) error {
	if _, err := binary.Decode(b, binary.LittleEndian, v); err != nil {
		return fmt.Errorf("hci: %T needs %d bytes, have %d", v, binary.Size(v), len(b))
	}
	return nil
}

// Encode returns the wire bytes of h with its CRC-16 set (section 24).
func (h *Health) Encode() (b [HealthSize]byte) {
	copy(b[:], Marshal(h))
	binary.LittleEndian.PutUint16(b[HealthOffCRC:], crcRecord(&b))
	return b
}

// DecodeHealth checks the CRC-16 of a health record copied from memory.
func DecodeHealth(b *[HealthSize]byte) (h Health, err error) {
	if err := Unmarshal(b[:], &h); err != nil {
		return h, err
	}
	if s := crcRecord(b); s != h.CRC {
		return h, fmt.Errorf("hci: health record: crc %#04x, computed %#04x", h.CRC, s)
	}
	return h, nil
}

// crcRecord is CRC-16 over bytes 0..57 and 60..63 (section 24).
func crcRecord(b *[RecordSize]byte) uint16 {
	var r Record
	r.Decode(b)
	return r.Sum()
}

// DecodeCapabilities checks and reads a capability page: the CRC and what a
// host must be able to rely on. b is copied before it is looked at.
func DecodeCapabilities(b []byte) (Capabilities, error) {
	var c Capabilities
	if len(b) < CapsSize {
		return c, fmt.Errorf("hci: capability page of %d bytes", len(b))
	}
	page := append([]byte(nil), b[:CapsSize]...)
	if err := Unmarshal(page, &c); err != nil {
		return c, err
	}
	if s := CRC32C(page[:CapsOffCRC]); s != c.CRC {
		return c, fmt.Errorf("hci: capability page: crc %#08x, computed %#08x", c.CRC, s)
	}
	return c, c.Check()
}

// Check names the first field with a value the document does not allow.
func (c *Capabilities) Check() error {
	for _, f := range []struct {
		name      string
		v, lo, hi uint64
	}{
		{"VER major", uint64(c.VER >> 16), VersionMajor, VersionMajor},
		{"VOCAB", uint64(c.Vocab), 2, MaxVocab},
		{"CONTEXT", uint64(c.Context), 1, 1 << 24},
		{"KV_BUDGET", uint64(c.KVBudget), 1, 1 << 31},
		{"SESSIONS", uint64(c.Sessions), 1, 4096},
		{"CANDIDATES", uint64(c.Candidates), 1, MaxCandidates},
		{"MAX_STOP", uint64(c.MaxStop), 0, MaxStopIDs},
		{"BLOCK", uint64(c.Block), 1, 256},
		{"RING_MIN", uint64(c.RingMin), 1, uint64(c.RingMax)},
		{"RING_MAX", uint64(c.RingMax), uint64(c.RingMin), 20},
		{"NSTOP", uint64(c.NStop), 0, MaxStopIDs},
		{"TOKEN_NS", uint64(c.TokenNS), 1, 1 << 31},
		{"PREFILL_NS", uint64(c.PrefillNS), 1, 1 << 31},
		{"CHUNK", uint64(c.Chunk), 1, 1 << 15},
		{"DEPTH", uint64(c.Depth), 1, 64},
	} {
		if f.v < f.lo || f.v > f.hi {
			return fmt.Errorf("hci: capability page: %s = %d, allowed %d..%d", f.name, f.v, f.lo, f.hi)
		}
	}
	return nil
}

// Text makes a NUL- or space-padded string of the card safe to print: bytes
// that are not printable ASCII become '?'.
func Text(b []byte) string {
	n := len(b)
	for i, c := range b {
		if c == 0 {
			n = i
			break
		}
	}
	out := make([]byte, 0, n)
	for _, c := range b[:n] {
		if c < 0x20 || c > 0x7E {
			c = '?'
		}
		out = append(out, c)
	}
	for len(out) > 0 && out[len(out)-1] == ' ' {
		out = out[:len(out)-1]
	}
	return string(out)
}
