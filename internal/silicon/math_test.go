package silicon

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestExpf(t *testing.T) {
	var worst float64
	check := func(x float32) {
		got := expf(x)
		want := math.Exp(float64(x))
		ulp := math.Max(want*0x1p-23, 0x1p-149)
		worst = math.Max(worst, math.Abs(float64(got)-want)/ulp)
	}
	for x := float32(-87.3); x < 88.3; x += 0.00137 {
		check(x)
	}
	for x := float32(1); x > 1e-30; x /= 1.01 {
		check(x)
		check(-x)
	}
	t.Logf("worst error %.3f units of 2^-23 relative", worst)
	if worst > 1.5 {
		t.Errorf("worst error %v", worst)
	}
	inf := float32(math.Inf(1))
	for x, want := range map[float32]float32{0: 1, -inf: 0, inf: inf, -87.34: 0, 88.38: inf} {
		if got := expf(x); got != want {
			t.Errorf("expf(%v) = %v, want %v", x, got, want)
		}
	}
	if v := expf(float32(math.NaN())); v == v {
		t.Errorf("expf(NaN) = %v", v)
	}
}

func TestDoubles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var e, l, s float64
	for range 200000 {
		x := r.Float64()*120 - 60
		e = math.Max(e, math.Abs(exp64(x)/math.Exp(x)-1))
		y := math.Exp(x)
		if d := math.Abs(math.Log(y)); d > 1e-3 {
			l = math.Max(l, math.Abs(log64(y)-math.Log(y))/d)
		}
		a := math.Exp2(r.Float64()*26) * (1 - 2*float64(r.IntN(2)))
		sin, cos := sincos64(a)
		s = math.Max(s, math.Max(math.Abs(sin-math.Sin(a)), math.Abs(cos-math.Cos(a))))
	}
	for i := range 1 << 17 {
		sin, cos := sincos64(float64(i))
		s = math.Max(s, math.Max(math.Abs(sin-math.Sin(float64(i))), math.Abs(cos-math.Cos(float64(i)))))
	}
	t.Logf("worst errors: exp64 %.2g, log64 %.2g (relative), sincos64 %.2g (absolute)", e, l, s)
	if e > 1e-15 || l > 1e-15 || s > 1e-15 {
		t.Errorf("too far off")
	}
	if log64(1) != 0 {
		t.Errorf("log64(1) = %v", log64(1))
	}
}

func TestLogSumExp(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, n := range []int{1, 2, 15, 16, 17, 255, 256, 257, 768, 1000, 5003} {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64() * 5)
		}
		var sum float64
		for _, x := range v {
			sum += math.Exp(float64(x))
		}
		want := math.Log(sum)
		got := bestKernels.logSumExp(v)
		if math.Abs(float64(got)-want) > 2e-6*math.Max(1, math.Abs(want)) {
			t.Errorf("n=%d: %v, want %v", n, got, want)
		}
		if p := portable.logSumExp(v); math.Float32bits(p) != math.Float32bits(got) {
			t.Errorf("n=%d: %s gives %x, portable %x", n, bestKernels, math.Float32bits(got), math.Float32bits(p))
		}
	}
	if v := LogSumExp(nil); !math.IsInf(float64(v), -1) {
		t.Errorf("of nothing: %v", v)
	}
	logits := make([]float32, 777)
	if n := testing.AllocsPerRun(100, func() { LogSumExp(logits) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
