// Package secondreading is a second reading of docs/hci.md: a driver written
// from that document alone, to find out whether it is enough. Nothing here
// comes from hal/hci or driver; the constants were typed from the tables.
package secondreading

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// Section 3 and 4.
const (
	barRegs, barDoorbells = 0, 2

	regCAP, regVS, regCC, regCSTS    = 0x00, 0x08, 0x14, 0x1C
	regAQA, regASQ, regACQ           = 0x24, 0x28, 0x30
	regBSTS, regFERR, regRGEN        = 0x100, 0x104, 0x108
	ccEN, ccSQES, ccCQES, ccSHN      = 1 << 0, 6 << 16, 4 << 20, 1 << 14
	cstsRDY, cstsCFS                 = 1 << 0, 1 << 1
	dbSQT, dbCQH, dbKICK, dbARM      = 0x00, 0x04, 0x08, 0x10
	shadowCell, shadowSQT, shadowCQH = 256, 0x00, 0x80
)

// Section 9.
const (
	admDeleteSQ, admCreateSQ, admLog, admDeleteCQ, admCreateCQ = 0x00, 0x01, 0x02, 0x04, 0x05
	admIdentify, admAbort, admSetFeature, admGetFeature        = 0x06, 0x08, 0x09, 0x0A
	admAER, admSelfTest, admShadow, admHealth                  = 0x0C, 0x14, 0x7C, 0xC0
)

// Section 11.
const (
	ioOpen, ioPrefill, ioGenerate, ioCancel, ioTruncate, ioFork, ioClose = 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87

	genGreedy, genLogprobs, genStepped, genIgnoreEOS, genMask = 1 << 24, 1 << 25, 1 << 26, 1 << 27, 1 << 28

	hostHEAD, hostCHOICE             = 0x00, 0x08
	cardHEVT, cardWAIT               = 0x00, 0x04
	cardPrefill, cardDecode          = 0x20, 0x28
	cardTokens, cardLate             = 0x48, 0x4C
	waitChoice, waitMask             = 1, 2
	recCommit, recCand, recScore     = 1 << 0, 1 << 1, 1 << 2
	recChoice, recLate               = 1 << 3, 1 << 4
	stopToken, stopMax, stopContext  = 1, 2, 3
	stopCancelled, stopError         = 4, 5
	featMask, featScore, featStepped = 1 << 0, 1 << 3, 1 << 4
	featFork, featShadow             = 1 << 6, 1 << 7
	maskSlotSize                     = 16384
	maskCRC, maskFLAGS, maskVALID    = 0x3FF0, 0x3FF4, 0x3FF8
)

// status is SCT << 8 | SC of section 8, DNR and MORE left out.
type status uint16

const (
	success          status = 0x000
	invalidOpcode    status = 0x001
	invalidField     status = 0x002
	abortRequested   status = 0x007
	sequenceError    status = 0x00C
	qidInvalid       status = 0x101
	sessionInvalid   status = 0x701
	sessionBusy      status = 0x702
	sessionLimit     status = 0x703
	kvExhausted      status = 0x704
	contextExceeded  status = 0x705
	notPrimed        status = 0x706
	epochInvalid     status = 0x707
	tokenInvalid     status = 0x708
	crcError         status = 0x709
	cancelled        status = 0x70A
	maskInvalid      status = 0x70E
	choiceInvalid    status = 0x710
	ringInvalid      status = 0x711
	cqInvalid        status = 0x100
	vectorInvalid    status = 0x108
	queueSizeInvalid status = 0x102
	logInvalid       status = 0x109
	queueDelete      status = 0x10C
)

func (s status) String() string { return fmt.Sprintf("status %d/%02X", s>>8, uint8(s)) }

// sqe is a submission queue entry, section 7.
type sqe [64]byte

func cmd(op uint8, sid uint32) *sqe {
	var e sqe
	e[0] = op
	return e.u32(0x04, sid)
}

// u32 adds bits to the dword at off.
func (e *sqe) u32(off int, v uint32) *sqe {
	binary.LittleEndian.PutUint32(e[off:], binary.LittleEndian.Uint32(e[off:])|v)
	return e
}

func (e *sqe) u64(off int, v uint64) *sqe {
	binary.LittleEndian.PutUint64(e[off:], v)
	return e
}

// cqe is a completion queue entry as read.
type cqe struct {
	dw0, dw1        uint32
	sqhd, sqid, cid uint16
	st              status
	dnr             bool
}

// record is a token record, section 12.
type record struct {
	pos, seq                   uint32
	count, chosen, flags, stop uint8
	ids                        []uint32
	lps                        []float32 // candidate records
	epoch                      uint16
}

func get16(b []byte, off int) uint16 { return binary.LittleEndian.Uint16(b[off:]) }
func get32(b []byte, off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
func get64(b []byte, off int) uint64 { return binary.LittleEndian.Uint64(b[off:]) }

// decode takes a record apart and makes the checks that need no context.
func decode(b []byte) (record, error) {
	r := record{
		pos: get32(b, 0), count: b[4], chosen: b[5], flags: b[6], stop: b[7],
		epoch: get16(b, 0x38), seq: get32(b, 0x3C),
	}
	if got := crc16(crc16(0, b[:58]), b[60:64]); got != get16(b, 0x3A) {
		return r, fmt.Errorf("record %d: CRC %04X, want %04X", r.seq, got, get16(b, 0x3A))
	}
	if r.stop > stopError {
		return r, fmt.Errorf("record %d: stop reason %d", r.seq, r.stop)
	}
	ids, most := 12, uint8(12)
	if r.flags&recCand != 0 {
		ids, most = 8, 8
		if r.count == 0 || r.chosen >= r.count {
			return r, fmt.Errorf("record %d: %d candidates, %d chosen", r.seq, r.count, r.chosen)
		}
		for i := range int(r.count) {
			r.lps = append(r.lps, f16(get16(b, 0x28+2*i)))
		}
	} else if r.chosen != 0 || r.count == 0 && r.stop == 0 {
		return r, fmt.Errorf("record %d: %d ids, stop %d, chosen %d", r.seq, r.count, r.stop, r.chosen)
	}
	if r.count > most {
		return r, fmt.Errorf("record %d: count %d", r.seq, r.count)
	}
	for i := range ids {
		id := get32(b, 8+4*i)
		if i < int(r.count) {
			r.ids = append(r.ids, id)
		} else if id != 0 {
			return r, fmt.Errorf("record %d: id in unused place %d", r.seq, i)
		}
	}
	return r, nil
}

// token is the token taken by a record with one.
func (r record) token() uint32 { return r.ids[r.chosen] }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc32c(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// crc16 is T10-DIF, bit by bit.
func crc16(c uint16, b []byte) uint16 {
	for _, x := range b {
		c ^= uint16(x) << 8
		for range 8 {
			top := c >> 15
			c <<= 1
			if top != 0 {
				c ^= 0x8BB7
			}
		}
	}
	return c
}

// f16 is binary16 to binary32.
func f16(h uint16) float32 {
	e, m := int(h>>10&31), float64(h&1023)
	v := math.Ldexp(1+m/1024, e-15)
	switch e {
	case 0:
		v = math.Ldexp(m/1024, -14)
	case 31:
		v = math.Inf(1)
		if m != 0 {
			v = math.NaN()
		}
	}
	if h>>15 != 0 {
		v = -v
	}
	return float32(v)
}
