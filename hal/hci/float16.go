package hci

import "math"

// Float16 rounds f to the nearest f16, ties to even. Values below the range
// become -65504, as section 15.3 has it for log-probabilities.
func Float16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7FFFFFFF
	switch {
	case b > 0x7F800000: // NaN
		return sign | 0x7E00
	case b >= 0x477FF000: // would round past 65504
		return sign | 0x7BFF
	case b < 0x33000001: // rounds to zero
		return sign
	case b < 0x38800000: // subnormal: shift the significand into place
		shift := 126 - b>>23
		m := b&0x7FFFFF | 0x800000
		half := uint32(1) << (shift - 1)
		v := m >> shift
		if rem := m & (half<<1 - 1); rem > half || rem == half && v&1 != 0 {
			v++
		}
		return sign | uint16(v)
	}
	b += 0xFFF + b>>13&1
	return sign | uint16((b-0x38000000)>>13)
}

// Float32 widens f16 bits.
func Float32(h uint16) float32 {
	sign, e, m := uint32(h&0x8000)<<16, uint32(h>>10&0x1F), uint32(h&0x3FF)
	switch {
	case e == 31:
		return math.Float32frombits(sign | 0x7F800000 | m<<13)
	case e == 0:
		f := float32(m) * (1.0 / (1 << 24))
		return math.Float32frombits(sign | math.Float32bits(f))
	}
	return math.Float32frombits(sign | (e+112)<<23 | m<<13)
}
