package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// q8Block is the number of elements that share one scale in Q8_0: a float16
// scale, then one signed byte per element.
const (
	q8Block = 32
	q8Size  = 2 + q8Block
)

// Float32 writes the tensor's elements to dst, which must have exactly
// Elements() places, as float32. F32, F16, BF16 and Q8_0 can be decoded; each
// element's value is exact or, for Q8_0, one rounded product.
func (t Tensor) Float32(dst []float32) error {
	if uint64(len(dst)) != t.Elements() {
		return fmt.Errorf("gguf: tensor %q: decoding %d elements into %d", t.Name, t.Elements(), len(dst))
	}
	if size, err := tensorSize(t.Type, t.Shape); err != nil || uint64(len(t.Data)) != size {
		return fmt.Errorf("gguf: tensor %q: %d bytes do not hold %v of %s", t.Name, len(t.Data), t.Shape, t.Type)
	}
	switch t.Type {
	case TypeF32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		}
	case TypeF16:
		for i := range dst {
			dst[i] = decodeF16(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
	case TypeBF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(t.Data[2*i:])) << 16)
		}
	case TypeQ8_0:
		for b := 0; b < len(dst)/q8Block; b++ {
			blk := t.Data[b*q8Size : (b+1)*q8Size]
			d := decodeF16(binary.LittleEndian.Uint16(blk))
			out := dst[b*q8Block : (b+1)*q8Block]
			for i := range out {
				out[i] = d * float32(int8(blk[2+i]))
			}
		}
	default:
		return fmt.Errorf("gguf: tensor %q: type %s is not supported (F32, F16, BF16 and Q8_0 are)", t.Name, t.Type)
	}
	return nil
}

// QuantizeQ8_0 packs src as Q8_0. It panics unless len(src) is a multiple of
// 32. A block that holds an infinity or NaN has no meaningful scale.
func QuantizeQ8_0(src []float32) []byte {
	if len(src)%q8Block != 0 {
		panic(fmt.Sprintf("gguf: quantising %d elements, not a multiple of %d", len(src), q8Block))
	}
	out := make([]byte, len(src)/q8Block*q8Size)
	for b := 0; b < len(src)/q8Block; b++ {
		in, blk := src[b*q8Block:(b+1)*q8Block], out[b*q8Size:]
		var most float32
		for _, v := range in {
			most = max(most, float32(math.Abs(float64(v))))
		}
		d := most / 127
		var inv float32
		if d != 0 {
			inv = 1 / d
		}
		binary.LittleEndian.PutUint16(blk, encodeF16(d))
		for i, v := range in {
			q := math.Round(float64(v * inv))
			blk[2+i] = byte(int8(max(-127, min(127, q))))
		}
	}
	return out
}

// EncodeF16 packs src as F16, rounding to nearest even.
func EncodeF16(src []float32) []byte {
	out := make([]byte, 2*len(src))
	for i, v := range src {
		binary.LittleEndian.PutUint16(out[2*i:], encodeF16(v))
	}
	return out
}

// EncodeF32 packs src as F32.
func EncodeF32(src []float32) []byte {
	out := make([]byte, 4*len(src))
	for i, v := range src {
		binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v))
	}
	return out
}

func decodeF16(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exp, frac := uint32(h>>10)&31, uint32(h)&1023
	switch exp {
	case 0: // zero or subnormal: frac * 2^-24, exact in float32
		v := math.Float32bits(float32(frac) * (1.0 / (1 << 24)))
		return math.Float32frombits(sign | v)
	case 31: // infinity or NaN
		return math.Float32frombits(sign | 255<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

func encodeF16(v float32) uint16 {
	bits := math.Float32bits(v)
	sign := uint16(bits >> 16 & 0x8000)
	mag := bits & 0x7fffffff
	switch {
	case mag > 0x7f800000: // NaN: keep it quiet
		return sign | 0x7e00
	case mag >= 0x477ff000: // rounds to 2^16 or more
		return sign | 0x7c00
	case mag < 0x38800000: // below 2^-14: a multiple of 2^-24
		// Scaling by a power of two is exact; RoundToEven rounds once.
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(mag))*(1<<24)))
	}
	// Rebias the exponent, then round the 13 dropped bits to nearest even; a
	// carry runs into the exponent, which is what rounding up means.
	mag -= (127 - 15) << 23
	return sign | uint16((mag+0xfff+mag>>13&1)>>13)
}
