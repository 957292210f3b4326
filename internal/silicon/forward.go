package silicon

import "math"

// scratch is the working memory of a forward pass, one row per token of a
// batch. Rows are padded to whole lanes, and the padding stays zero.
type scratch struct {
	batch int // tokens there is room for

	x      []float32 // residual stream
	norm   []float32 // normalised
	qkv    []float32
	q      []float32 // rotated and scaled queries, each head padded
	att    []float32 // attention output, heads side by side
	gateUp []float32
	delta  []float32 // what a block adds to x
	sin    []float32
	cos    []float32

	scores []float32 // one head's, all positions
	acc    []float32 // one head's sum of values, 4 lanes
	logits []float32 // vocabulary, padded
}

// fit makes room for a batch and for the scores of all positions. What it lets
// go of is overwritten first: it tells of someone's prompt.
func (s *scratch) fit(e *llama, batch, positions int) {
	if len(s.scores) < positions {
		clear(s.scores)
		s.scores = make([]float32, positions)
	}
	if batch <= s.batch {
		return
	}
	if batch > 1 {
		batch = maxBatch // one step up, not one for each size
	}
	s.zero()
	s.batch = batch
	l := &e.layers[0]
	rows := func(n int) []float32 { return make([]float32, batch*n) }
	s.x, s.norm, s.delta = rows(e.embed.cols), rows(e.embed.cols), rows(l.out.rows)
	s.qkv, s.q, s.att = rows(l.qkv.rows), rows(e.heads*e.kvStride), rows(l.out.cols)
	s.gateUp = rows(l.gateUp.rows)
	s.sin, s.cos = rows(e.rotDim/2), rows(e.rotDim/2)
	if s.acc == nil {
		s.acc = make([]float32, 4*e.kvStride)
		s.logits = make([]float32, e.head.rows)
	}
}

func (s *scratch) zero() {
	for _, v := range [][]float32{s.x, s.norm, s.qkv, s.q, s.att, s.gateUp, s.delta, s.sin, s.cos, s.scores, s.acc, s.logits} {
		clear(v)
	}
}

// forward runs a batch through the layers and into the KV. The residual
// stream of tokens from want on is left in s.x; the others' is not needed
// past the last layer's keys and values, so that work is left out.
func (s *llamaState) forward(tokens []uint32, want int) {
	e, w := s.e, &s.s
	w.fit(e, len(tokens), len(s.chunks)*kvChunk)
	for i, t := range tokens {
		copy(w.x[i*e.embed.cols:], e.embed.row(int(t)))
	}
	s.angles(len(tokens))
	for li := range e.layers {
		l := &e.layers[li]
		s.rmsNorm(0, len(tokens), l.attnNorm)
		s.multiply(w.qkv, l.qkv, w.norm, l.qkv.cols, 0, len(tokens))
		for i := range tokens {
			s.rotate(li, i)
		}
		first := 0
		if li == len(e.layers)-1 {
			first = want
		}
		if first == len(tokens) {
			break
		}
		for i := first; i < len(tokens); i++ {
			s.attend(li, i)
		}
		s.multiply(w.delta, l.out, w.att, l.out.cols, first, len(tokens))
		s.residual(first, len(tokens))

		s.rmsNorm(first, len(tokens), l.ffnNorm)
		s.multiply(w.gateUp, l.gateUp, w.norm, l.gateUp.cols, first, len(tokens))
		s.feedForward(l, first, len(tokens))
		s.residual(first, len(tokens))
	}
	s.n += len(tokens)
}

// multiply sets row i of out to m times row i of in, for i in from..to-1; rows
// of in are stride elements apart. Weights are taken in blocks that stay in
// the nearest cache while all the tokens of the batch pass over them.
func (s *llamaState) multiply(out []float32, m matrix, in []float32, stride, from, to int) {
	const block = 24 << 10 / 4
	step := max(rowGroup, block/m.cols&^(rowGroup-1))
	if to-from == 1 {
		step = m.rows
	}
	for r := 0; r < m.rows; r += step {
		n := min(step, m.rows-r)
		w := m.w[r*m.cols : (r+n)*m.cols]
		for i := from; i < to; i++ {
			s.e.kernels.matVec(out[i*m.rows+r:][:n], w, in[i*stride:][:m.cols])
		}
	}
}

// rmsNorm normalises rows from..to-1 of x into norm.
func (s *llamaState) rmsNorm(from, to int, weight []float32) {
	stride := s.e.embed.cols
	for i := from; i < to; i++ {
		x := s.s.x[i*stride:][:len(weight)]
		out := s.s.norm[i*stride:][:len(weight)]
		scale := 1 / sqrtf(dot(x, x)/float32(len(x))+s.e.eps)
		for j, v := range x {
			out[j] = float32(v*scale) * weight[j]
		}
	}
}

// residual adds delta to x.
func (s *llamaState) residual(from, to int) {
	n := s.e.embd
	for i := from; i < to; i++ {
		x := s.s.x[i*s.e.embed.cols:][:n]
		d := s.s.delta[i*s.e.layers[0].out.rows:][:n]
		for j, v := range d {
			x[j] += v
		}
	}
}

// angles fills sin and cos for the positions of a batch.
func (s *llamaState) angles(n int) {
	pairs := s.e.rotDim / 2
	for i := range n {
		sin, cos := s.s.sin[i*pairs:][:pairs], s.s.cos[i*pairs:][:pairs]
		for j, f := range s.e.freq {
			sn, cs := sincos64(float64(float64(s.n+i) * f))
			sin[j], cos[j] = float32(sn), float32(cs)
		}
	}
}

// rotate puts token i's rotated queries into q and its rotated keys and its
// values into the KV.
func (s *llamaState) rotate(li, i int) {
	e, w := s.e, &s.s
	pairs, hd := e.rotDim/2, e.headDim
	sin, cos := w.sin[i*pairs:][:pairs], w.cos[i*pairs:][:pairs]
	in := w.qkv[i*e.layers[li].qkv.rows:]
	turn := func(dst, src []float32, scale float32) {
		src, dst = src[:hd], dst[:hd]
		for j, c := range cos {
			a, b, sn := src[2*j], src[2*j+1], sin[j]
			dst[2*j] = (float32(a*c) - float32(b*sn)) * scale
			dst[2*j+1] = (float32(a*sn) + float32(b*c)) * scale
		}
		for j := e.rotDim; j < hd; j++ {
			dst[j] = src[j] * scale
		}
	}
	for h := range e.heads {
		turn(w.q[(i*e.heads+h)*e.kvStride:], in[h*hd:], e.qScale)
	}
	pos := s.n + i
	chunk, row := s.chunks[pos/kvChunk], pos%kvChunk*e.kvStride
	in = in[e.heads*hd:]
	for h := range e.kvHeads {
		at := e.block(li, h) + row
		turn(chunk[at:], in[h*hd:], 1)
		copy(chunk[at+kvChunk*e.kvStride:][:hd], in[(e.kvHeads+h)*hd:])
	}
}

// attend computes token i's attention, all heads, into att.
func (s *llamaState) attend(li, i int) {
	e, w, k := s.e, &s.s, s.e.kernels
	stride := e.kvStride
	count := s.n + i + 1 // positions it sees
	group := e.heads / e.kvHeads
	for h := range e.heads {
		q := w.q[(i*e.heads+h)*stride:][:stride]
		keys := e.block(li, h/group)
		for at := 0; at < count; at += kvChunk {
			// Whole groups of rows: the last few scores may be of positions
			// this token does not see, and are overwritten below.
			n := pad(min(kvChunk, count-at), rowGroup)
			k.matVec(w.scores[at:at+n], s.chunks[at/kvChunk][keys:], q)
		}
		scores := w.scores[:pad(count, lanes)]
		for j := count; j < len(scores); j++ {
			scores[j] = float32(math.Inf(-1))
		}
		var sum [lanes]float32
		k.expSum(scores, scores, k.max(scores), &sum)

		clear(w.acc)
		for at := 0; at < count; at += kvChunk {
			n := min(kvChunk, count-at)
			k.wsum(w.acc, s.chunks[at/kvChunk][keys+kvChunk*stride:], scores[at:at+n], stride)
		}
		inv := 1 / fold(&sum)
		out := w.att[i*e.layers[li].out.cols+h*e.headDim:][:e.headDim]
		a0, a1, a2, a3 := w.acc, w.acc[stride:], w.acc[2*stride:], w.acc[3*stride:]
		for j := range out {
			out[j] = ((a0[j] + a2[j]) + (a1[j] + a3[j])) * inv
		}
	}
}

// feedForward turns gateUp into delta.
func (s *llamaState) feedForward(l *layer, from, to int) {
	w := &s.s
	half := l.down.cols // gate rows, padded to lanes; up rows follow
	for i := from; i < to; i++ {
		g := w.gateUp[i*l.gateUp.rows:]
		s.e.kernels.silu(g[:half], g[half:2*half])
	}
	s.multiply(w.delta, l.down, w.gateUp, l.gateUp.rows, from, to)
}

// logits computes the logits that follow token i of the last batch into dst,
// or, where dst is nil, into memory of its own.
func (s *llamaState) logits(i int, dst []float32) []float32 {
	e, w := s.e, &s.s
	s.rmsNorm(i, i+1, e.outNorm)
	// The kernel fills whole groups of rows, so dst may be a little short.
	e.kernels.matVec(w.logits, e.head.w, w.norm[i*e.embed.cols:][:e.embed.cols])
	if dst == nil {
		return w.logits[:e.vocab]
	}
	copy(dst, w.logits)
	return dst
}
