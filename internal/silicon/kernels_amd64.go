package silicon

// bestKernels is the fastest set this machine can run, found once at start.
var bestKernels = detect()

// detect asks the CPU, and through XGETBV the operating system, which has to
// save the wider registers.
func detect() kernels {
	maxLeaf, _, _, _ := cpuid(0, 0)
	if maxLeaf < 7 {
		return portable
	}
	const (
		osxsave = 1 << 27 // leaf 1 ecx
		avx     = 1 << 28 // leaf 1 ecx
		hasAVX2 = 1 << 5  // leaf 7 ebx
		avx512f = 1 << 16 // leaf 7 ebx

		xcr0AVX    = 1<<1 | 1<<2
		xcr0AVX512 = xcr0AVX | 1<<5 | 1<<6 | 1<<7
	)
	_, _, ecx1, _ := cpuid(1, 0)
	if ecx1&osxsave == 0 || ecx1&avx == 0 {
		return portable
	}
	saved := xgetbv()
	_, ebx7, _, _ := cpuid(7, 0)
	switch {
	case ebx7&avx512f != 0 && saved&xcr0AVX512 == xcr0AVX512:
		return avx512
	case ebx7&hasAVX2 != 0 && saved&xcr0AVX == xcr0AVX:
		return avx2
	}
	return portable
}

func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)
func xgetbv() uint32

// The assembly never stores its pointers and reads and writes exactly what
// the checks in kernels.go have established.

//go:noescape
func matVecAVX512(out, w, x *float32, rows, n int)

//go:noescape
func matVecAVX2(out, w, x *float32, rows, n int)

//go:noescape
func wsumAVX512(acc, v, p *float32, n, dim int)

//go:noescape
func wsumAVX2(acc, v, p *float32, n, dim int)

//go:noescape
func expSumAVX512(dst, src *float32, n int, m float32, sum *[lanes]float32)

//go:noescape
func expSumAVX2(dst, src *float32, n int, m float32, sum *[lanes]float32)

//go:noescape
func siluAVX512(gate, up *float32, n int)

//go:noescape
func siluAVX2(gate, up *float32, n int)

//go:noescape
func maxAVX512(x *float32, n int) float32

//go:noescape
func maxAVX2(x *float32, n int) float32
