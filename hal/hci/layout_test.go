package hci

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// Every wire structure has the size and the offsets of the document. A Go
// field stands for the document's name without its underscores.
func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		table, section string
		v              any
		size           int
		skip           string // members that are parts of a Go array, or outside the struct
	}{
		{"sqe", "7", SQE{}, SQESize, "CDW10 CDW11 CDW12 CDW13 CDW14 CDW15"},
		{"cqe", "7", CQE{}, CQESize, ""},
		{"caps", "10", Capabilities{}, CapsSize, ""},
		{"record", "12", Record{}, RecordSize, "IDS"},
		{"params", "15", Params{}, ParamsSize, ""},
		{"health", "17.1", Health{}, HealthSize, ""},
		{"logerror", "17.2", ErrorEntry{}, 64, ""},
		{"logfirmware", "17.2", FirmwareLog{}, 512, "FR0 FR1 FR2"},
		{"logselftest", "17.2", SelfTestLog{}, 64, ""},
		{"logtelemetry", "17.2", Telemetry{}, 256, ""},
		{"logsession", "17.2", SessionEntry{}, 64, ""},
		{"logevent", "17.2", EventEntry{}, 32, ""},
	} {
		typ := reflect.TypeOf(c.v)
		if n := int(typ.Size()); n != c.size || binary.Size(c.v) != c.size {
			t.Errorf("section %s: %s has %d bytes in memory, %d on the wire, want %d", c.section, typ.Name(), n, binary.Size(c.v), c.size)
		}
		fields := map[string]reflect.StructField{}
		for i := range typ.NumField() {
			f := typ.Field(i)
			fields[strings.ToUpper(f.Name)] = f
		}
		for _, m := range Layouts[c.table] {
			if strings.Contains(c.skip, m.Name) {
				continue
			}
			f, ok := fields[strings.ReplaceAll(m.Name, "_", "")]
			if !ok {
				t.Errorf("section %s: %s has no field for %s", c.section, typ.Name(), m.Name)
				continue
			}
			if int(f.Offset) != m.Offset || int(f.Type.Size()) != m.Size {
				t.Errorf("section %s: %s.%s is %d bytes at %#x, the document has %d at %#x",
					c.section, typ.Name(), f.Name, f.Type.Size(), f.Offset, m.Size, m.Offset)
			}
		}
	}
}

// Put changes the bits of its field and no others; Get reads them back.
func TestCommandFields(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, f := range append(append([]CommandField(nil), AdminFields...), IOFields...) {
		for range 20 {
			var raw [SQESize]byte
			for i := range raw {
				raw[i] = byte(rng.Uint32())
			}
			var e SQE
			e.Decode(&raw)
			v := rng.Uint64()
			e.Put(f, v)
			width := f.Hi - f.Lo + 1
			if want := v & (^uint64(0) >> (64 - width)); e.Get(f) != want {
				t.Fatalf("%s.%s: put %#x, got %#x", f.Command, f.Name, want, e.Get(f))
			}
			var after [SQESize]byte
			e.Encode(&after)
			for bit := range SQESize * 8 {
				at := bit - int(f.Offset)*8
				inside := at >= int(f.Lo) && at <= int(f.Hi)
				if !inside && (raw[bit/8]^after[bit/8])>>(bit%8)&1 != 0 {
					t.Fatalf("%s.%s: bit %d outside the field changed", f.Command, f.Name, bit)
				}
			}
		}
	}
}

// Reserved bits (section 1) are found, and fields in use are not taken for
// reserved ones.
func TestReservedSet(t *testing.T) {
	for _, admin := range []bool{false, true} {
		ops, fields := IOOpcodes, IOFields
		if admin {
			ops, fields = AdminOpcodes, AdminFields
		}
		for _, o := range ops {
			e := SQE{OPC: o.Code, CID: 0xFFFF}
			for _, f := range fields {
				if f.Command == o.Name {
					e.Put(f, math.MaxUint64)
				}
			}
			if off, ok := ReservedSet(&e, admin); !ok {
				t.Errorf("%s: byte %#x of its own fields is taken for reserved", o.Name, off)
			}
			e.Flags = 1
			if off, ok := ReservedSet(&e, admin); ok || off != SQEOffFlags {
				t.Errorf("%s: FLAGS not found: %#x", o.Name, off)
			}
		}
	}
	if off, ok := ReservedSet(&SQE{OPC: OpClose, PRP1: 1 << 40}, false); ok || off != SQEOffPRP1+5 {
		t.Errorf("PRP1 of CLOSE: %#x", off)
	}
}

// Section 24.
func TestCRCs(t *testing.T) {
	check := []byte("123456789")
	if v := CRC32C(check); v != 0xE3069283 {
		t.Errorf("CRC32C %#x", v)
	}
	if v := CRC16(check); v != 0xD0DB {
		t.Errorf("CRC-16 %#x", v)
	}
	// Bit by bit, from the polynomial.
	slow := func(b []byte) (c uint16) {
		for _, x := range b {
			c ^= uint16(x) << 8
			for range 8 {
				carry := c>>15 != 0
				if c <<= 1; carry {
					c ^= 0x8BB7
				}
			}
		}
		return c
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		var b [RecordSize]byte
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		var r Record
		r.Decode(&b)
		covered := append(bytes.Clone(b[:58]), b[60:]...)
		if r.Sum() != slow(covered) || r.Sum() != CRC16(covered) {
			t.Fatal("Record.Sum is not the CRC-16 of bytes 0..57 and 60..63")
		}
		var back [RecordSize]byte
		if r.Encode(&back); back != b {
			t.Fatal("a record does not survive decoding and encoding")
		}
	}
	var r Record
	if n := testing.AllocsPerRun(100, func() { r.CRC = r.Sum() }); n != 0 {
		t.Errorf("%v allocations per CRC", n)
	}
}

// Every f16 widens and rounds back to itself; halfway cases go to even.
func TestFloat16(t *testing.T) {
	for h := range 1 << 16 {
		f := Float32(uint16(h))
		if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
			continue
		}
		if back := Float16(f); back != uint16(h) {
			t.Fatalf("%#04x widens to %v and rounds to %#04x", h, f, back)
		}
	}
	for h := uint16(0); h < 0x7BFF; h++ { // between each value and the next
		lo, hi := float64(Float32(h)), float64(Float32(h+1))
		even := h
		if h&1 != 0 {
			even = h + 1
		}
		mid := float32((lo + hi) / 2)
		if got := Float16(mid); got != even {
			t.Fatalf("%v, halfway, rounds to %#04x, want %#04x", mid, got, even)
		}
		if got := Float16(math.Nextafter32(mid, float32(hi))); got != h+1 {
			t.Fatalf("above halfway after %#04x rounds to %#04x", h, got)
		}
		if got := Float16(-math.Nextafter32(mid, float32(lo))); got != h|0x8000 {
			t.Fatalf("below halfway after %#04x rounds to %#04x", h, got)
		}
	}
	for f, want := range map[float32]uint16{float32(math.Inf(-1)): 0xFBFF, -1e9: 0xFBFF, 0: 0, -1: 0xBC00} {
		if got := Float16(f); got != want {
			t.Errorf("%v is %#04x, want %#04x", f, got, want)
		}
	}
}

func goodCaps() []byte {
	c := Capabilities{VER: Version, Vocab: 100, Context: 64, KVBudget: 128, Sessions: 4, Candidates: 8, MaxStop: 16, Block: 1,
		RingMin: 4, RingMax: 12, TokenNS: 58960, PrefillNS: 58960, Chunk: 32, Depth: 4}
	b := Marshal(&c)
	binary.LittleEndian.PutUint32(b[CapsOffCRC:], CRC32C(b[:CapsOffCRC]))
	return b
}

// A capability page is believed only whole and within what section 10 allows.
func TestDecodeCapabilities(t *testing.T) {
	if _, err := DecodeCapabilities(goodCaps()); err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeCapabilities(goodCaps()[:4000]); err == nil {
		t.Error("a short page was taken")
	}
	b := goodCaps()
	b[CapsOffVocab]++
	if _, err := DecodeCapabilities(b); err == nil {
		t.Error("a page with a wrong CRC was taken")
	}
	for name, off := range map[string]int{"VOCAB": CapsOffVocab, "CONTEXT": CapsOffContext, "SESSIONS": CapsOffSessions, "CANDIDATES": CapsOffCandidates,
		"RING_MAX": CapsOffRingMax, "CHUNK": CapsOffChunk, "DEPTH": CapsOffDepth} {
		b := goodCaps()
		clear(b[off : off+1])
		if name == "VOCAB" {
			binary.LittleEndian.PutUint32(b[off:], MaxVocab+1)
		}
		binary.LittleEndian.PutUint32(b[CapsOffCRC:], CRC32C(b[:CapsOffCRC]))
		if _, err := DecodeCapabilities(b); err == nil || !strings.Contains(err.Error(), name) && name != "RING_MAX" {
			t.Errorf("%s out of range: %v", name, err)
		}
	}
}

func TestHealth(t *testing.T) {
	h := Health{UptimeNS: 5, PowerMW: 45000, Temp: -17, Sequence: 9, RGEN: 3}
	b := h.Encode()
	got, err := DecodeHealth(&b)
	h.CRC = got.CRC
	if err != nil || got != h {
		t.Errorf("%+v, %v", got, err)
	}
	b[3] ^= 1
	if _, err := DecodeHealth(&b); err == nil {
		t.Error("a damaged record was taken")
	}
}

func TestTextIsSafe(t *testing.T) {
	for in, want := range map[string]string{"abc\x00def": "abc", "a\x1b[31mb  ": "a?[31mb", "\xff\x7f": "??", "": ""} {
		if got := Text([]byte(in)); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(goodCaps())
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := DecodeCapabilities(b); err == nil && c.Check() != nil {
			t.Error("a page that does not pass its check was taken")
		}
		var h [HealthSize]byte
		copy(h[:], b)
		if _, err := DecodeHealth(&h); err == nil {
			var r Record
			if r.Decode(&h); r.Sum() != r.CRC {
				t.Error("a health record with a wrong CRC was taken")
			}
		}
		for _, c := range Text(b) {
			if c < 0x20 || c > 0x7E {
				t.Errorf("Text let %#x through", c)
			}
		}
	})
}
