package hci

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC32C is the Castagnoli CRC of section 24.
func CRC32C(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// CRC-16/T10-DIF by slicing: crcTable[k][b] is the CRC of byte b followed by
// k zero bytes. Eight bytes a step keep a record at some 20 ns.
var crcTable = func() (t [8][256]uint16) {
	for b := range 256 {
		c := uint16(b) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x8BB7
			} else {
				c <<= 1
			}
		}
		t[0][b] = c
	}
	for k := 1; k < 8; k++ {
		for b := range 256 {
			c := t[k-1][b]
			t[k][b] = c<<8 ^ t[0][c>>8]
		}
	}
	return t
}()

// CRC16 is the CRC-16/T10-DIF of section 24 over any bytes.
func CRC16(b []byte) uint16 {
	c := uint16(0)
	for _, x := range b {
		c = c<<8 ^ crcTable[0][byte(c>>8)^x]
	}
	return c
}

// crc8 advances c over the 8 bytes of w in memory (little-endian) order.
func crc8(c uint16, w uint64) uint16 {
	return crcTable[7][byte(w)^byte(c>>8)] ^ crcTable[6][byte(w>>8)^byte(c)] ^
		crcTable[5][byte(w>>16)] ^ crcTable[4][byte(w>>24)] ^
		crcTable[3][byte(w>>32)] ^ crcTable[2][byte(w>>40)] ^
		crcTable[1][byte(w>>48)] ^ crcTable[0][byte(w>>56)]
}

// crcTail advances c over epoch and sequence, the bytes beside the CRC.
func crcTail(c uint16, epoch uint16, seq uint32) uint16 {
	w := uint64(epoch) | uint64(seq)<<16 // six bytes in memory order
	for range 6 {
		c = c<<8 ^ crcTable[0][byte(c>>8)^byte(w)]
		w >>= 8
	}
	return c
}

// Sum is the CRC that the record should carry (section 24).
func (r *Record) Sum() uint16 {
	c := crc8(0, uint64(r.Position)|uint64(r.Count)<<32|uint64(r.Chosen)<<40|
		uint64(r.Flags)<<48|uint64(r.Stop)<<56)
	for i := 0; i < 12; i += 2 {
		c = crc8(c, uint64(r.Payload[i])|uint64(r.Payload[i+1])<<32)
	}
	return crcTail(c, r.Epoch, r.Sequence)
}
