package iommu

import (
	"bytes"
	"errors"
	"testing"
)

func TestIOMMU(t *testing.T) {
	var m Table
	r, w := alignedPage(2*4096), alignedPage(4096)
	for _, c := range []struct {
		x  Mapping
		ok bool
	}{
		{Mapping{IOVA: 0x10000, Bytes: r, Read: true}, true},
		{Mapping{IOVA: 0x12000, Bytes: w, Write: true}, true},
		{Mapping{IOVA: 0x11000, Bytes: w}, false},
		{Mapping{IOVA: 0xF000, Bytes: r}, false},
		{Mapping{IOVA: 0x20001, Bytes: w}, false},
		{Mapping{IOVA: 0x20000, Bytes: w[:100]}, false},
		{Mapping{IOVA: 0x20000}, false},
		{Mapping{IOVA: ^uint64(0) &^ 4095, Bytes: r}, false},
	} {
		if err := m.Map(c.x); (err == nil) != c.ok {
			t.Errorf("%#x: %v", c.x.IOVA, err)
		}
	}
	why := func(err error) Reason {
		var f *Fault
		if !errors.As(err, &f) {
			return ""
		}
		return f.Why
	}
	b := make([]byte, 8192)
	copy(r, "hello")
	if err := m.Read(0x10000, b); err != nil || !bytes.HasPrefix(b, []byte("hello")) {
		t.Error(err)
	}
	for _, c := range []struct {
		err  error
		want Reason
	}{
		{m.Read(0x10001, b), Direction}, // runs into W
		{m.Write(0x10000, b[:1]), Direction},
		{m.Write(0x12FFF, b[:2]), Unmapped},
		{m.Read(0xFFFF, b[:1]), Unmapped},
		{m.Read(0x12000, b[:1]), Direction},
		{m.Store32(0x12002, 1), Unmapped}, // not aligned
		{m.Store64(0x12004, 1), Unmapped},
		{m.Store64(0x10000, 1), Direction},
		{m.Write(0x12000, b[:4096]), ""},
		{m.Store64(0x12FF8, 1), ""},
	} {
		if got := why(c.err); got != c.want {
			t.Errorf("%v, want %q", c.err, c.want)
		}
	}
	if n, err := m.Unmap(0x11000, 0x1000, nil); n != 0 || !errors.Is(err, ErrSplit) {
		t.Errorf("half a mapping was unmapped: %d, %v", n, err)
	}
	if n, err := m.Unmap(0x10000, 0x2000, nil); n != 0x2000 || err != nil {
		t.Errorf("unmapped %#x, %v", n, err)
	}
	if got := why(m.Read(0x10800, b[:1])); got != Freed {
		t.Error(got)
	}
	if err := m.Map(Mapping{IOVA: 0x10000, Bytes: r, Read: true}); err != nil {
		t.Error(err)
	}
	if err := m.Read(0x10800, b[:1]); err != nil {
		t.Error(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		m.Load32(0x10010)
		m.Store64(0x12010, 1)
		m.Read(0x10000, b[:64])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkIOMMU(b *testing.B) {
	var m Table
	for i := range 8 {
		m.Map(Mapping{IOVA: uint64(i) << 20, Bytes: alignedPage(4096), Read: i%2 == 0, Write: i%2 == 1})
	}
	for b.Loop() {
		m.Load64(4 << 20)
		m.Store64(5<<20, 1)
	}
}
