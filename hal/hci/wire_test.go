package hci

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

func random(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

func TestEntriesRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var in, out [64]byte
	for range 1000 {
		random(r, in[:])
		var e, direct SQE
		e.Decode(&in)
		if e.Encode(&out); out != in {
			t.Fatal("SQE changed")
		}
		if err := Unmarshal(in[:], &direct); err != nil || direct != e {
			t.Fatalf("SQE: Decode and Unmarshal differ (%v)", err)
		}
		var rec, recDirect Record
		rec.Decode(&in)
		if rec.Encode(&out); out != in {
			t.Fatal("record changed")
		}
		if err := Unmarshal(in[:], &recDirect); err != nil || recDirect != rec {
			t.Fatalf("record: Decode and Unmarshal differ (%v)", err)
		}
		if tail := binary.LittleEndian.Uint64(in[56:]); rec.Tail() != tail {
			t.Fatalf("tail %#x, bytes 56..63 are %#x", rec.Tail(), tail)
		}
	}
	for _, w := range wire { // random bytes, so zero padding is not what makes them equal
		b := make([]byte, w.size)
		random(r, b)
		v := reflect.New(reflect.TypeOf(w.value))
		if err := Unmarshal(b, v.Interface()); err != nil {
			t.Fatal(err)
		}
		again := reflect.New(reflect.TypeOf(w.value))
		if err := Unmarshal(Marshal(v.Interface()), again.Interface()); err != nil || !bytes.Equal(Marshal(v.Interface()), Marshal(again.Interface())) {
			t.Errorf("%T does not survive (%v)", w.value, err)
		}
		if err := Unmarshal(b[:w.size-1], again.Interface()); err == nil {
			t.Errorf("%T from %d bytes", w.value, w.size-1)
		}
	}
}

func TestCQECode(t *testing.T) {
	for _, s := range Statuses {
		for phase := range uint16(2) {
			c := CQE{Status: uint16(s.Code.Field())<<1 | phase}
			if c.Code() != s.Code || s.Code.DNR() != s.DNR || s.Code.Field()&StatusDNR != 0 != s.DNR {
				t.Errorf("%v: code %v, field %#x", s.Code, c.Code(), s.Code.Field())
			}
		}
		if s.Code.String() != s.Name || s.Code.Field().String() != s.Name {
			t.Errorf("%#x prints as %s", uint16(s.Code), s.Code)
		}
	}
	unknown := Status(5<<8 | 0x77)
	if unknown.String() != "SCT 5 SC 0x77" || unknown.DNR() || !(unknown | StatusDNR).DNR() || (unknown|StatusDNR).Field() != unknown|StatusDNR {
		t.Errorf("unknown status: %v, DNR %v", unknown, unknown.DNR())
	}
}

// Put changes the bits of its field and no other, in wire bytes.
func TestCommandFields(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, f := range append(append([]CommandField{}, AdminFields...), IOFields...) {
		width := int(f.Hi-f.Lo) + 1
		mask := ^uint64(0) >> (64 - width)
		for range 50 {
			var before, after [SQESize]byte
			random(r, before[:])
			var e SQE
			e.Decode(&before)
			v := r.Uint64()
			e.Put(f, v)
			e.Encode(&after)
			if got := e.Get(f); got != v&mask {
				t.Fatalf("%s.%s: put %#x, got %#x", f.Command, f.Name, v&mask, got)
			}
			for bit := range SQESize * 8 {
				first := int(f.Offset)*8 + int(f.Lo)
				inside := bit >= first && bit < first+width
				b, a := before[bit/8]>>(bit%8)&1, after[bit/8]>>(bit%8)&1
				if inside && a != byte(v>>(bit-first)&1) || !inside && a != b {
					t.Fatalf("%s.%s: bit %d is %d, was %d", f.Command, f.Name, bit, a, b)
				}
			}
		}
	}
}

func TestRegisterFields(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, f := range RegisterFields {
		for range 50 {
			w, v := r.Uint64(), r.Uint64()
			got := f.Bits.Put(w, v)
			mask := ^uint64(0) >> (63 - (f.Bits.Hi - f.Bits.Lo)) << f.Bits.Lo
			if f.Bits.Get(got) != v&(mask>>f.Bits.Lo) || (got^w)&^mask != 0 {
				t.Fatalf("%s.%s: %#x into %#x gave %#x", f.Register, f.Name, v, w, got)
			}
		}
	}
}

// ReservedSet accepts what the tables name and refuses each other bit.
func TestReservedSet(t *testing.T) {
	for _, admin := range []bool{true, false} {
		ops, fields := IOOpcodes, IOFields
		if admin {
			ops, fields = AdminOpcodes, AdminFields
		}
		for _, o := range ops {
			// Bits in use by sections 7, 9 and 11, worked out on their own.
			var used [SQESize * 8]bool
			span := func(from, to int) {
				for i := from; i <= to; i++ {
					used[i] = true
				}
			}
			span(0, 7)   // OPC
			span(16, 31) // CID
			if !admin && o.Name != "OPEN" {
				span(32, 63) // SID: every I/O command but OPEN names a session
			}
			for _, f := range fields {
				if f.Command == o.Name {
					span(int(f.Offset)*8+int(f.Lo), int(f.Offset)*8+int(f.Hi))
				}
			}
			for _, p := range pointers[o.Name] {
				span(p*8, p*8+63)
			}
			for bit := 8; bit < SQESize*8; bit++ {
				var b [SQESize]byte
				b[0] = o.Code
				b[bit/8] |= 1 << (bit % 8)
				var e SQE
				e.Decode(&b)
				off, ok := ReservedSet(&e, admin)
				if ok != used[bit] || !ok && off != bit/8 {
					t.Errorf("%s: bit %d of byte %#x: offset %#x, ok %v", o.Name, bit%8, bit/8, off, ok)
				}
			}
		}
	}
	if !t.Failed() { // several at once: the first is named
		e := SQE{OPC: AdminIdentify, DW2: 1, CDW: [6]uint32{0, 0, 0, 0, 0, 1}}
		if off, ok := ReservedSet(&e, true); ok || off != SQEOffDW2 {
			t.Errorf("offset %#x, ok %v", off, ok)
		}
	}
}

// The whole pointers are those that the document's "PRP1 =" and "PRP2 =" name.
func TestPointers(t *testing.T) {
	for _, o := range AdminOpcodes {
		for name, off := range map[string]int{"PRP1": SQEOffPRP1, "PRP2": SQEOffPRP2} {
			has := false
			for _, p := range pointers[o.Name] {
				has = has || p == off
			}
			if says := bytes.Contains([]byte(o.Meaning), []byte(name+" =")); says && !has {
				t.Errorf("%s uses %s, the code does not", o.Name, name)
			}
		}
	}
	known := map[string]bool{}
	for _, o := range AdminOpcodes {
		known[o.Name] = true
	}
	for name := range pointers {
		if !known[name] {
			t.Errorf("%s is no command", name)
		}
	}
}

func TestCRCVectors(t *testing.T) {
	check := []byte("123456789")
	if v := CRC32C(check); v != 0xE3069283 {
		t.Errorf("CRC32C %#x", v)
	}
	if v := CRC16(check); v != 0xD0DB {
		t.Errorf("CRC-16 %#x", v)
	}
	if CRC32C(nil) != 0 || CRC16(nil) != 0 {
		t.Error("CRC of nothing")
	}
}

// slowCRC16 is the polynomial division, bit by bit.
func slowCRC16(b []byte) uint16 {
	c := uint16(0)
	for _, x := range b {
		for bit := 7; bit >= 0; bit-- {
			top := c>>15 != uint16(x>>bit&1)
			c <<= 1
			if top {
				c ^= 0x8BB7
			}
		}
	}
	return c
}

func TestRecordSum(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for range 5000 {
		var b [RecordSize]byte
		random(r, b[:])
		part := append(append([]byte{}, b[:58]...), b[60:]...)
		want := slowCRC16(part)
		var rec Record
		rec.Decode(&b)
		if got := rec.Sum(); got != want || CRC16(part) != want {
			t.Fatalf("sum %#x, CRC16 %#x, bytewise %#x", got, CRC16(part), want)
		}
		rec.CRC ^= 0xFFFF
		if rec.Sum() != want {
			t.Fatal("the CRC counts itself")
		}
	}
	// Every single bit matters, and every burst of 16.
	var b [RecordSize]byte
	random(r, b[:])
	var base Record
	base.Decode(&b)
	for bit := range RecordSize * 8 {
		if bit/8 == RecOffCRC || bit/8 == RecOffCRC+1 {
			continue
		}
		c := b
		c[bit/8] ^= 1 << (bit % 8)
		var rec Record
		rec.Decode(&c)
		if rec.Sum() == base.Sum() {
			t.Errorf("bit %d does not matter", bit)
		}
	}
}

func TestLogProbs(t *testing.T) {
	var rec Record
	for i := range MaxCandidates {
		rec.SetLogProb(i, uint16(0x1111*(i+1)))
	}
	var b [RecordSize]byte
	rec.Encode(&b)
	for i := range MaxCandidates {
		if got := binary.LittleEndian.Uint16(b[0x28+2*i:]); got != uint16(0x1111*(i+1)) || rec.LogProb(i) != got {
			t.Errorf("candidate %d: %#x in memory, %#x read", i, got, rec.LogProb(i))
		}
	}
	rec.SetLogProb(3, 0)
	if rec.LogProb(2) != 0x3333 || rec.LogProb(3) != 0 || rec.LogProb(4) != 0x5555 {
		t.Error("a neighbour changed")
	}
}

// value is an f16 from its definition.
func value(h uint16) float64 {
	sign := 1.0
	if h&0x8000 != 0 {
		sign = -1
	}
	e, m := int(h>>10&31), float64(h&0x3FF)
	switch e {
	case 0:
		return sign * math.Ldexp(m, -24)
	case 31:
		if m != 0 {
			return math.NaN()
		}
		return sign * math.Inf(1)
	}
	return sign * math.Ldexp(1024+m, e-25)
}

func TestFloat16(t *testing.T) {
	for h := range uint32(1 << 16) {
		h := uint16(h)
		f, want := Float32(h), value(h)
		if float64(f) != want && !(f != f && want != want) || math.Signbit(float64(f)) != (h&0x8000 != 0) {
			t.Fatalf("%#04x widens to %g, is %g", h, f, want)
		}
		back := Float16(f)
		switch {
		case f != f:
			if back&0x7FFF <= 0x7C00 {
				t.Fatalf("%#04x: a NaN became %#04x", h, back)
			}
		case math.IsInf(float64(f), 0): // section 15.3: the range saturates
			if back != h&0x8000|0x7BFF {
				t.Fatalf("%g became %#04x", f, back)
			}
		case back != h:
			t.Fatalf("%#04x came back as %#04x", h, back)
		}
		if h&0x7FFF >= 0x7BFF {
			continue
		}
		// Halfway to the next value, and a float32 to either side of it.
		next := value(h + 1)
		mid := float32((want + next) / 2)
		even := h + h&1
		away, toward := float32(math.Inf(1)), float32(0)
		if h&0x8000 != 0 {
			away = float32(math.Inf(-1))
		}
		for _, c := range []struct {
			f    float32
			want uint16
		}{{mid, even}, {math.Nextafter32(mid, away), h + 1}, {math.Nextafter32(mid, toward), h}} {
			if got := Float16(c.f); got != c.want {
				t.Fatalf("%g, beside or at the middle of %#04x and its successor, became %#04x, want %#04x", c.f, h, got, c.want)
			}
		}
	}
	for f, want := range map[float32]uint16{-65504: 0xFBFF, -65519.996: 0xFBFF, -65520: 0xFBFF, -1e30: 0xFBFF, 65520: 0x7BFF, float32(math.Inf(-1)): 0xFBFF, 1e-40: 0, -1e-40: 0x8000} {
		if got := Float16(f); got != want {
			t.Errorf("%g became %#04x, want %#04x", f, got, want)
		}
	}
}

// goodPage is a capability page of an ordinary card.
func goodPage() Capabilities {
	return Capabilities{VER: Version, Vocab: 128256, Context: 6144, KVBudget: 12288, Sessions: 16, Candidates: 8, MaxStop: 16, Block: 1,
		RingMin: 6, RingMax: 12, NStop: 2, TokenNS: 58960, PrefillNS: 58960, Chunk: 32, Depth: 8}
}

func encodePage(c Capabilities) []byte {
	b := Marshal(&c)
	binary.LittleEndian.PutUint32(b[CapsOffCRC:], CRC32C(b[:CapsOffCRC]))
	return b
}

func TestDecodeCapabilities(t *testing.T) {
	good := encodePage(goodPage())
	if c, err := DecodeCapabilities(good); err != nil || c.Vocab != 128256 {
		t.Fatalf("%+v, %v", c.Vocab, err)
	}
	minor := goodPage()
	minor.VER, minor.Features = 1<<16|1<<8, 1<<31 // a newer minor: unknown bits are no fault (section 25)
	if _, err := DecodeCapabilities(encodePage(minor)); err != nil {
		t.Error(err)
	}
	for name, edit := range map[string]func(*Capabilities){
		"major 2":        func(c *Capabilities) { c.VER = 2 << 16 },
		"major 0":        func(c *Capabilities) { c.VER = 0 },
		"vocabulary 1":   func(c *Capabilities) { c.Vocab = 1 },
		"vocabulary big": func(c *Capabilities) { c.Vocab = MaxVocab + 1 },
		"no context":     func(c *Capabilities) { c.Context = 0 },
		"no budget":      func(c *Capabilities) { c.KVBudget = 0 },
		"budget":         func(c *Capabilities) { c.KVBudget = math.MaxUint32 },
		"no sessions":    func(c *Capabilities) { c.Sessions = 0 },
		"sessions":       func(c *Capabilities) { c.Sessions = 65535 },
		"candidates 0":   func(c *Capabilities) { c.Candidates = 0 },
		"candidates 9":   func(c *Capabilities) { c.Candidates = 9 },
		"stop ids":       func(c *Capabilities) { c.MaxStop = 17 },
		"block 0":        func(c *Capabilities) { c.Block = 0 },
		"ring order":     func(c *Capabilities) { c.RingMin, c.RingMax = 9, 8 },
		"ring 0":         func(c *Capabilities) { c.RingMin = 0 },
		"ring huge":      func(c *Capabilities) { c.RingMax = 255 },
		"own stops":      func(c *Capabilities) { c.NStop = 17 },
		"no time":        func(c *Capabilities) { c.TokenNS = 0 },
		"prefill time":   func(c *Capabilities) { c.PrefillNS = math.MaxUint32 },
		"chunk":          func(c *Capabilities) { c.Chunk = 0 },
		"depth 0":        func(c *Capabilities) { c.Depth = 0 },
		"depth":          func(c *Capabilities) { c.Depth = 255 },
	} {
		c := goodPage()
		edit(&c)
		if _, err := DecodeCapabilities(encodePage(c)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, err := DecodeCapabilities(bad); err == nil {
			t.Fatalf("byte %d may be anything", i)
		}
	}
	ones := bytes.Repeat([]byte{0xFF}, CapsSize) // what a lost card reads as
	for name, b := range map[string][]byte{"short": good[:CapsSize-1], "none": nil, "zeros": make([]byte, CapsSize), "ones": ones} {
		if _, err := DecodeCapabilities(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDecodeHealth(t *testing.T) {
	in := Health{UptimeNS: 1, Tokens: 2, EnergyMJ: 3, PowerMW: 4, Temp: -5, ClockMHz: 6, State: 1, Throttle: 2, Open: 7, Runnable: 8,
		Errors: 9, Late: 10, KVUsed: 11, RGEN: 12, Sequence: 13}
	b := in.Encode()
	out, err := DecodeHealth(&b)
	in.CRC = out.CRC
	if err != nil || out != in {
		t.Fatalf("%+v, %v", out, err)
	}
	for bit := range len(b) * 8 {
		bad := b
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := DecodeHealth(&bad); err == nil {
			t.Errorf("bit %d may be anything", bit)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{"HC1\x00junk": "HC1", "pad   ": "pad", "": "", "\x1b[2J\nx": "?[2J?x", "caf\xc3\xa9": "caf??", "   ": "", "\x00": "", "a\x7f": "a?"} {
		if got := Text([]byte(in)); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var b [RecordSize]byte
	var rec Record
	var e SQE
	sum := uint16(0)
	for name, f := range map[string]func(){
		"Record.Decode": func() { rec.Decode(&b) }, "Record.Encode": func() { rec.Encode(&b) }, "Record.Sum": func() { sum ^= rec.Sum() },
		"SQE.Encode": func() { e.Encode(&b) }, "SQE.Put": func() { e.Put(GenerateTopK, 3) }, "SQE.Get": func() { e.Get(GenerateTopK) },
		"Float16": func() { sum ^= Float16(-1.5) },
	} {
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func FuzzDecodeCapabilities(f *testing.F) {
	f.Add(encodePage(goodPage()), true)
	f.Add([]byte{}, false)
	f.Add(bytes.Repeat([]byte{0xFF}, CapsSize), true)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal && len(b) >= CapsSize { // past the CRC, to the values
			binary.LittleEndian.PutUint32(b[CapsOffCRC:], CRC32C(b[:CapsOffCRC]))
		}
		c, err := DecodeCapabilities(b)
		if err != nil {
			return
		}
		if c.Check() != nil || c.Vocab < 2 || c.Vocab > MaxVocab || c.NStop > MaxStopIDs || c.RingMax > 20 || c.RingMin > c.RingMax {
			t.Errorf("accepted %+v", c)
		}
		for _, s := range [][]byte{c.SN[:], c.MN[:], c.FR[:], c.Silicon[:], c.ModelName[:]} {
			for _, r := range Text(s) {
				if r < 0x20 || r > 0x7E {
					t.Errorf("%q is printed", r)
				}
			}
		}
	})
}

func FuzzDecodeHealth(f *testing.F) {
	h := Health{Sequence: 1}
	b := h.Encode()
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b [HealthSize]byte
		copy(b[:], raw)
		h, err := DecodeHealth(&b)
		part := append(append([]byte{}, b[:58]...), b[60:]...)
		if ok := slowCRC16(part) == binary.LittleEndian.Uint16(b[58:]); ok != (err == nil) {
			t.Fatalf("CRC right: %v, error %v", ok, err)
		}
		if err == nil && h.Sequence != binary.LittleEndian.Uint32(b[60:]) {
			t.Fatal("sequence")
		}
	})
}

func FuzzSQE(f *testing.F) {
	f.Add(make([]byte, SQESize), true)
	f.Fuzz(func(t *testing.T, raw []byte, admin bool) {
		var in, out [SQESize]byte
		copy(in[:], raw)
		var e SQE
		e.Decode(&in)
		if e.Encode(&out); out != in {
			t.Fatal("SQE changed")
		}
		if off, ok := ReservedSet(&e, admin); !ok && (off < 0 || off >= SQESize || in[off] == 0) {
			t.Fatalf("byte %d is named reserved", off)
		}
	})
}

func BenchmarkRecordSum(b *testing.B) {
	rec := Record{Position: 7, Count: 1, Sequence: 9}
	for b.Loop() {
		rec.Sequence++
		rec.CRC = rec.Sum()
	}
}
