package gguf

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// sample is a small file with every kind of value the writer knows and
// tensors of each type it packs. The last tensor's size is not a multiple of
// the alignment, and nothing follows it.
func sample(tb testing.TB) []byte {
	tb.Helper()
	w := NewWriter()
	w.SetString("general.architecture", "llama")
	w.SetUint32("a.u32", 7)
	w.SetFloat32("a.f32", 0.5)
	w.SetBool("a.bool", true)
	w.SetStrings("a.strings", []string{"", "x", "yz"})
	w.SetInt32s("a.int32s", []int32{-1, 0, 1 << 30})
	w.SetFloat32s("a.float32s", []float32{1, -2})
	w.AddTensor("f32", []uint64{3, 2}, TypeF32, EncodeF32([]float32{1, 2, 3, 4, 5, 6}))
	q := make([]float32, 64)
	for i := range q {
		q[i] = float32(i - 20)
	}
	w.AddTensor("q8", []uint64{32, 2}, TypeQ8_0, QuantizeQ8_0(q))
	w.AddTensor("f16", []uint64{3}, TypeF16, EncodeF16([]float32{1, -2, 0.25}))
	b, err := w.Bytes()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	data := sample(t)
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if f.Version() != 3 || f.SHA256() != sha256.Sum256(data) {
		t.Error("version or hash differ")
	}
	check := func(what string, got, want any, ok bool) {
		t.Helper()
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v, %v; want %v", what, got, ok, want)
		}
	}
	s, ok := f.String("general.architecture")
	check("String", s, "llama", ok)
	u, ok := f.Uint32("a.u32")
	check("Uint32", u, uint32(7), ok)
	fl, ok := f.Float32("a.f32")
	check("Float32", fl, float32(0.5), ok)
	b, ok := f.Bool("a.bool")
	check("Bool", b, true, ok)
	ss, ok := f.Strings("a.strings")
	check("Strings", ss, []string{"", "x", "yz"}, ok)
	is, ok := f.Int32s("a.int32s")
	check("Int32s", is, []int32{-1, 0, 1 << 30}, ok)
	fs, ok := f.Float32s("a.float32s")
	check("Float32s", fs, []float32{1, -2}, ok)

	for _, key := range []string{"none", "a.f32", "a.strings"} {
		if _, ok := f.Uint32(key); ok {
			t.Errorf("Uint32(%q) found a value", key)
		}
	}
	if _, ok := f.Strings("a.int32s"); ok {
		t.Error("Strings of an int32 array found a value")
	}

	if ts := f.Tensors(); len(ts) != 3 || ts[1].Name != "q8" || ts[1].Type.String() != "Q8_0" {
		t.Errorf("Tensors = %v", ts)
	}
	x, ok := f.Tensor("f32")
	check("shape", x.Shape, []uint64{3, 2}, ok)
	dst := make([]float32, 6)
	if err := x.Float32(dst); err != nil || !reflect.DeepEqual(dst, []float32{1, 2, 3, 4, 5, 6}) {
		t.Errorf("f32 = %v, %v", dst, err)
	}
	x, _ = f.Tensor("f16")
	if err := x.Float32(dst[:3]); err != nil || !reflect.DeepEqual(dst[:3], []float32{1, -2, 0.25}) {
		t.Errorf("f16 = %v, %v", dst[:3], err)
	}
	if err := x.Float32(dst); err == nil {
		t.Error("decoding into a slice of the wrong length succeeded")
	}
	x, _ = f.Tensor("q8")
	q := make([]float32, 64)
	if err := x.Float32(q); err != nil {
		t.Fatal(err)
	}
	for i, v := range q {
		if d := math.Abs(float64(v) - float64(i-20)); d > 43.0/254+0.05 {
			t.Errorf("q8[%d] = %v, want about %d", i, v, i-20)
		}
	}
	var list []string
	for _, kv := range f.Keys() {
		list = append(list, kv.Key+" "+kv.Type+" "+kv.Value)
	}
	want := []string{
		`general.architecture string "llama"`, `a.u32 uint32 7`, `a.f32 float32 0.5`, `a.bool bool true`,
		`a.strings array of string 3: ["", "x", "yz"]`, `a.int32s array of int32 3: [-1, 0, 1073741824]`,
		`a.float32s array of float32 2: [1, -2]`,
	}
	if !reflect.DeepEqual(list, want) {
		t.Errorf("Keys:\n%s\nwant\n%s", strings.Join(list, "\n"), strings.Join(want, "\n"))
	}
}

func TestOpenMissing(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}

// Whatever byte a file is cut at, something it promises is missing.
func TestTruncated(t *testing.T) {
	data := sample(t)
	for n := range data {
		_, err := Parse(data[:n:n])
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("cut at %d of %d: err = %v", n, len(data), err)
		}
		if e.Offset < 0 || e.Offset > int64(n) || e.Field == "" {
			t.Errorf("cut at %d: %+v", n, e)
		}
	}
}

// No single damaged byte may panic; what still parses must be readable.
func TestDamaged(t *testing.T) {
	data := sample(t)
	for i := range data {
		for _, v := range []byte{0, 1, 9, 0x7f, 0x80, 0xff, data[i] ^ 1} {
			b := bytes.Clone(data)
			b[i] = v
			if f, err := Parse(b); err == nil {
				readAll(f)
			}
		}
	}
}

// readAll calls everything a File offers.
func readAll(f *File) {
	for _, kv := range f.Keys() {
		f.String(kv.Key)
		f.Uint32(kv.Key)
		f.Float32(kv.Key)
		f.Bool(kv.Key)
		f.Strings(kv.Key)
		f.Int32s(kv.Key)
		f.Float32s(kv.Key)
	}
	for _, x := range f.Tensors() {
		if _, ok := f.Tensor(x.Name); !ok {
			panic("listed tensor not found")
		}
		if x.Elements() < 1<<20 {
			_ = x.Float32(make([]float32, x.Elements()))
		}
	}
}

func TestIntegers(t *testing.T) {
	b := newBuilder(0, 9)
	b.key("u8", kUint8).raw(200)
	b.key("i8", kInt8).raw(0xff)
	b.key("u16", kUint16).raw(1, 2)
	b.key("i16", kInt16).raw(0xff, 0x7f)
	b.key("i32", kInt32).u32(5)
	b.key("u64", kUint64).u64(1 << 33)
	b.key("i64", kInt64).u64(6)
	b.key("f64", kFloat64).u64(math.Float64bits(0.25))
	b.key("arr", kArray).u32(uint32(kInt64)).u64(2).u64(^uint64(0)).u64(3)
	f, err := Parse(b.b)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]uint32{"u8": 200, "u16": 513, "i16": 0x7fff, "i32": 5, "i64": 6} {
		if v, ok := f.Uint32(key); !ok || v != want {
			t.Errorf("Uint32(%s) = %d, %v; want %d", key, v, ok, want)
		}
	}
	for _, key := range []string{"i8", "u64", "f64", "arr"} {
		if v, ok := f.Uint32(key); ok {
			t.Errorf("Uint32(%s) = %d, want none", key, v)
		}
	}
	if v, ok := f.Float32("f64"); !ok || v != 0.25 {
		t.Errorf("Float32(f64) = %v, %v", v, ok)
	}
	if v, ok := f.Int32s("arr"); !ok || !reflect.DeepEqual(v, []int32{-1, 3}) {
		t.Errorf("Int32s = %v, %v", v, ok)
	}
}

func TestWriterRefuses(t *testing.T) {
	four := EncodeF32(make([]float32, 4))
	for name, add := range map[string]func(*Writer){
		"duplicate": func(w *Writer) {
			w.AddTensor("a", []uint64{4}, TypeF32, four)
			w.AddTensor("a", []uint64{4}, TypeF32, four)
		},
		"size":       func(w *Writer) { w.AddTensor("a", []uint64{5}, TypeF32, four) },
		"zero":       func(w *Writer) { w.AddTensor("a", []uint64{0}, TypeF32, nil) },
		"no shape":   func(w *Writer) { w.AddTensor("a", nil, TypeF32, four) },
		"block":      func(w *Writer) { w.AddTensor("a", []uint64{16, 2}, TypeQ8_0, make([]byte, 34)) },
		"name":       func(w *Writer) { w.AddTensor(strings.Repeat("n", 65), []uint64{4}, TypeF32, four) },
		"empty key":  func(w *Writer) { w.SetBool("", true) },
		"alignment":  func(w *Writer) { w.SetUint32(alignmentKey, 24) },
		"wrong type": func(w *Writer) { w.AddTensor("a", []uint64{4}, Type(77), four) },
	} {
		w := NewWriter()
		add(w)
		if _, err := w.Bytes(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWriterAlignment(t *testing.T) {
	w := NewWriter()
	w.SetUint32(alignmentKey, 256)
	w.AddTensor("a", []uint64{1}, TypeF32, EncodeF32([]float32{1}))
	w.AddTensor("b", []uint64{1}, TypeF32, EncodeF32([]float32{2}))
	data, err := w.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if len(data)%256 != 4 {
		t.Errorf("file has %d bytes", len(data))
	}
	f, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	var v [1]float32
	x, _ := f.Tensor("b")
	if err := x.Float32(v[:]); err != nil || v[0] != 2 {
		t.Errorf("b = %v, %v", v, err)
	}
}

func TestFloat16(t *testing.T) {
	// Every float16 survives a round trip through float32.
	for h := range 1 << 16 {
		v := decodeF16(uint16(h))
		if v != v {
			if e := encodeF16(v); e&0x7c00 != 0x7c00 || e&0x3ff == 0 {
				t.Fatalf("NaN %#04x became %#04x", h, e)
			}
			continue
		}
		if e := encodeF16(v); e != uint16(h) {
			t.Fatalf("%#04x = %v encodes as %#04x", h, v, e)
		}
	}
	// Halfway values go to the even neighbour, others to the nearest.
	for h := uint16(0); h < 0x7bff; h++ {
		lo, hi := float64(decodeF16(h)), float64(decodeF16(h+1))
		mid := float32((lo + hi) / 2)
		even := h + h&1
		if e := encodeF16(mid); e != even {
			t.Fatalf("midpoint %v encodes as %#04x, want %#04x", mid, e, even)
		}
		if e := encodeF16(math.Nextafter32(mid, 0)); e != h {
			t.Fatalf("below midpoint %v encodes as %#04x, want %#04x", mid, e, h)
		}
	}
	for v, want := range map[float32]uint16{65519: 0x7bff, 65520: 0x7c00, 1e30: 0x7c00, -65520: 0xfc00, 1e-30: 0} {
		if e := encodeF16(v); e != want {
			t.Errorf("%v encodes as %#04x, want %#04x", v, e, want)
		}
	}
}
