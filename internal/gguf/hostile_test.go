package gguf

import (
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"
)

// builder writes a file by hand, mistakes included.
type builder struct{ b []byte }

func newBuilder(tensors, keys uint64) *builder {
	b := &builder{b: []byte(magic)}
	return b.u32(3).u64(tensors).u64(keys)
}

func (b *builder) u32(v uint32) *builder {
	b.b = binary.LittleEndian.AppendUint32(b.b, v)
	return b
}

func (b *builder) u64(v uint64) *builder {
	b.b = binary.LittleEndian.AppendUint64(b.b, v)
	return b
}

func (b *builder) raw(v ...byte) *builder {
	b.b = append(b.b, v...)
	return b
}

func (b *builder) str(s string) *builder { return b.u64(uint64(len(s))).raw([]byte(s)...) }

func (b *builder) key(name string, k kind) *builder { return b.str(name).u32(uint32(k)) }

// tensor adds a table entry.
func (b *builder) tensor(name string, t Type, off uint64, shape ...uint64) *builder {
	b.str(name).u32(uint32(len(shape)))
	for _, d := range shape {
		b.u64(d)
	}
	return b.u32(uint32(t)).u64(off)
}

// data pads the header and adds n bytes of tensor data.
func (b *builder) data(n int) *builder {
	for len(b.b)%defAlignment != 0 {
		b.raw(0)
	}
	return b.raw(make([]byte, n)...)
}

func TestRefused(t *testing.T) {
	const huge = 1 << 62
	one := func() *builder { return newBuilder(1, 0) }
	key := func() *builder { return newBuilder(0, 1) }
	for _, c := range []struct {
		name string
		b    *builder
		want string // in the error
	}{
		{"empty", &builder{}, "magic: needs 4 bytes, 0 left (at byte 0x0)"},
		{"magic", (&builder{}).raw([]byte("GGML....")...), `magic: "GGML"`},
		{"version 1", (&builder{}).raw([]byte(magic)...).u32(1).u64(0).u64(0), "version: 1 is not supported"},
		{"version 4", (&builder{}).raw([]byte(magic)...).u32(4).u64(0).u64(0), "version: 4 is not supported"},
		{"big-endian", (&builder{}).raw([]byte(magic)...).u32(3 << 24), "big-endian"},
		{"many tensors", newBuilder(huge, 0), "tensor count: 4611686018427387904 is over the limit"},
		{"more tensors than bytes", newBuilder(60000, 0), "tensor count: 60000 cannot fit"},
		{"many keys", newBuilder(0, huge), "key count"},
		{"more keys than bytes", newBuilder(0, 60000), "key count: 60000 cannot fit"},
		{"long key", key().u64(1 << 20).data(64), "key 0: string of 1048576 bytes"},
		{"key past end", key().u64(500).data(64), "key 0: needs 500 bytes"},
		{"empty key", key().key("", kBool).raw(1, 0), `key 0 "": empty name`},
		{"duplicate key", newBuilder(0, 2).key("a", kUint8).raw(1).key("a", kUint8).raw(1, 0, 0), `key 1 "a": duplicate`},
		{"value type", key().key("a", kEnd).data(9), `key 0 "a": unknown value type 13`},
		{"element type", key().key("a", kArray).u32(99).u64(0), `key 0 "a": unknown element type 99`},
		{"bool", key().key("a", kBool).raw(2), `key 0 "a": bool has value 2`},
		{"bool in array", key().key("a", kArray).u32(uint32(kBool)).u64(3).raw(1, 0, 3), "bool has value 3"},
		{"string past end", key().key("a", kString).u64(huge), `key 0 "a": string of 4611686018427387904`},
		{"array past end", key().key("a", kArray).u32(uint32(kUint64)).u64(4).data(16), "array length: 4 cannot fit"},
		{"array wraps", key().key("a", kArray).u32(uint32(kUint64)).u64(1 << 61).data(64), "over the limit"},
		{"strings past end", key().key("a", kArray).u32(uint32(kString)).u64(2).str("x").u64(9), "string of 9"},
		{"nested", key().key("a", kArray).nest(5), "nested deeper"},
		{"alignment type", key().key(alignmentKey, kString).str("32"), `key 0 "general.alignment": "32" is not`},
		{"alignment value", key().key(alignmentKey, kUint32).u32(48), "48 is not a power of two"},
		{"alignment zero", key().key(alignmentKey, kUint32).u32(0), "0 is not a power of two"},
		{"alignment huge", key().key(alignmentKey, kUint32).u32(1 << 31), "is not a power of two"},
		{"tensor name", one().tensor("", TypeF32, 0, 1).data(4), "empty name"},
		{"long tensor name", one().tensor(strings.Repeat("n", 65), TypeF32, 0, 1).data(4), "string of 65 bytes, limit 64"},
		{"duplicate tensor", newBuilder(2, 0).tensor("a", TypeF32, 0, 1).tensor("a", TypeF32, 32, 1).data(64), `tensor 1 "a": duplicate`},
		{"no dimensions", one().tensor("a", TypeF32, 0).data(4), "0 dimensions"},
		{"five dimensions", one().tensor("a", TypeF32, 0, 1, 1, 1, 1, 1).data(4), "5 dimensions"},
		{"zero dimension", one().tensor("a", TypeF32, 0, 4, 0).data(4), "dimension 1 is zero"},
		{"shape wraps", one().tensor("a", TypeF32, 0, 1<<32, 1<<32).data(4), "too many elements"},
		{"shape wraps to 4", one().tensor("a", TypeF32, 0, 1<<62+1, 4).data(4), "too many elements"},
		{"tensor type", one().tensor("a", Type(4), 0, 1).data(4), "unknown tensor type 4"},
		{"half a block", one().tensor("a", TypeQ8_0, 0, 48).data(64), "not whole Q8_0 blocks"},
		{"unaligned", one().tensor("a", TypeF32, 4, 1).data(64), "not aligned to 32"},
		{"past end", newBuilder(4, 0).tensor("x", TypeF32, 0, 1).tensor("y", TypeF32, 32, 1).tensor("z", TypeF32, 64, 1).
			tensor("blk.0.attn_q.weight", TypeF32, 96, 9).data(128),
			`gguf: tensor 3 "blk.0.attn_q.weight": offset 0x60 + size 36 past end of file`},
		{"offset past end", one().tensor("a", TypeF32, huge, 1).data(64), "past end of file"},
		{"no data", one().tensor("a", TypeF32, 0, 1), "past end of file"},
		{"overlap", newBuilder(2, 0).tensor("a", TypeF32, 0, 9).tensor("b", TypeF32, 32, 1).data(64),
			`tensor 1 "b": data overlaps that of tensor 0 "a"`},
		{"same place", newBuilder(2, 0).tensor("a", TypeF32, 0, 1).tensor("b", TypeF32, 0, 1).data(64), "data overlaps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.b.b)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("err = %v, want %q", err, c.want)
			}
		})
	}
}

// nest writes arrays of arrays of one element, n deep.
func (b *builder) nest(n int) *builder {
	for range n {
		b.u32(uint32(kArray)).u64(1)
	}
	return b.u32(uint32(kUint8)).u64(1).raw(0)
}

func TestNestedArrays(t *testing.T) {
	f, err := Parse(newBuilder(0, 1).key("a", kArray).nest(maxNesting - 1).b)
	if err != nil {
		t.Fatal(err)
	}
	if kv := f.Keys()[0]; kv.Type != "array of array" || kv.Value != "1: [...]" {
		t.Errorf("listing %+v", kv)
	}
}

// A refusal of a count must come before memory is set aside for it.
func TestHostileCountsAllocateLittle(t *testing.T) {
	for _, b := range []*builder{
		newBuilder(1<<16, 0), newBuilder(0, 1<<16),
		newBuilder(0, 1).key("a", kArray).u32(uint32(kString)).u64(1 << 40),
		newBuilder(0, 1).key("a", kString).u64(1 << 40),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			if _, err := Parse(b.b); err == nil {
				t.Fatal("no error")
			}
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / 100; n > 4096 {
			t.Errorf("%d bytes allocated to refuse %d bytes", n, len(b.b))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte(magic))
	f.Add(newBuilder(0, 0).b)
	f.Add(newBuilder(0, 1).key("a", kArray).nest(3).b)
	f.Add(newBuilder(2, 1).key(alignmentKey, kUint32).u32(64).tensor("a", TypeF32, 0, 2, 2).tensor("b", TypeQ8_0, 64, 32).data(256).b)
	f.Add(newBuilder(1, 0).tensor("a", TypeF32, 1<<63, 1<<40).b)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > int64(len(data)) {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		readAll(file)
	})
}
