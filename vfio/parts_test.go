package vfio

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/hal"
)

// Addresses lie in the kernel's ranges, aligned, a page apart from each other,
// and come back after they were given.
func TestIOVASpace(t *testing.T) {
	ranges := []iovaRange{{0, 0xFEDF_FFFF}, {0xFEF0_0000, 1<<39 - 1}} // with the interrupt window left out
	s, err := newIOVASpace(ranges)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	type piece struct{ at, size uint64 }
	var have []piece
	for n := range 3000 {
		if len(have) > 0 && r.IntN(3) == 0 {
			i := r.IntN(len(have))
			s.give(have[i].at)
			have[i] = have[len(have)-1]
			have = have[:len(have)-1]
			continue
		}
		size, align := uint64(1+r.IntN(64))*pageSize, uint64(pageSize)
		if r.IntN(8) == 0 {
			size, align = uint64(1+r.IntN(4))*hugePage, hugePage
		}
		at, err := s.take(size, align)
		if err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		if at%align != 0 || at < lowest {
			t.Fatalf("%#x for %#x aligned to %#x", at, size, align)
		}
		in := false
		for _, x := range ranges {
			in = in || at >= x.first && at+size-1 <= x.last
		}
		if !in {
			t.Fatalf("%#x+%#x is in no range", at, size)
		}
		for _, o := range have {
			if at < o.at+o.size+pageSize && o.at < at+size+pageSize {
				t.Fatalf("%#x+%#x beside %#x+%#x", at, size, o.at, o.size)
			}
		}
		have = append(have, piece{at, size})
	}
}

func TestIOVASpaceEnds(t *testing.T) {
	s, err := newIOVASpace([]iovaRange{{0, lowest + 8*pageSize - 1}})
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for {
		at, err := s.take(pageSize, pageSize)
		if err != nil {
			if !errors.Is(err, hal.ErrNoMemory) {
				t.Error(err)
			}
			break
		}
		got = append(got, at)
	}
	if len(got) != 4 { // a page between each
		t.Errorf("%#x", got)
	}
	s.give(got[1])
	if at, err := s.take(pageSize, pageSize); err != nil || at != got[1] {
		t.Errorf("%#x, %v", at, err)
	}
	for _, size := range []uint64{1 << 40, ^uint64(0) - pageSize + 1} {
		if _, err := s.take(size, pageSize); !errors.Is(err, hal.ErrNoMemory) {
			t.Errorf("%#x bytes: %v", size, err)
		}
	}
	top, err := newIOVASpace([]iovaRange{{^uint64(0) - 4*pageSize + 1, ^uint64(0)}})
	if err != nil {
		t.Fatal(err)
	}
	for range 8 { // no endless loop at 2^64
		top.take(pageSize, pageSize)
	}
	for name, bad := range map[string][]iovaRange{"none": nil, "empty": {{5, 4}}, "overlap": {{0, 1 << 30}, {1 << 29, 1 << 31}}} {
		if _, err := newIOVASpace(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func caps(entries ...[3]uint32) []byte { // offset, id, next
	b := make([]byte, 256)
	for _, e := range entries {
		le.PutUint16(b[e[0]:], uint16(e[1]))
		le.PutUint32(b[e[0]+4:], e[2])
	}
	return b
}

// A chain of capabilities may lead anywhere, or in circles.
func TestCapabilityChain(t *testing.T) {
	if c, err := capability(caps([3]uint32{32, 5, 64}, [3]uint32{64, 1, 0}), 32, 1); err != nil || len(c) != 256-64 {
		t.Errorf("%d bytes, %v", len(c), err)
	}
	if c, err := capability(caps([3]uint32{32, 5, 0}), 32, 1); c != nil || err != nil {
		t.Errorf("not there: %v, %v", c, err)
	}
	for name, b := range map[string][]byte{"itself": caps([3]uint32{32, 5, 32}), "circle": caps([3]uint32{32, 5, 64}, [3]uint32{64, 6, 32}), "outside": caps([3]uint32{32, 5, 250}), "far": caps([3]uint32{32, 5, 0xFFFF_FFF8})} {
		if _, err := capability(b, 32, 1); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	b := make([]byte, 64)
	le.PutUint32(b[8:], 3)
	if l, err := list(b, 8); err != nil || len(l) != 3 {
		t.Errorf("%v, %v", l, err)
	}
	for _, n := range []uint32{4, 9, 1 << 31} {
		le.PutUint32(b[8:], n)
		if _, err := list(b, 8); err == nil {
			t.Errorf("%d entries in 64 bytes: accepted", n)
		}
	}
	if _, err := list(b[:8], 8); err == nil {
		t.Error("a capability of 8 bytes: accepted")
	}
}

// What is not bound, or not there, is an error that says what to do.
func TestOpenRefuses(t *testing.T) {
	if _, err := Open("ffff:01:00.0", Options{Root: t.TempDir()}); !errors.Is(err, ErrNotBound) || !strings.Contains(err.Error(), "hc1ctl bind ffff:01:00.0") {
		t.Error(err)
	}
}

func FuzzCapability(f *testing.F) {
	f.Add(caps([3]uint32{32, 5, 64}, [3]uint32{64, 1, 0}), uint32(32))
	f.Fuzz(func(t *testing.T, b []byte, off uint32) {
		c, err := capability(b, off, 1)
		if err == nil && c != nil {
			list(c, 64)
		}
	})
}
