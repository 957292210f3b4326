package gguf

import "fmt"

// kind is the type of a metadata value, by its number in the file.
type kind uint32

const (
	kUint8 kind = iota
	kInt8
	kUint16
	kInt16
	kUint32
	kInt32
	kFloat32
	kBool
	kString
	kArray
	kUint64
	kInt64
	kFloat64
	kEnd
)

// kinds holds each kind's name and size; size 0 means the value carries its
// own length.
var kinds = [kEnd]struct {
	name string
	size uint64
}{
	{"uint8", 1}, {"int8", 1}, {"uint16", 2}, {"int16", 2}, {"uint32", 4}, {"int32", 4}, {"float32", 4},
	{"bool", 1}, {"string", 0}, {"array", 0}, {"uint64", 8}, {"int64", 8}, {"float64", 8},
}

func (k kind) String() string {
	if k < kEnd {
		return kinds[k].name
	}
	return fmt.Sprintf("type(%d)", uint32(k))
}

// Type is a tensor's element type, by its number in the file.
type Type uint32

// The types this package can turn into float32.
const (
	TypeF32  Type = 0
	TypeF16  Type = 1
	TypeQ8_0 Type = 8
	TypeBF16 Type = 30
)

// tensorTypes holds the packing of every type whose size is known: block
// elements take size bytes. Tensors of types this package cannot decode are
// still listed and range-checked.
var tensorTypes = map[Type]struct {
	name        string
	block, size uint64
}{
	0: {"F32", 1, 4}, 1: {"F16", 1, 2}, 2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20},
	6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24}, 8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 36},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144},
	13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98},
	19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110},
	22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136}, 24: {"I8", 1, 1}, 25: {"I16", 1, 2},
	26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8}, 29: {"IQ1_M", 256, 56},
	30: {"BF16", 1, 2}, 34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17},
}

func (t Type) String() string {
	if i, ok := tensorTypes[t]; ok {
		return i.name
	}
	return fmt.Sprintf("type(%d)", uint32(t))
}

// tensorSize is the number of bytes a tensor takes, or why there is none.
// Rows (the first dimension) are whole blocks.
func tensorSize(t Type, shape []uint64) (uint64, error) {
	info, ok := tensorTypes[t]
	if !ok {
		return 0, fmt.Errorf("unknown tensor type %d", uint32(t))
	}
	if len(shape) == 0 || len(shape) > maxDims {
		return 0, fmt.Errorf("%d dimensions, want 1..%d", len(shape), maxDims)
	}
	n := uint64(1)
	for i, d := range shape {
		if d == 0 {
			return 0, fmt.Errorf("dimension %d is zero", i)
		}
		// 2^48 elements is past any file; the bound keeps every later
		// product within 64 bits.
		if d > (1<<48)/n {
			return 0, fmt.Errorf("shape %v has too many elements", shape)
		}
		n *= d
	}
	if shape[0]%info.block != 0 {
		return 0, fmt.Errorf("row of %d elements is not whole %s blocks of %d", shape[0], info.name, info.block)
	}
	return n / info.block * info.size, nil
}
