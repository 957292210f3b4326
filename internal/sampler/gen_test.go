package sampler

import ("fmt";"math";"strings";"testing";"os")

func TestGen(t *testing.T) {
	inf := float32(math.Inf(-1))
	eight := []float32{12.5, 11.75, 11.5, 10.0625, 9.875, 9.5, 7, 3.25}
	real := []float32{18.402107, 17.911482, 16.0385, 15.772916, 15.190273, 14.906601, 14.371225, 14.112039}
	negz := float32(math.Copysign(0, -1))
	type c struct{ l []float32; k int; inv, top uint32; seed uint64; ch uint16; pos, draw uint32; want int }
	cs := []c{
		{eight, 8, 65536, 65536, 0, 0, 0, 0, -1},
		{eight, 8, 65536, 65536, 0, 0, 0, 1, -1},
		{eight, 8, 65536, 65536, 0, 1, 0, 0, -1},
		{eight, 8, 65536, 65536, 0x0123456789ABCDEF, 65535, 0xFFFFFFFF, 0, -1},
		{real, 8, 93623, 58982, 42, 0, 17, 0, 1},
		{real, 8, 32768, 65536, 42, 0, 17, 0, 5},
		{real, 4, 32768, 65536, 42, 0, 17, 0, 3},
		{real, 8, 32768, 45875, 1 << 32, 0, 1000, 0, 3},
		{real, 8, 0, 65536, 7, 3, 100, 0, 7},
		{real, 8, 655360, 65536, 99, 0, 0, 0, 1},
		{real, 8, 4294967295, 65536, 99, 0, 5, 0, 0},
		{real, 8, 65536, 1, 5, 0, 5, 0, 0},
		{[]float32{1, 1, 1, 1}, 4, 65536, 49152, 5, 0, 6143, 0, 2},
		{[]float32{0, negz, -1.0 / 65536, -1.1754944e-38}, 4, 65536, 65536, 6, 0, 31, 0, 3},
		{[]float32{3e38, -3e38, inf}, 3, 1, 65536, 8, 0, 2, 0, 1},
		{[]float32{32768, 0.5, 0}, 3, 4, 65536, 11, 0, 2, 0, 2},
		{[]float32{-7.25, -7.5}, 2, 65536, 65536, 0xFFFFFFFFFFFFFFFF, 9, 1, 0, 1},
	}
	var b strings.Builder
	for i, v := range cs {
		p := Params{K: v.k, InvTemp: v.inv, TopP: v.top, Seed: v.seed, Choice: v.ch}
		for v.want >= 0 && Pick(v.l, p, v.pos, v.draw) != v.want { v.pos++ }
		got := Pick(v.l, p, v.pos, v.draw)
		if s := slowPick(v.l, p, v.pos, v.draw); s != got { t.Fatal(i) }
		var h []string
		for _, l := range v.l { h = append(h, fmt.Sprintf("%08X", math.Float32bits(l))) }
		fmt.Fprintf(&b, "| %s | %d | %d | %d | 0x%016X | %d | %d | %d | %d |\n", strings.Join(h, " "), v.k, v.inv, v.top, v.seed, v.ch, v.pos, v.draw, got)
	}
	os.WriteFile("/tmp/vec.txt", []byte(b.String()), 0o644)
	b.Reset()
	m := uint32(math.MaxUint32)
	for _, v := range []struct{c [4]uint32; k [2]uint32}{{}, {[4]uint32{m,m,m,m}, [2]uint32{m,m}}, {[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0}}} {
		o := Philox(v.c, v.k)
		f := func(x []uint32) string { var h []string; for _, w := range x { h = append(h, fmt.Sprintf("%08X", w)) }; return strings.Join(h, " ") }
		fmt.Fprintf(&b, "| %s | %s | %s |\n", f(v.c[:]), f(v.k[:]), f(o[:]))
	}
	os.WriteFile("/tmp/phi.txt", []byte(b.String()), 0o644)
}
