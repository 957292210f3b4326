// Package sampler is the sampler of HCI 1.0 (docs/hci.md section 16): integer
// arithmetic from the candidates' logits to the index of one of them, so that
// the same logits and seed give the same token on every card.
package sampler

import (
	"math"
	"math/bits"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Params are the sampler's inputs from GENERATE.
type Params struct {
	K       int    // candidates to consider, at most those given
	Greedy  bool   // take the best
	InvTemp uint32 // 1 / temperature, Q16.16
	TopP    uint32 // Q16.16, 1..65536
	Seed    uint64
	Choice  uint16
}

// log2e is log2 e in Q16 (94548 / 65536), step 2 of section 16.
const log2e = 94548

// maxQ is where the Q16.16 quantities of steps 1 and 2 saturate.
const maxQ = 1<<31 - 1

// Pick returns the index of the candidate taken. logits are the candidates',
// best first; there must be at least one. It neither fails nor allocates.
func Pick(logits []float32, p Params, position, draw uint32) int {
	k := min(p.K, len(logits), hci.MaxCandidates)
	if p.Greedy || k <= 1 {
		return 0
	}
	var w [hci.MaxCandidates]uint64
	sum := uint64(0)
	for i, l := range logits[:k] {
		w[i] = weight(distance(logits[0], l), p.InvTemp)
		sum += w[i]
	}
	// Step 4: the fewest leading candidates with enough of the sum.
	keep, c := 0, uint64(0)
	for keep < k {
		c += w[keep]
		keep++
		if c<<16 >= sum*uint64(p.TopP) {
			break
		}
	}
	r := Philox([4]uint32{position, draw, uint32(p.Choice), 0}, [2]uint32{uint32(p.Seed), uint32(p.Seed >> 32)})[0]
	t := uint64(r) * c >> 32
	run := uint64(0)
	for i := range keep {
		run += w[i]
		if run > t {
			return i
		}
	}
	return keep - 1
}

// distance is D of step 1: how far l is below the best logit, Q16.16. The
// product by 65536 is exact; the subtraction rounds once, in f32.
func distance(best, l float32) uint64 {
	d := float32(best-l) * 65536
	if !(d > 0) { // equal, or not a number
		return 0
	}
	if d >= maxQ {
		return maxQ
	}
	return uint64(d)
}

// weight is w of steps 2 and 3, between 0 and 2^28.
func weight(d uint64, invTemp uint32) uint64 {
	e := min(d*uint64(invTemp)>>16, maxQ)
	y := e * log2e >> 16
	n, f := y>>16, y&0xFFFF
	if n > 31 {
		return 0
	}
	a, b := uint64(hci.Weights[f>>8]), uint64(hci.Weights[f>>8+1])
	return (a - (a-b)*(f&0xFF)>>8) >> n
}

// Philox is Philox4x32-10 (Salmon et al., 2011).
func Philox(x [4]uint32, key [2]uint32) [4]uint32 {
	for range 10 {
		hi0, lo0 := bits.Mul32(x[0], 0xD2511F53)
		hi1, lo1 := bits.Mul32(x[2], 0xCD9E8D57)
		x = [4]uint32{hi1 ^ x[1] ^ key[0], lo1, hi0 ^ x[3] ^ key[1], lo0}
		key[0] += 0x9E3779B9
		key[1] += 0xBB67AE85
	}
	return x
}

// InvTemp converts a temperature to INVTEMP; temperatures so low that the
// result would not fit give the largest value, which is greedy in effect.
func InvTemp(temperature float64) uint32 {
	if !(temperature > 0) {
		return math.MaxUint32
	}
	return uint32(min(math.Round(65536/temperature), math.MaxUint32))
}

// TopP converts a probability to TOPP, between 1 and 65536.
func TopP(p float64) uint32 {
	if !(p > 0) {
		return 1
	}
	return uint32(max(1, min(math.Round(p*65536), 65536)))
}
