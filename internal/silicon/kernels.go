package silicon

import "math"

// kernels is the set of inner loops to use. All sets give the same bits; they
// differ in speed only. The methods check lengths once, so that the assembly
// needs no bounds checks.
type kernels int

const (
	portable kernels = iota
	avx2
	avx512
)

func (k kernels) String() string { return [...]string{"portable", "avx2", "avx512"}[k] }

// rowGroup is the number of rows a matVec handles together; matrices are
// padded to whole groups and rows to whole lanes.
const rowGroup = 4

// matVec sets out[r] = dot(row r of w, x), for len(out) rows of len(x)
// elements. len(out) is a multiple of rowGroup, len(x) of lanes.
func (k kernels) matVec(out, w, x []float32) {
	rows, n := len(out), len(x)
	if rows == 0 || n == 0 || rows%rowGroup != 0 || n%lanes != 0 || len(w) < rows*n {
		panic("silicon: matVec: bad lengths")
	}
	switch k {
	case avx512:
		matVecAVX512(&out[0], &w[0], &x[0], rows, n)
	case avx2:
		matVecAVX2(&out[0], &w[0], &x[0], rows, n)
	default:
		matVecGo(out, w, x)
	}
}

// wsum adds p[t] * (row t of v) to acc, which holds 4 lanes of dim elements;
// row t goes to lane t mod 4. dim is a multiple of lanes, v has len(p) rows.
func (k kernels) wsum(acc, v, p []float32, dim int) {
	n := len(p)
	if n == 0 || dim == 0 || dim%lanes != 0 || len(acc) < 4*dim || len(v) < n*dim {
		panic("silicon: wsum: bad lengths")
	}
	switch k {
	case avx512:
		wsumAVX512(&acc[0], &v[0], &p[0], n, dim)
	case avx2:
		wsumAVX2(&acc[0], &v[0], &p[0], n, dim)
	default:
		wsumGo(acc, v, p, dim)
	}
}

// expSum sets dst[i] = exp(src[i] - m) and adds it to sum[i mod 16]. dst may
// be src. The length is a multiple of lanes.
func (k kernels) expSum(dst, src []float32, m float32, sum *[lanes]float32) {
	n := len(src)
	if n == 0 || n%lanes != 0 || len(dst) < n {
		panic("silicon: expSum: bad lengths")
	}
	switch k {
	case avx512:
		expSumAVX512(&dst[0], &src[0], n, m, sum)
	case avx2:
		expSumAVX2(&dst[0], &src[0], n, m, sum)
	default:
		expSumGo(dst, src, m, sum)
	}
}

// silu sets gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i]. The length is a
// multiple of lanes.
func (k kernels) silu(gate, up []float32) {
	n := len(gate)
	if n == 0 || n%lanes != 0 || len(up) < n {
		panic("silicon: silu: bad lengths")
	}
	switch k {
	case avx512:
		siluAVX512(&gate[0], &up[0], n)
	case avx2:
		siluAVX2(&gate[0], &up[0], n)
	default:
		siluGo(gate, up)
	}
}

// max is the greatest element, NaNs passed over; -Inf if there is none. The
// length is a multiple of lanes.
func (k kernels) max(x []float32) float32 {
	n := len(x)
	if n == 0 {
		return float32(math.Inf(-1))
	}
	if n%lanes != 0 {
		panic("silicon: max: bad length")
	}
	switch k {
	case avx512:
		return maxAVX512(&x[0], n)
	case avx2:
		return maxAVX2(&x[0], n)
	default:
		return maxGo(x)
	}
}
