package silicon

import "math"

// The functions here are binary64 and serve what is computed once per
// position or per model, not per weight. The math package's own are
// assembly on some platforms and differ in the last bit between them, hence
// these; every product is rounded before it is added, as in numerics.go.

// Splits of ln 2 and pi/2: each high part has so few bits that its product
// with the integers met here is exact.
const (
	ln2A = 0x1.62e42feep-1
	ln2B = 0x1.a39ef35793c76p-33

	halfPiA = 0x1.921fb5p+0
	halfPiB = 0x1.110b46p-26
	halfPiC = 0x1.1a62633145c07p-54
)

// nearest rounds to the nearest integer, ties to even, by the float's own
// rounding. |x| < 2^51.
func nearest(x float64) float64 {
	const r = 3 << 51
	return float64(x+r) - r
}

// exp64 is e^x for |x| < 700.
func exp64(x float64) float64 {
	k := nearest(x * math.Log2E)
	r := x - float64(k*ln2A)
	r = r - float64(k*ln2B)
	// Horner on the Taylor series; |r| <= ln2/2, so r^17/17! is below 1e-22.
	p := 1.0
	for i := 16; i > 0; i-- {
		p = 1 + float64(float64(r*p)/float64(i))
	}
	return p * math.Float64frombits(uint64(1023+int64(k))<<52)
}

// log64 is the natural logarithm of a positive, finite, normal x.
func log64(x float64) float64 {
	bits := math.Float64bits(x)
	e := int64(bits>>52) - 1023
	m := math.Float64frombits(bits&(1<<52-1) | 1023<<52)
	if m > math.Sqrt2 {
		m, e = m/2, e+1
	}
	// log m = 2 atanh(s) = 2(s + s^3/3 + s^5/5 ...), |s| <= 0.1716: the first
	// term left out, s^25/25, is below 1e-20.
	s := (m - 1) / (m + 1)
	z := float64(s * s)
	p := 0.0
	for i := 23; i > 0; i -= 2 {
		p = float64(p*z) + 1/float64(i)
	}
	lo := float64(2*float64(s*p)) + float64(float64(e)*ln2B)
	return float64(float64(e)*ln2A) + lo
}

// sincos64 is the sine and cosine of x, |x| < 2^26.
func sincos64(x float64) (sin, cos float64) {
	k := nearest(x * (2 / math.Pi))
	r := x - float64(k*halfPiA)
	r = r - float64(k*halfPiB)
	r = r - float64(k*halfPiC)
	z := float64(r * r)
	// Taylor series, |r| <= pi/4: the first terms left out are below 1e-18.
	s, c := 1.0, 1.0
	for i := 16.0; i > 0; i -= 2 {
		s = 1 - float64(float64(z*s)/float64(i*(i+1)))
		c = 1 - float64(float64(z*c)/float64(i*(i-1)))
	}
	s = float64(s * r)
	switch int64(k) & 3 {
	case 0:
		return s, c
	case 1:
		return c, -s
	case 2:
		return -s, -c
	}
	return -c, s
}
