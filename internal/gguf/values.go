package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// KV describes one key for a listing.
type KV struct {
	Key   string
	Type  string // e.g. "uint32", "array of string"
	Value string // short and printable; arrays show their length and first elements
}

// Keys lists the key/value pairs in file order.
func (f *File) Keys() []KV {
	out := make([]KV, len(f.keys))
	for i, e := range f.keys {
		t := e.typ.String()
		if e.typ == kArray {
			t = "array of " + e.elem.String()
		}
		out[i] = KV{Key: e.key, Type: t, Value: e.print()}
	}
	return out
}

func (f *File) find(key string, want kind) (entry, bool) {
	i, ok := f.byKey[key]
	if !ok || f.keys[i].typ != want {
		return entry{}, false
	}
	return f.keys[i], true
}

// String is the value of a string key.
func (f *File) String(key string) (string, bool) {
	e, ok := f.find(key, kString)
	if !ok {
		return "", false
	}
	return string(e.raw[8:]), true
}

// Uint32 is the value of an integer key of any width that fits.
func (f *File) Uint32(key string) (uint32, bool) {
	i, ok := f.byKey[key]
	if !ok {
		return 0, false
	}
	neg, v, ok := integer(f.keys[i].typ, f.keys[i].raw)
	if !ok || neg || v > math.MaxUint32 {
		return 0, false
	}
	return uint32(v), true
}

// Float32 is the value of a float32 or float64 key.
func (f *File) Float32(key string) (float32, bool) {
	i, ok := f.byKey[key]
	if !ok {
		return 0, false
	}
	return float(f.keys[i].typ, f.keys[i].raw)
}

// Bool is the value of a bool key.
func (f *File) Bool(key string) (value, ok bool) {
	e, ok := f.find(key, kBool)
	if !ok {
		return false, false
	}
	return e.raw[0] == 1, true
}

func (f *File) array(key string) (entry, bool) { return f.find(key, kArray) }

// Strings is the value of an array of strings.
func (f *File) Strings(key string) ([]string, bool) {
	e, ok := f.array(key)
	if !ok || e.elem != kString {
		return nil, false
	}
	out := make([]string, e.count)
	b := e.raw
	for i := range out {
		n := binary.LittleEndian.Uint64(b)
		out[i], b = string(b[8:8+n]), b[8+n:]
	}
	return out, true
}

// Int32s is the value of an array of integers of any width, if all fit.
func (f *File) Int32s(key string) ([]int32, bool) {
	e, ok := f.array(key)
	if !ok || !isInteger(e.elem) {
		return nil, false
	}
	size := kinds[e.elem].size
	out := make([]int32, e.count)
	for i := range out {
		neg, v, _ := integer(e.elem, e.raw[uint64(i)*size:])
		switch {
		case !neg && v <= math.MaxInt32:
			out[i] = int32(v)
		case neg && int64(v) >= math.MinInt32:
			out[i] = int32(int64(v))
		default:
			return nil, false
		}
	}
	return out, true
}

// Float32s is the value of an array of float32 or float64.
func (f *File) Float32s(key string) ([]float32, bool) {
	e, ok := f.array(key)
	if !ok || e.elem != kFloat32 && e.elem != kFloat64 {
		return nil, false
	}
	size := kinds[e.elem].size
	out := make([]float32, e.count)
	for i := range out {
		out[i], _ = float(e.elem, e.raw[uint64(i)*size:])
	}
	return out, true
}

func isInteger(k kind) bool {
	switch k {
	case kUint8, kInt8, kUint16, kInt16, kUint32, kInt32, kUint64, kInt64:
		return true
	}
	return false
}

// integer decodes any integer kind; a negative value is returned as its two's
// complement with neg set.
func integer(k kind, b []byte) (neg bool, v uint64, ok bool) {
	var s int64
	switch k {
	case kUint8:
		return false, uint64(b[0]), true
	case kUint16:
		return false, uint64(binary.LittleEndian.Uint16(b)), true
	case kUint32:
		return false, uint64(binary.LittleEndian.Uint32(b)), true
	case kUint64:
		return false, binary.LittleEndian.Uint64(b), true
	case kInt8:
		s = int64(int8(b[0]))
	case kInt16:
		s = int64(int16(binary.LittleEndian.Uint16(b)))
	case kInt32:
		s = int64(int32(binary.LittleEndian.Uint32(b)))
	case kInt64:
		s = int64(binary.LittleEndian.Uint64(b))
	default:
		return false, 0, false
	}
	return s < 0, uint64(s), true
}

func float(k kind, b []byte) (float32, bool) {
	switch k {
	case kFloat32:
		return math.Float32frombits(binary.LittleEndian.Uint32(b)), true
	case kFloat64:
		return float32(math.Float64frombits(binary.LittleEndian.Uint64(b))), true
	}
	return 0, false
}

// print shows a value in one short line.
func (e entry) print() string {
	if e.typ != kArray {
		s, _ := printScalar(e.typ, e.raw)
		return s
	}
	const most = 6
	var parts []string
	b := e.raw
	for i := uint64(0); i < e.count && i < most && e.elem != kArray; i++ {
		s, n := printScalar(e.elem, b)
		parts, b = append(parts, s), b[n:]
	}
	if e.count > uint64(len(parts)) {
		parts = append(parts, "...")
	}
	return fmt.Sprintf("%d: [%s]", e.count, strings.Join(parts, ", "))
}

// printScalar prints the first value in b and says how many bytes it took.
func printScalar(k kind, b []byte) (string, uint64) {
	if k == kString {
		n := binary.LittleEndian.Uint64(b)
		return strconv.Quote(short(string(b[8 : 8+min(n, 256)]))), 8 + n
	}
	size := kinds[k].size
	if neg, v, ok := integer(k, b); ok {
		if neg {
			return strconv.FormatInt(int64(v), 10), size
		}
		return strconv.FormatUint(v, 10), size
	}
	switch k {
	case kFloat32:
		v, _ := float(k, b)
		return strconv.FormatFloat(float64(v), 'g', -1, 32), size
	case kFloat64:
		return strconv.FormatFloat(math.Float64frombits(binary.LittleEndian.Uint64(b)), 'g', -1, 64), size
	default: // kBool
		return strconv.FormatBool(b[0] == 1), size
	}
}

// short cuts a string to what fits on a line, at a character boundary.
func short(s string) string {
	const most = 72
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}
