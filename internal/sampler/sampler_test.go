package sampler

import (
	"math"
	"math/big"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// slowPhilox follows the text of section 16 with big integers.
func slowPhilox(counter [4]uint32, key [2]uint32) [4]uint32 {
	mod := new(big.Int).Lsh(big.NewInt(1), 32)
	num := func(v uint32) *big.Int { return new(big.Int).SetUint64(uint64(v)) }
	x := [4]*big.Int{num(counter[0]), num(counter[1]), num(counter[2]), num(counter[3])}
	k := [2]*big.Int{num(key[0]), num(key[1])}
	split := func(m uint32, v *big.Int) (hi, lo *big.Int) {
		return new(big.Int).DivMod(new(big.Int).Mul(num(m), v), mod, new(big.Int))
	}
	xor := func(a, b, c *big.Int) *big.Int { return new(big.Int).Xor(new(big.Int).Xor(a, b), c) }
	for round := range 10 {
		if round > 0 {
			k[0] = new(big.Int).Mod(new(big.Int).Add(k[0], num(0x9E3779B9)), mod)
			k[1] = new(big.Int).Mod(new(big.Int).Add(k[1], num(0xBB67AE85)), mod)
		}
		hi0, lo0 := split(0xD2511F53, x[0])
		hi1, lo1 := split(0xCD9E8D57, x[2])
		x = [4]*big.Int{xor(hi1, x[1], k[0]), lo1, xor(hi0, x[3], k[1]), lo0}
	}
	return [4]uint32{uint32(x[0].Uint64()), uint32(x[1].Uint64()), uint32(x[2].Uint64()), uint32(x[3].Uint64())}
}

// slowWeight follows steps 1 to 3 with big numbers; W comes from its formula.
func slowWeight(best, l float32, invTemp uint32) *big.Int {
	d := best - l
	if math.IsInf(float64(l), -1) || d != d {
		return new(big.Int)
	}
	limit := big.NewInt(1<<31 - 1)
	floorMin := func(v *big.Int) *big.Int {
		if v.Cmp(limit) > 0 {
			return new(big.Int).Set(limit)
		}
		return v
	}
	D := new(big.Int).Set(limit)
	if !math.IsInf(float64(d), 1) {
		f := new(big.Float).SetPrec(400).SetFloat64(float64(d))
		f.Mul(f, big.NewFloat(65536).SetPrec(400))
		i, _ := f.Int(nil) // towards zero: d is not negative
		D = floorMin(i)
	}
	shift := func(v *big.Int) *big.Int { return new(big.Int).Rsh(v, 16) }
	E := floorMin(shift(new(big.Int).Mul(D, new(big.Int).SetUint64(uint64(invTemp)))))
	Y := shift(new(big.Int).Mul(E, big.NewInt(94548)))
	n := shift(Y)
	f := new(big.Int).And(Y, big.NewInt(0xFFFF)).Int64()
	if n.Cmp(big.NewInt(31)) > 0 {
		return new(big.Int)
	}
	a, b := slowW(f>>8), slowW(f>>8+1)
	diff := new(big.Int).Mul(new(big.Int).Sub(a, b), big.NewInt(f&0xFF))
	return new(big.Int).Rsh(new(big.Int).Sub(a, diff.Rsh(diff, 8)), uint(n.Int64()))
}

var wCache [257]*big.Int

// slowW is round(2^28 * 2^(-i/256)): eight square roots and a power.
func slowW(i int64) *big.Int {
	if wCache[i] == nil {
		half := new(big.Float).SetPrec(300).SetFloat64(0.5)
		for range 8 {
			half = new(big.Float).SetPrec(300).Sqrt(half)
		}
		v := new(big.Float).SetPrec(300).SetInt64(1 << 28)
		for range i {
			v.Mul(v, half)
		}
		v.Add(v, big.NewFloat(0.5).SetPrec(300))
		wCache[i], _ = v.Int(nil)
	}
	return wCache[i]
}

// slowPick follows section 16, step by step, with big integers.
func slowPick(logits []float32, p Params, position, draw uint32) int {
	k := len(logits)
	if p.K > 0 && p.K < k {
		k = p.K
	}
	if k > hci.MaxCandidates {
		k = hci.MaxCandidates
	}
	if k == 0 {
		return -1
	}
	if p.Greedy {
		return 0
	}
	S, w := new(big.Int), make([]*big.Int, k)
	for i := range w {
		w[i] = slowWeight(logits[0], logits[i], p.InvTemp)
		S.Add(S, w[i])
	}
	need := new(big.Int).Mul(S, new(big.Int).SetUint64(uint64(p.TopP)))
	C, kept := new(big.Int), 0
	for kept < k {
		C.Add(C, w[kept])
		kept++
		if new(big.Int).Lsh(C, 16).Cmp(need) >= 0 {
			break
		}
	}
	r := slowPhilox([4]uint32{position, draw, uint32(p.Choice), 0}, [2]uint32{uint32(p.Seed), uint32(p.Seed >> 32)})
	t := new(big.Int).Rsh(new(big.Int).Mul(new(big.Int).SetUint64(uint64(r[0])), C), 32)
	run := new(big.Int)
	for i := range kept {
		if run.Add(run, w[i]).Cmp(t) > 0 {
			return i
		}
	}
	return 0
}

func TestPhiloxKnownAnswers(t *testing.T) {
	all := uint32(math.MaxUint32)
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{want: [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{all, all, all, all}, [2]uint32{all, all}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := Philox(c.counter, c.key); got != c.want {
			t.Errorf("Philox(%08x, %08x) = %08x, want %08x", c.counter, c.key, got, c.want)
		}
		if got := slowPhilox(c.counter, c.key); got != c.want {
			t.Errorf("reference: Philox(%08x, %08x) = %08x, want %08x", c.counter, c.key, got, c.want)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		c, k := [4]uint32{r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32()}, [2]uint32{r.Uint32(), r.Uint32()}
		if got, want := Philox(c, k), slowPhilox(c, k); got != want {
			t.Fatalf("Philox(%08x, %08x) = %08x, reference %08x", c, k, got, want)
		}
	}
}

// randomCase makes sorted logits and parameters, extremes included.
func randomCase(r *rand.Rand) ([]float32, Params, uint32, uint32) {
	logits := make([]float32, 1+r.IntN(10))
	scale := []float32{0, 1e-6, 1, 5, 100, 1e6, 1e38}[r.IntN(7)]
	for i := range logits {
		logits[i] = (r.Float32() - 0.5) * scale
		if r.IntN(12) == 0 {
			logits[i] = float32(math.Inf(-1))
		}
	}
	sort.Slice(logits, func(i, j int) bool { return logits[i] > logits[j] })
	p := Params{K: r.IntN(11), Greedy: r.IntN(20) == 0, Seed: r.Uint64(), Choice: uint16(r.Uint32())}
	p.InvTemp = []uint32{0, 1, 65536, 93623, 655360, math.MaxUint32, r.Uint32()}[r.IntN(7)]
	p.TopP = []uint32{0, 1, 32768, 58982, 65535, 65536, math.MaxUint32, r.Uint32N(65537)}[r.IntN(8)]
	return logits, p, r.Uint32(), r.Uint32N(4)
}

func TestPickMatchesReference(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	n := 20000
	if testing.Short() {
		n = 2000
	}
	for range n {
		logits, p, position, draw := randomCase(r)
		if got, want := Pick(logits, p, position, draw), slowPick(logits, p, position, draw); got != want {
			t.Fatalf("Pick(%v, %+v, %d, %d) = %d, reference %d", logits, p, position, draw, got, want)
		}
	}
}

func TestDifferenceIsExactAndSaturates(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		best, l float32
		inv     uint32
		want    uint32
	}{
		{1, 1, 65536, 1 << 28},
		{1, -inf, 65536, 0},
		{1, -inf, 0, 0},        // nothing makes a forbidden token likely
		{1, -inf, 1, 0},        // where a finite difference that saturates is not 0
		{1, -1e30, 0, 1 << 28}, // uniform
		{1e38, -3e38, 65536, 0},
		{32768, 0, 1, slow32(32768, 0, 1)}, // D just past its limit
		{32767.998, 0, 1, slow32(32767.998, 0, 1)},
		{math.SmallestNonzeroFloat32, 0, math.MaxUint32, 1 << 28}, // floor makes it 0
		{1.0 / 65536, 0, 65536, slow32(1.0/65536, 0, 65536)},
		{1.9999 / 65536, 0, 65536, slow32(1.0/65536, 0, 65536)}, // floor, not round
		{-inf, -inf, 65536, 0},
		{0, float32(math.Copysign(0, -1)), 65536, 1 << 28}, // ties: -0 and +0
	} {
		if got := weight(c.best, c.l, c.inv); got != c.want {
			t.Errorf("weight(%g, %g, %d) = %d, want %d", c.best, c.l, c.inv, got, c.want)
		}
		if got := slow32(c.best, c.l, c.inv); got != c.want {
			t.Errorf("reference: weight(%g, %g, %d) = %d, want %d", c.best, c.l, c.inv, got, c.want)
		}
	}
}

func slow32(best, l float32, inv uint32) uint32 { return uint32(slowWeight(best, l, inv).Uint64()) }

func TestWeightsFall(t *testing.T) {
	for _, inv := range []uint32{1, 655, 65536, 70000, 655360} {
		last := uint32(math.MaxUint32)
		for i := range 200000 {
			d := float32(i) / 8192
			w := weight(0, -d, inv)
			if w > last {
				t.Fatalf("invtemp %d: weight rises at difference %g: %d after %d", inv, d, w, last)
			}
			last = w
			if i%997 == 0 { // within the table's and the floor's error of the real exponential
				want := math.Exp(-float64(d)*float64(inv)/65536) * (1 << 28)
				if math.Abs(float64(w)-want) > want*2e-4+float64(1) {
					t.Fatalf("invtemp %d: weight at %g is %d, exp gives %.1f", inv, d, w, want)
				}
			}
		}
	}
}

// TestDistribution compares 200,000 positions with softmax: the chi-square of
// k - 1 <= 7 degrees of freedom stays below 30 (p about 1e-4, seeds fixed).
func TestDistribution(t *testing.T) {
	const n = 200000
	for name, c := range map[string]struct {
		logits []float32
		temp   float64
		topP   float64
		k      int
	}{
		"plain":       {[]float32{2, 1.5, 1, 0.25, 0, -1, -2, -3}, 1, 1, 8},
		"hot":         {[]float32{2, 1.5, 1, 0.25, 0, -1, -2, -3}, 2.5, 1, 8},
		"cold":        {[]float32{2, 1.5, 1, 0.25, 0, -1, -2, -3}, 0.6, 1, 8},
		"top-k":       {[]float32{2, 1.5, 1, 0.25, 0, -1, -2, -3}, 1, 1, 3},
		"top-p":       {[]float32{2, 1.5, 1, 0.25, 0, -1, -2, -3}, 1, 0.8, 8},
		"ties":        {[]float32{1, 1, 1, 1, 1}, 1, 1, 8},
		"uniform":     {[]float32{9, 3, 1, -50}, math.Inf(1), 1, 8},
		"minus inf":   {[]float32{0.5, 0, float32(math.Inf(-1))}, 1, 1, 8},
		"single best": {[]float32{40, 0, 0}, 1, 1, 8},
	} {
		t.Run(name, func(t *testing.T) {
			k := min(c.k, len(c.logits))
			prob, sum := make([]float64, k), 0.0
			for i := range k {
				prob[i] = math.Exp(float64(c.logits[i]-c.logits[0]) / c.temp)
				sum += prob[i]
			}
			kept, mass := 0, 0.0
			for kept < k && mass < c.topP*sum*(1-1e-12) {
				mass += prob[kept]
				kept++
			}
			p := Params{K: c.k, InvTemp: uint32(math.Round(65536 / c.temp)), TopP: uint32(math.Round(c.topP * 65536)), Seed: 0x1234_5678_9ABC_DEF0}
			seen := make([]int, len(c.logits))
			for pos := range n {
				seen[Pick(c.logits, p, uint32(pos), 0)]++
			}
			chi := 0.0
			for i, got := range seen {
				want := 0.0
				if i < kept {
					want = prob[i] / mass * n
				}
				if want < 1e-3 {
					if got != 0 {
						t.Errorf("candidate %d taken %d times, want never", i, got)
					}
					continue
				}
				chi += (float64(got) - want) * (float64(got) - want) / want
			}
			if chi > 30 {
				t.Errorf("chi-square %.1f: %v of %v", chi, seen, prob)
			}
		})
	}
}

func TestStreamsDiffer(t *testing.T) {
	logits := make([]float32, 8)
	base := Params{K: 8, InvTemp: 65536, TopP: 65536, Seed: 7}
	text := func(p Params, draw uint32) (s [64]int) {
		for i := range s {
			s[i] = Pick(logits, p, uint32(i), draw)
		}
		return s
	}
	first := text(base, 0)
	if text(base, 0) != first {
		t.Error("the same seed gives another text")
	}
	choice, low, high := base, base, base
	choice.Choice, low.Seed, high.Seed = 1, 8, 7|1<<32
	for name, got := range map[string][64]int{"choice": text(choice, 0), "seed low": text(low, 0), "seed high": text(high, 0), "draw": text(base, 1)} {
		if got == first {
			t.Errorf("another %s gives the same text", name)
		}
	}
}

func TestTopPEdges(t *testing.T) {
	logits := []float32{0, 0, 0, 0}
	for _, c := range []struct {
		topP uint32
		most int
	}{{0, 0}, {1, 0}, {16384, 0}, {16385, 1}, {32768, 1}, {49153, 3}, {65536, 3}, {math.MaxUint32, 3}} {
		top := 0
		for pos := range uint32(2000) {
			top = max(top, Pick(logits, Params{InvTemp: 65536, TopP: c.topP}, pos, 0))
		}
		if top != c.most {
			t.Errorf("TOPP %d over four equal candidates: highest index %d, want %d", c.topP, top, c.most)
		}
	}
}

func TestSmallInputs(t *testing.T) {
	p := Params{InvTemp: 65536, TopP: 65536}
	inf := float32(math.Inf(-1))
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		logits []float32
		p      Params
		want   int
	}{
		"none":            {nil, p, -1},
		"none, greedy":    {nil, Params{Greedy: true}, -1},
		"one":             {[]float32{3}, p, 0},
		"greedy":          {[]float32{3, 3, 3}, Params{Greedy: true}, 0},
		"k one":           {[]float32{3, 3, 3}, Params{K: 1, TopP: 65536}, 0},
		"all minus inf":   {[]float32{inf, inf}, p, 0},
		"not a number":    {[]float32{nan, nan}, p, 0},
		"top-p nothing":   {[]float32{3, 3, 3}, Params{InvTemp: 65536}, 0},
		"second is lost":  {[]float32{100, 0}, p, 0},
		"second is -inf":  {[]float32{1, inf}, Params{TopP: 65536}, 0},
		"zero parameters": {[]float32{1, 0}, Params{}, 0},
	} {
		for pos := range uint32(200) {
			if got := Pick(c.logits, c.p, pos, 0); got != c.want {
				t.Fatalf("%s: position %d: %d, want %d", name, pos, got, c.want)
			}
		}
	}
}

func TestNoAllocation(t *testing.T) {
	logits := []float32{5, 4, 3, 2, 1, 0, -1, -2}
	p := Params{K: 8, InvTemp: 65536, TopP: 60000, Seed: 9}
	pos := uint32(0)
	if n := testing.AllocsPerRun(1000, func() { Pick(logits, p, pos, 0); pos++ }); n != 0 {
		t.Errorf("%v allocations a draw", n)
	}
}

func FuzzPick(f *testing.F) {
	f.Add(uint32(0), uint32(0), uint32(0), uint32(0), 4, false, uint32(65536), uint32(65536), uint64(1), uint16(0), uint32(0), uint32(0))
	f.Add(uint32(0x7F800000), uint32(0xFF800000), uint32(0x7FC00000), uint32(1), 9, false, uint32(math.MaxUint32), uint32(math.MaxUint32), uint64(1), uint16(0), uint32(0), uint32(0))
	f.Fuzz(func(t *testing.T, a, b, c, d uint32, k int, greedy bool, inv, topP uint32, seed uint64, choice uint16, position, draw uint32) {
		var logits []float32
		for i, v := range []uint32{a, b, c, d, a ^ b, b ^ c, c ^ d, d ^ a, a + d, b + c} {
			if i < k&15 { // any order, any bits: nothing may panic
				logits = append(logits, math.Float32frombits(v))
			}
		}
		p := Params{K: k, Greedy: greedy, InvTemp: inv, TopP: topP, Seed: seed, Choice: choice}
		got := Pick(logits, p, position, draw)
		if got < 0 && len(logits) > 0 || got >= min(max(len(logits), 0), hci.MaxCandidates) && got != -1 || k > 0 && got >= k {
			t.Fatalf("index %d of %d candidates, k %d", got, len(logits), k)
		}
		sort.Slice(logits, func(i, j int) bool { return logits[i] > logits[j] })
		for i, l := range logits { // the reference needs order, and numbers
			if l != l || math.IsInf(float64(l), 1) || i > 0 && logits[i-1] < l {
				return
			}
		}
		if got, want := Pick(logits, p, position, draw), slowPick(logits, p, position, draw); got != want {
			t.Fatalf("Pick(%v, %+v, %d, %d) = %d, reference %d", logits, p, position, draw, got, want)
		}
	})
}

func BenchmarkPick(b *testing.B) {
	logits := []float32{5, 4, 3, 2, 1, 0, -1, -2}
	p := Params{K: 8, InvTemp: 65536, TopP: 60000, Seed: 9}
	for i := range b.N {
		Pick(logits, p, uint32(i), 0)
	}
}
