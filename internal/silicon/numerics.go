package silicon

import "math"

// NumericsID names the arithmetic below. Two cards with the same model bytes
// and the same NumericsID give the same logits, bit for bit, on any machine
// and by any code path; a change that alters one bit takes a new number.
//
// Numerics 1:
//
//   - Values are IEEE 754 binary32, every operation rounded to nearest even,
//     subnormals kept, nothing fused: a product is rounded before it is added.
//   - A dot product has 16 lanes, all starting at +0. Element i is multiplied
//     and added to lane i mod 16, in rising i. The lanes are then folded by
//     adding lane j+8 to lane j, then j+4, j+2 and j+1. Padding with zeros to
//     a multiple of 16 changes nothing, as a lane can never hold -0.
//   - exp is expf below: argument reduction by two-part ln 2 and a polynomial
//     of degree 7; 0 below -87.33, +Inf above 88.37.
//   - RMSNorm: (x[i] * s) * w[i], with s = 1/sqrt(dot(x,x)/n + eps).
//   - RoPE turns pairs (2i, 2i+1). The angle is position * base^(-2i/n) /
//     factor[i], computed, with its sine and cosine, in binary64 by the
//     functions of this package; sine and cosine are then rounded to binary32.
//   - Attention: q is scaled by 1/sqrt(head size) after its rotation; e[t] =
//     exp(dot(q,k[t]) - max); their sum has 16 lanes like a dot product; the
//     sum of e[t]*v[t] has 4 lanes (t mod 4), folded (0+2)+(1+3), and is
//     multiplied by the reciprocal of the sum of e.
//   - Feed-forward: (g / (1 + exp(-g))) * u.
//   - LogSumExp: max + log(sum of exp(x-max)), the sum with 16 lanes, the log
//     in binary64.
//
// Weights in other formats are turned into binary32 first. Infinities and
// NaNs are refused in weights; where activations overflow all the same, the
// logits are still infinities or NaNs everywhere but the NaN's payload may
// differ.
const NumericsID uint32 = 1

// lanes is the number of partial sums of a dot product.
const lanes = 16

// fold adds up the lanes of a sum in the one order that every path uses.
func fold(a *[lanes]float32) float32 {
	r0 := (a[0] + a[8]) + (a[4] + a[12])
	r1 := (a[1] + a[9]) + (a[5] + a[13])
	r2 := (a[2] + a[10]) + (a[6] + a[14])
	r3 := (a[3] + a[11]) + (a[7] + a[15])
	return (r0 + r2) + (r1 + r3)
}

// Constants of expf. ln2 is split so that k*ln2Hi is exact for |k| < 2^9.
const (
	expLo   float32 = -87.33
	expHi   float32 = 88.37
	log2e   float32 = 1.4426950216293335
	ln2Hi   float32 = 0.693145751953125
	ln2Lo   float32 = 1.4286068203094173e-06
	rounder float32 = 3 << 22 // adding it leaves the nearest integer in the low bits
	expC2   float32 = 1.0 / 2
	expC3   float32 = 1.0 / 6
	expC4   float32 = 1.0 / 24
	expC5   float32 = 1.0 / 120
	expC6   float32 = 1.0 / 720
	expC7   float32 = 1.0 / 5040
)

// expf is e^x. The conversions forbid a fused multiply-add; the SIMD paths do
// these very steps, so none may be reordered.
func expf(x float32) float32 {
	if x < expLo {
		return 0
	}
	if x > expHi {
		return float32(math.Inf(1))
	}
	t := float32(x*log2e) + rounder
	k := t - rounder
	r := x - float32(k*ln2Hi)
	r = r - float32(k*ln2Lo)
	q := float32(expC7*r) + expC6
	q = float32(q*r) + expC5
	q = float32(q*r) + expC4
	q = float32(q*r) + expC3
	q = float32(q*r) + expC2
	p := float32(float32(r*r)*q) + r
	p = p + 1
	// t's low bits are k; shifted into the exponent they make 2^k.
	return p * math.Float32frombits(math.Float32bits(t)<<23+0x3f800000)
}

// sqrtf is exact: rounding the binary64 root to binary32 cannot round twice.
func sqrtf(x float32) float32 { return float32(math.Sqrt(float64(x))) }

// LogSumExp is log(sum(exp(logits))), the constant that turns logits into
// log-probabilities: logits[i] - LogSumExp(logits). Its bits are fixed by
// NumericsID. It returns -Inf for no logits.
func LogSumExp(logits []float32) float32 { return bestKernels.logSumExp(logits) }

func (k kernels) logSumExp(logits []float32) float32 {
	const block = 256 // fits the stack; a multiple of lanes
	var buf [block]float32
	var sum [lanes]float32
	whole := len(logits) &^ (lanes - 1)
	tail := buf[:lanes]
	n := copy(tail, logits[whole:])
	for i := n; i < lanes; i++ {
		tail[i] = float32(math.Inf(-1))
	}
	m := max32(k.max(logits[:whole]), k.max(tail))
	if math.IsInf(float64(m), 0) {
		return m
	}
	for i := 0; i < whole; i += block {
		part := logits[i:min(i+block, whole)]
		k.expSum(buf[:len(part)], part, m, &sum)
	}
	n = copy(buf[:lanes], logits[whole:])
	for i := n; i < lanes; i++ {
		buf[i] = float32(math.Inf(-1)) // adds exp(-Inf) = 0
	}
	k.expSum(buf[:lanes], buf[:lanes], m, &sum)
	return m + float32(log64(float64(fold(&sum))))
}

// max32 is the greater of two; a NaN in b is passed over.
func max32(a, b float32) float32 {
	if b > a {
		return b
	}
	return a
}
