// Package sampler is section 16 of docs/hci.md: integer sampling, so that the
// same logits and seed give the same token on every card.
package sampler

import (
	"math"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Params are the sampling fields of GENERATE.
type Params struct {
	K       int    // candidates to draw from; 0 or less means all that there are
	Greedy  bool   // take the best one; the rest is ignored
	InvTemp uint32 // 1 / temperature, Q16.16
	TopP    uint32 // Q16.16, 1..65536
	Seed    uint64
	Choice  uint16
}

const (
	most = 1<<31 - 1 // where D and E saturate
	log2 = 94548     // log2 e, Q16.16
)

// Pick returns the index of the candidate taken at a position, or -1 when
// there is none. logits are sorted, best first; those beyond MaxCandidates or
// p.K are not looked at. draw counts the draws at the position from 0.
func Pick(logits []float32, p Params, position, draw uint32) int {
	k := min(len(logits), hci.MaxCandidates)
	if p.K > 0 {
		k = min(k, p.K)
	}
	if k <= 1 || p.Greedy {
		return min(k, 1) - 1
	}
	var w [hci.MaxCandidates]uint32
	sum := uint64(0)
	for i := range k {
		w[i] = weight(logits[0], logits[i], p.InvTemp)
		sum += uint64(w[i])
	}
	kept, c := 0, uint64(0)
	for kept < k {
		c += uint64(w[kept])
		kept++
		if c<<16 >= sum*uint64(p.TopP) { // at most 2^31 * 2^32
			break
		}
	}
	r := Philox([4]uint32{position, draw, uint32(p.Choice), 0}, [2]uint32{uint32(p.Seed), uint32(p.Seed >> 32)})
	t := uint64(r[0]) * c >> 32
	run := uint64(0)
	for i := range kept {
		run += uint64(w[i])
		if run > t {
			return i
		}
	}
	return 0 // only when every weight is 0
}

// weight is steps 1 to 3 of section 16 for one candidate.
func weight(best, l float32, invTemp uint32) uint32 {
	d := best - l
	// Scaling by a power of two in float64 is exact for every float32, and
	// the conversion of a value that is not negative is its floor.
	scaled := float64(d) * 65536
	fixed := uint64(most)
	switch {
	case math.IsInf(float64(l), -1) || d != d:
		return 0
	case scaled < 0: // not sorted: a caller's mistake must not index past W
		fixed = 0
	case scaled < most:
		fixed = uint64(scaled)
	}
	e := min(fixed*uint64(invTemp)>>16, most)
	y := e * log2 >> 16
	n, f := y>>16, uint32(y&0xFFFF)
	if n > 31 {
		return 0
	}
	a, b := hci.Weights[f>>8], hci.Weights[f>>8+1]
	return (a - (a-b)*(f&0xFF)>>8) >> n
}

// Philox is Philox4x32-10.
func Philox(counter [4]uint32, key [2]uint32) [4]uint32 {
	x0, x1, x2, x3 := counter[0], counter[1], counter[2], counter[3]
	k0, k1 := key[0], key[1]
	for range 10 {
		p0, p1 := uint64(x0)*0xD2511F53, uint64(x2)*0xCD9E8D57
		x0, x1, x2, x3 = uint32(p1>>32)^x1^k0, uint32(p1), uint32(p0>>32)^x3^k1, uint32(p0)
		k0 += 0x9E3779B9
		k1 += 0xBB67AE85
	}
	return [4]uint32{x0, x1, x2, x3}
}
