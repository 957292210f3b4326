package silicon

import "math"

// The portable kernels: the definition that the assembly is tested against,
// and what runs where there is none.

// matVecGo takes rows two at a time and lanes four at a time: eight running
// sums are what fits in registers beside the operands.
func matVecGo(out, w, x []float32) {
	n := len(x)
	for r := 0; r+2 <= len(out); r += 2 {
		w0, w1 := w[r*n:(r+1)*n], w[(r+1)*n:(r+2)*n]
		var s0, s1 [lanes]float32
		for j := 0; j < lanes; j += 4 {
			var a0, a1, a2, a3, b0, b1, b2, b3 float32
			xs, ws0, ws1 := x[j:], w0[j:], w1[j:]
			for len(xs) >= 4 && len(ws0) >= 4 && len(ws1) >= 4 {
				x0, x1, x2, x3 := xs[0], xs[1], xs[2], xs[3]
				a0 += float32(ws0[0] * x0)
				a1 += float32(ws0[1] * x1)
				a2 += float32(ws0[2] * x2)
				a3 += float32(ws0[3] * x3)
				b0 += float32(ws1[0] * x0)
				b1 += float32(ws1[1] * x1)
				b2 += float32(ws1[2] * x2)
				b3 += float32(ws1[3] * x3)
				if len(xs) < lanes || len(ws0) < lanes || len(ws1) < lanes {
					break
				}
				xs, ws0, ws1 = xs[lanes:], ws0[lanes:], ws1[lanes:]
			}
			s0[j], s0[j+1], s0[j+2], s0[j+3] = a0, a1, a2, a3
			s1[j], s1[j+1], s1[j+2], s1[j+3] = b0, b1, b2, b3
		}
		out[r], out[r+1] = fold(&s0), fold(&s1)
	}
}

func wsumGo(acc, v, p []float32, dim int) {
	for t, w := range p {
		a := acc[t%4*dim:][:dim]
		row := v[t*dim:][:dim]
		for i, x := range row {
			a[i] += float32(w * x)
		}
	}
}

func expSumGo(dst, src []float32, m float32, sum *[lanes]float32) {
	for i, x := range src {
		e := expf(x - m)
		dst[i] = e
		sum[i%lanes] += e
	}
}

func siluGo(gate, up []float32) {
	up = up[:len(gate)]
	for i, g := range gate {
		gate[i] = float32(g/(1+expf(0-g))) * up[i]
	}
}

func maxGo(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		m = max32(m, v)
	}
	return m
}

// dot is one dot product of equal, unpadded lengths.
func dot(a, b []float32) float32 {
	var s [lanes]float32
	for len(a) >= lanes && len(b) >= lanes {
		x, y := (*[lanes]float32)(a), (*[lanes]float32)(b)
		for i := range s {
			s[i] += float32(x[i] * y[i])
		}
		a, b = a[lanes:], b[lanes:]
	}
	for i := range a {
		s[i] += float32(a[i] * b[i])
	}
	return fold(&s)
}
