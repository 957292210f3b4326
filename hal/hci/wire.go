package hci

import (
	"encoding/binary"
	"fmt"
)

// SQE is a submission queue entry (section 7). Its layout in memory is the
// wire layout on little-endian machines.
type SQE struct {
	OPC   uint8
	Flags uint8
	CID   uint16
	SID   uint32
	DW2   uint32
	DW3   uint32
	MPTR  uint64
	PRP1  uint64
	PRP2  uint64
	CDW   [6]uint32 // CDW10..CDW15
}

// CQE is a completion queue entry (section 7).
type CQE struct {
	DW0    uint32
	DW1    uint32
	SQHD   uint16
	SQID   uint16
	CID    uint16
	Status uint16 // bit 0 phase tag, 15:1 status field
}

// Code returns SCT and SC of the status field: no phase tag, CRD, MORE or DNR.
func (c *CQE) Code() Status { return Status(c.Status>>1) & 0x7FF }

// Record is a token record (section 12). A candidate record keeps 8 ids in
// Payload[0:8] and their log-probabilities, two f16 a word, in Payload[8:12].
type Record struct {
	Position uint32
	Count    uint8
	Chosen   uint8
	Flags    uint8
	Stop     uint8
	Payload  [12]uint32
	Epoch    uint16
	CRC      uint16
	Sequence uint32
}

// LogProb is the log-probability of candidate i (0..7) as f16 bits.
func (r *Record) LogProb(i int) uint16 { return uint16(r.Payload[8+i/2] >> (16 * (i % 2))) }

// SetLogProb stores the f16 bits of candidate i (0..7).
func (r *Record) SetLogProb(i int, v uint16) {
	sh := 16 * (i % 2)
	w := &r.Payload[8+i/2]
	*w = *w&^(0xFFFF<<sh) | uint32(v)<<sh
}

// NextEpoch is the epoch after e (section 11.1 rule 4). 0 is not an epoch.
func NextEpoch(e uint16) uint16 {
	if e++; e == 0 {
		return 1
	}
	return e
}

// Tail is the last 8 bytes of the record, as written in one store.
func (r *Record) Tail() uint64 {
	return uint64(r.Epoch) | uint64(r.CRC)<<16 | uint64(r.Sequence)<<32
}

// SetTail is the inverse of Tail.
func (r *Record) SetTail(v uint64) {
	r.Epoch, r.CRC, r.Sequence = uint16(v), uint16(v>>16), uint32(v>>32)
}

// word returns the aligned 8 bytes of the SQE that hold a field's offset and
// the shift of that offset in them.
func (e *SQE) word(off uint8) (uint64, uint) {
	var b [SQESize]byte
	e.Encode(&b)
	base := off &^ 7
	return binary.LittleEndian.Uint64(b[base:]), uint(off-base) * 8
}

// Get reads a command field.
func (e *SQE) Get(f CommandField) uint64 {
	w, sh := e.word(f.Offset)
	return Bits{f.Lo, f.Hi}.Get(w >> sh)
}

// Put sets a command field; bits of v beyond it are dropped.
func (e *SQE) Put(f CommandField, v uint64) {
	var b [SQESize]byte
	e.Encode(&b)
	base := f.Offset &^ 7
	sh := (f.Offset - base) * 8
	w := binary.LittleEndian.Uint64(b[base:])
	binary.LittleEndian.PutUint64(b[base:], Bits{f.Lo + sh, f.Hi + sh}.Put(w, v))
	e.Decode(&b)
}

// Encode writes the 64 wire bytes.
func (e *SQE) Encode(b *[SQESize]byte) {
	le := binary.LittleEndian
	b[0], b[1] = e.OPC, e.Flags
	le.PutUint16(b[2:], e.CID)
	le.PutUint32(b[4:], e.SID)
	le.PutUint32(b[8:], e.DW2)
	le.PutUint32(b[12:], e.DW3)
	le.PutUint64(b[16:], e.MPTR)
	le.PutUint64(b[24:], e.PRP1)
	le.PutUint64(b[32:], e.PRP2)
	for i, v := range e.CDW {
		le.PutUint32(b[40+4*i:], v)
	}
}

// Decode reads the 64 wire bytes.
func (e *SQE) Decode(b *[SQESize]byte) {
	le := binary.LittleEndian
	e.OPC, e.Flags = b[0], b[1]
	e.CID = le.Uint16(b[2:])
	e.SID = le.Uint32(b[4:])
	e.DW2 = le.Uint32(b[8:])
	e.DW3 = le.Uint32(b[12:])
	e.MPTR = le.Uint64(b[16:])
	e.PRP1 = le.Uint64(b[24:])
	e.PRP2 = le.Uint64(b[32:])
	for i := range e.CDW {
		e.CDW[i] = le.Uint32(b[40+4*i:])
	}
}

// Encode writes the 64 wire bytes of the record.
func (r *Record) Encode(b *[RecordSize]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], r.Position)
	b[4], b[5], b[6], b[7] = r.Count, r.Chosen, r.Flags, r.Stop
	for i, v := range r.Payload {
		le.PutUint32(b[8+4*i:], v)
	}
	le.PutUint64(b[56:], r.Tail())
}

// Decode reads the 64 wire bytes of a record.
func (r *Record) Decode(b *[RecordSize]byte) {
	le := binary.LittleEndian
	r.Position = le.Uint32(b[0:])
	r.Count, r.Chosen, r.Flags, r.Stop = b[4], b[5], b[6], b[7]
	for i := range r.Payload {
		r.Payload[i] = le.Uint32(b[8+4*i:])
	}
	r.SetTail(le.Uint64(b[56:]))
}

// ReservedSet returns the offset of the first byte of e with a bit that the
// command may not use and that is not zero; ok is false when there is one:
// DW1 of INVALID_FIELD. In use are the fields of the tables in sections 9 and
// 11, CID, and SID where the command names a session.
func ReservedSet(e *SQE, admin bool) (offset int, ok bool) {
	var b, used [SQESize]byte
	e.Encode(&b)
	ops, fields := IOOpcodes, IOFields
	if admin {
		ops, fields = AdminOpcodes, AdminFields
	}
	name := ""
	for _, o := range ops {
		if o.Code == e.OPC {
			name = o.Name
		}
	}
	for i := 0; i < 4; i++ { // OPC, CID; FLAGS stays reserved
		used[i] = 0xFF
	}
	used[1] = 0
	if !admin && e.OPC != OpOpen { // OPEN names no session yet
		for i := 4; i < 8; i++ {
			used[i] = 0xFF
		}
	}
	for _, f := range fields {
		if f.Command == name {
			for bit := int(f.Lo); bit <= int(f.Hi); bit++ {
				used[int(f.Offset)+bit/8] |= 1 << (bit % 8)
			}
		}
	}
	for _, p := range pointers[name] {
		for i := p; i < p+8; i++ {
			used[i] = 0xFF
		}
	}
	for i := range b {
		if b[i]&^used[i] != 0 {
			return i, false
		}
	}
	return 0, true
}

// pointers names the IOVA fields that admin commands use whole.
var pointers = map[string][]int{
	"CREATE_IO_SQ":           {SQEOffPRP1},
	"CREATE_IO_CQ":           {SQEOffPRP1},
	"GET_LOG_PAGE":           {SQEOffPRP1},
	"IDENTIFY":               {SQEOffPRP1},
	"DOORBELL_BUFFER_CONFIG": {SQEOffPRP1, SQEOffPRP2},
	"HEALTH_RECORD_CONFIG":   {SQEOffPRP1},
	"FIRMWARE_DOWNLOAD":      {SQEOffPRP1},
	"ADAPTER_LOAD":           {SQEOffPRP1},
	"ATTEST":                 {SQEOffPRP1, SQEOffPRP2},
}

// String names the status as in section 8.
func (s Status) String() string {
	for _, i := range Statuses {
		if i.Code == s&^StatusDNR {
			return i.Name
		}
	}
	return fmt.Sprintf("SCT %d SC 0x%02x", uint16(s>>8&7), uint8(s)) // as numbers: a Status would print itself
}

// DNR reports whether the document says the status may not be retried.
func (s Status) DNR() bool {
	for _, i := range Statuses {
		if i.Code == s&^StatusDNR {
			return i.DNR
		}
	}
	return s&StatusDNR != 0
}

// Field returns the 15-bit status field for a CQE, DNR set as documented.
func (s Status) Field() Status {
	if s.DNR() {
		return s | StatusDNR
	}
	return s
}
