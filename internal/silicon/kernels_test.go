package silicon

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// simd lists the kernels this machine can run beside the portable ones.
func simd(t testing.TB) []kernels {
	var ks []kernels
	for k := avx2; k <= bestKernels; k++ {
		ks = append(ks, k)
	}
	if bestKernels < avx512 {
		t.Logf("SKIP: no AVX-512 here, testing up to %s", bestKernels)
	}
	return ks
}

// fills are ways to fill a vector: plain, and those in which a wrong order of
// operations, a fused product or flushed subnormals show.
var fills = map[string]func(r *rand.Rand) float32{
	"normal":     func(r *rand.Rand) float32 { return float32(r.NormFloat64()) },
	"wide":       func(r *rand.Rand) float32 { return float32(math.Ldexp(r.NormFloat64(), r.IntN(40)-20)) },
	"cancelling": func(r *rand.Rand) float32 { return float32(1-2*r.IntN(2)) * (1 + float32(r.IntN(4))*0x1p-23) },
	"subnormal":  func(r *rand.Rand) float32 { return float32(r.NormFloat64()) * 0x1p-70 },
	"tiny":       func(r *rand.Rand) float32 { return math.Float32frombits(r.Uint32() & 0x800fffff) },
	"zeros":      func(r *rand.Rand) float32 { return []float32{0, float32(math.Copysign(0, -1)), 1, -1}[r.IntN(4)] },
	"exprange":   func(r *rand.Rand) float32 { return float32(r.Float64()*200 - 100) },
}

func fill(r *rand.Rand, how string, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = fills[how](r)
	}
	return v
}

func sameBits(a, b []float32) error {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return fmt.Errorf("element %d: %v (%08x) and %v (%08x)", i, a[i], math.Float32bits(a[i]), b[i], math.Float32bits(b[i]))
		}
	}
	return nil
}

func clone(v []float32) []float32 { return append([]float32(nil), v...) }

func TestKernelsAgree(t *testing.T) {
	for _, k := range simd(t) {
		for how := range fills {
			t.Run(k.String()+"/"+how, func(t *testing.T) {
				r := rand.New(rand.NewPCG(3, 3))
				for range 60 {
					rows, n := rowGroup*(1+r.IntN(9)), lanes*(1+r.IntN(12))
					w, x := fill(r, how, rows*n), fill(r, how, n)
					a, b := make([]float32, rows), make([]float32, rows)
					portable.matVec(a, w, x)
					k.matVec(b, w, x)
					if err := sameBits(a, b); err != nil {
						t.Fatalf("matVec %dx%d: %v", rows, n, err)
					}
					for i := range a {
						if d := dot(w[i*n:(i+1)*n], x); math.Float32bits(d) != math.Float32bits(a[i]) {
							t.Fatalf("dot: %v, matVec %v", d, a[i])
						}
					}

					count, dim := 1+r.IntN(70), lanes*(1+r.IntN(8))
					v, p, acc := fill(r, how, count*dim), fill(r, "normal", count), fill(r, how, 4*dim)
					acc2 := clone(acc)
					portable.wsum(acc, v, p, dim)
					k.wsum(acc2, v, p, dim)
					if err := sameBits(acc, acc2); err != nil {
						t.Fatalf("wsum %dx%d: %v", count, dim, err)
					}

					if m, m2 := portable.max(w), k.max(w); m != m2 {
						t.Fatalf("max: %v and %v", m, m2)
					}
					var s1, s2 [lanes]float32
					d1, d2 := make([]float32, n), make([]float32, n)
					portable.expSum(d1, x, 0.5, &s1)
					k.expSum(d2, x, 0.5, &s2)
					if err := sameBits(append(d1, s1[:]...), append(d2, s2[:]...)); err != nil {
						t.Fatalf("expSum: %v", err)
					}
					g, u := clone(x), fill(r, how, n)
					g2 := clone(g)
					portable.silu(g, u)
					k.silu(g2, u)
					if err := sameBits(g, g2); err != nil {
						t.Fatalf("silu: %v", err)
					}
				}
			})
		}
	}
}

// Each lane takes its own elements and the tree folds them in its order:
// computed here in the plainest way.
func TestDotIsAsDocumented(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for n := 1; n < 100; n++ {
		a, b := fill(r, "wide", n), fill(r, "wide", n)
		var s [lanes]float32
		for i := range a {
			p := a[i] * b[i]
			s[i%16] = s[i%16] + p
		}
		for _, w := range []int{8, 4, 2, 1} {
			for j := range w {
				s[j] = s[j] + s[j+w]
			}
		}
		if d := dot(a, b); math.Float32bits(d) != math.Float32bits(s[0]) {
			t.Fatalf("n=%d: dot %v, by hand %v", n, d, s[0])
		}
	}
}

// Special values go through SIMD as through the portable code; NaNs may
// differ in their payload only.
func TestKernelsSpecials(t *testing.T) {
	inf := float32(math.Inf(1))
	x := []float32{0, inf, -inf, float32(math.NaN()), -87.33, -87.330006, 88.37, 88.37001, 88.8, -104, 1e30, -1e30, 1e-45, -1e-45, 1, -1}
	up := make([]float32, lanes)
	for i := range up {
		up[i] = 1
	}
	for _, k := range simd(t) {
		var s1, s2 [lanes]float32
		d1, d2 := make([]float32, lanes), make([]float32, lanes)
		portable.expSum(d1, x, 0, &s1)
		k.expSum(d2, x, 0, &s2)
		g1, g2 := clone(x), clone(x)
		portable.silu(g1, up)
		k.silu(g2, up)
		for i := range x {
			if d1[i] != d2[i] && (d1[i] == d1[i] || d2[i] == d2[i]) {
				t.Errorf("%s exp(%v) = %v, want %v", k, x[i], d2[i], d1[i])
			}
			if g1[i] != g2[i] && (g1[i] == g1[i] || g2[i] == g2[i]) {
				t.Errorf("%s silu(%v) = %v, want %v", k, x[i], g2[i], g1[i])
			}
		}
		if m := k.max(x); m != inf {
			t.Errorf("%s max past a NaN = %v", k, m)
		}
	}
}

func BenchmarkMatVec(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 5))
	w, x, out := fill(r, "normal", 256*96), fill(r, "normal", 96), make([]float32, 256)
	for k := portable; k <= bestKernels; k++ {
		b.Run(k.String(), func(b *testing.B) {
			for b.Loop() {
				k.matVec(out, w, x)
			}
			b.ReportMetric(float64(b.N)*256*96/b.Elapsed().Seconds()/1e9, "GMAC/s")
		})
	}
}
