package silicon

import (
	"fmt"
	"math"

	"github.com/hc1-toolkit/hc1/internal/gguf"
)

// matrix is a weight matrix, rows outermost, as the kernels want it: binary32,
// each row padded with zeros to whole lanes, the rows to whole groups. Several
// tensors that multiply the same vector are stacked into one.
type matrix struct {
	w          []float32
	rows, cols int // padded
}

func newMatrix(rows, cols int) matrix {
	m := matrix{rows: pad(rows, rowGroup), cols: pad(cols, lanes)}
	m.w = make([]float32, m.rows*m.cols)
	return m
}

func (m matrix) row(i int) []float32 { return m.w[i*m.cols : (i+1)*m.cols] }

func pad(n, to int) int { return (n + to - 1) / to * to }

// layer holds the weights of one block.
type layer struct {
	attnNorm, ffnNorm []float32
	qkv               matrix // query rows, then key rows, then value rows
	out               matrix
	gateUp            matrix // gate rows padded to lanes, then up rows
	down              matrix
}

// loader takes tensors out of a file, once each.
type loader struct {
	f    *gguf.File
	used map[string]bool
}

func (l *loader) take(name string, shape ...uint64) (gguf.Tensor, error) {
	t, ok := l.f.Tensor(name)
	if !ok {
		return t, fmt.Errorf("silicon: tensor %s is missing", name)
	}
	l.used[name] = true
	same := len(t.Shape) == len(shape)
	for i := 0; same && i < len(shape); i++ {
		same = t.Shape[i] == shape[i]
	}
	if !same {
		return t, fmt.Errorf("silicon: tensor %s has shape %v, the metadata wants %v", name, t.Shape, shape)
	}
	switch t.Type {
	case gguf.TypeF32, gguf.TypeF16, gguf.TypeBF16, gguf.TypeQ8_0:
		return t, nil
	}
	return t, fmt.Errorf("silicon: tensor %s has type %s, only F32, F16, BF16 and Q8_0 are supported", name, t.Type)
}

// decode turns t into binary32 and refuses what is not finite.
func decode(t gguf.Tensor, dst []float32) error {
	if err := t.Float32(dst); err != nil {
		return fmt.Errorf("silicon: %w", err)
	}
	for i, v := range dst {
		if math.Float32bits(v)>>23&255 == 255 {
			return fmt.Errorf("silicon: tensor %s: element %d is not finite", t.Name, i)
		}
	}
	return nil
}

func (l *loader) vector(name string, n int) ([]float32, error) {
	t, err := l.take(name, uint64(n))
	if err != nil {
		return nil, err
	}
	v := make([]float32, n)
	return v, decode(t, v)
}

// rows decodes a tensor of rows x cols into m from row at on.
func (l *loader) rows(m matrix, at int, name string, rows, cols int) error {
	t, err := l.take(name, uint64(cols), uint64(rows))
	if err != nil {
		return err
	}
	// Row by row straight to its place: no second copy of a large tensor.
	size := len(t.Data) / rows
	for r := range rows {
		one := gguf.Tensor{Name: name, Shape: t.Shape[:1], Type: t.Type, Data: t.Data[r*size : (r+1)*size]}
		if err := decode(one, m.row(at + r)[:cols]); err != nil {
			return fmt.Errorf("row %d: %w", r, err)
		}
	}
	return nil
}

func (l *loader) layer(i int, c *config) (b layer, err error) {
	name := func(s string) string { return fmt.Sprintf("blk.%d.%s.weight", i, s) }
	if b.attnNorm, err = l.vector(name("attn_norm"), c.embd); err != nil {
		return b, err
	}
	if b.ffnNorm, err = l.vector(name("ffn_norm"), c.embd); err != nil {
		return b, err
	}
	q, kv, gate := c.heads*c.headDim, c.kvHeads*c.headDim, pad(c.ffn, lanes)
	// The shapes are checked before memory is set aside for what they promise.
	for _, w := range []struct {
		m          *matrix
		first      bool
		height, at int // of the matrix; where in it this tensor starts
		name       string
		rows, cols int
	}{
		{&b.qkv, true, q + 2*kv, 0, "attn_q", q, c.embd},
		{&b.qkv, false, 0, q, "attn_k", kv, c.embd},
		{&b.qkv, false, 0, q + kv, "attn_v", kv, c.embd},
		{&b.out, true, c.embd, 0, "attn_output", c.embd, q},
		{&b.gateUp, true, 2 * gate, 0, "ffn_gate", c.ffn, c.embd},
		{&b.gateUp, false, 0, gate, "ffn_up", c.ffn, c.embd},
		{&b.down, true, c.embd, 0, "ffn_down", c.embd, c.ffn},
	} {
		if _, err := l.take(name(w.name), uint64(w.cols), uint64(w.rows)); err != nil {
			return b, err
		}
		if w.first {
			*w.m = newMatrix(w.height, w.cols)
		}
		if err := l.rows(*w.m, w.at, name(w.name), w.rows, w.cols); err != nil {
			return b, err
		}
	}
	return b, nil
}

// unused names a tensor that nothing has taken: computing without it would
// give another model's tokens.
func (l *loader) unused() error {
	for _, t := range l.f.Tensors() {
		if !l.used[t.Name] {
			if n := len(t.Name); n > 5 && t.Name[n-5:] == ".bias" {
				return fmt.Errorf("silicon: tensor %s: biases are not supported", t.Name)
			}
			return fmt.Errorf("silicon: tensor %s is not part of a llama model this engine knows", t.Name)
		}
	}
	return nil
}
