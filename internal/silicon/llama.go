package silicon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"math"

	"github.com/hc1-toolkit/hc1/internal/gguf"
)

// llama is the Engine for Llama 2, 3, 3.1 and 3.2 shapes. All weights are
// held as binary32, whatever the file had: four bytes of memory per weight.
type llama struct {
	config
	info     Info
	kernels  kernels
	layers   []layer
	outNorm  []float32
	embed    matrix
	head     matrix // shares embed's memory where the model ties them
	freq     []float64
	qScale   float32
	weights  uint32 // checksum at load
	passed   uint32 // checksum of the reference pass at load
	kvStride int    // elements of one cached key or value, padded
}

// Load makes an engine from a model of architecture "llama": grouped-query
// attention, RMSNorm, rotary embedding over interleaved pairs with optional
// frequency factors, gated SiLU feed-forward, tied or separate head; weights
// in F32, F16, BF16 or Q8_0, turned into binary32 once, here. Anything in the
// file that would compute something else (biases, experts, other rotary
// scalings, unknown tensors) is refused by name.
func Load(f *gguf.File) (Engine, error) {
	e, err := load(f, bestKernels)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func load(f *gguf.File, k kernels) (*llama, error) {
	c, err := readConfig(f)
	if err != nil {
		return nil, err
	}
	e := &llama{config: c, kernels: k}
	l := &loader{f: f, used: map[string]bool{}}
	if _, err := l.take("token_embd.weight", uint64(c.embd), uint64(c.vocab)); err != nil {
		return nil, err
	}
	e.embed = newMatrix(c.vocab, c.embd)
	if err := l.rows(e.embed, 0, "token_embd.weight", c.vocab, c.embd); err != nil {
		return nil, err
	}
	for i := range c.layers {
		b, err := l.layer(i, &c)
		if err != nil {
			return nil, err
		}
		e.layers = append(e.layers, b)
	}
	if e.outNorm, err = l.vector("output_norm.weight", c.embd); err != nil {
		return nil, err
	}
	e.head = e.embed
	if _, ok := f.Tensor("output.weight"); ok {
		if _, err := l.take("output.weight", uint64(c.embd), uint64(c.vocab)); err != nil {
			return nil, err
		}
		e.head = newMatrix(c.vocab, c.embd)
		if err := l.rows(e.head, 0, "output.weight", c.vocab, c.embd); err != nil {
			return nil, err
		}
	}
	var factors []float32
	if _, ok := f.Tensor("rope_freqs.weight"); ok {
		if factors, err = l.vector("rope_freqs.weight", c.rotDim/2); err != nil {
			return nil, err
		}
	}
	if e.freq, err = c.frequencies(factors); err != nil {
		return nil, err
	}
	if err := l.unused(); err != nil {
		return nil, err
	}
	e.qScale = float32(1 / math.Sqrt(float64(c.headDim)))
	e.kvStride = pad(c.headDim, lanes)
	if n := c.layers * c.kvHeads * e.kvStride; n > maxKV {
		return nil, fmt.Errorf("silicon: model metadata: %d layers of %d kv heads of %d elements: too much for one position (%d elements, limit %d)",
			c.layers, c.kvHeads, c.headDim, n, maxKV)
	}
	e.info = Info{Kind: "llama", Name: c.name, ModelID: f.SHA256(), NumericsID: NumericsID, Vocab: c.vocab,
		Context: c.context, BOS: c.bos, Stops: c.stops}
	for _, t := range f.Tensors() {
		e.info.Params += int64(t.Elements())
	}
	e.weights = e.checksum()
	e.passed = e.referencePass()
	return e, e.crossCheck()
}

func (e *llama) Info() Info {
	i := e.info
	i.Stops = append([]uint32(nil), i.Stops...)
	return i
}

// Errors of SelfTest.
var (
	errWeights = errors.New("silicon: self-test: the weights have changed since load")
	errPass    = errors.New("silicon: self-test: the reference pass gives other logits than at load")
)

// SelfTest finds flipped bits in the weights and an arithmetic unit that no
// longer computes what it did.
func (e *llama) SelfTest() error {
	if e.checksum() != e.weights {
		return errWeights
	}
	if e.referencePass() != e.passed {
		return errPass
	}
	return nil
}

// crossCheck runs the reference pass on the portable kernels too, where that
// is quick enough to do at every load.
func (e *llama) crossCheck() error {
	if e.kernels == portable || e.info.Params > 4<<20 {
		return nil
	}
	p := *e
	p.kernels = portable
	if p.referencePass() != e.passed {
		return fmt.Errorf("silicon: self-test: %s and portable kernels give different logits", e.kernels)
	}
	return nil
}

// summer hashes floats by their bits.
type summer struct {
	h   hash.Hash32
	buf [4096]byte
}

func newSummer() *summer { return &summer{h: crc32.New(crc32.MakeTable(crc32.Castagnoli))} }

func (s *summer) add(v []float32) {
	for len(v) > 0 {
		n := min(len(v), len(s.buf)/4)
		for i, x := range v[:n] {
			binary.LittleEndian.PutUint32(s.buf[4*i:], math.Float32bits(x))
		}
		s.h.Write(s.buf[:4*n])
		v = v[n:]
	}
}

func (e *llama) checksum() uint32 {
	s := newSummer()
	s.add(e.embed.w)
	s.add(e.outNorm)
	if &e.head.w[0] != &e.embed.w[0] {
		s.add(e.head.w)
	}
	for _, b := range e.layers {
		for _, v := range [][]float32{b.attnNorm, b.ffnNorm, b.qkv.w, b.out.w, b.gateUp.w, b.down.w} {
			s.add(v)
		}
	}
	return s.h.Sum32()
}

// referencePass is the checksum of the logits of a few tokens spread over the
// vocabulary: some as one chunk, then one more alone.
func (e *llama) referencePass() uint32 {
	s := newSummer()
	st := e.NewState()
	tokens := make([]uint32, min(5, e.config.context))
	for i := range tokens {
		tokens[i] = uint32(i * (e.vocab - 1) / len(tokens))
	}
	sum := func(_ int, logits []float32) { s.add(logits) }
	// The tokens are in range and fit, so Append cannot fail.
	_ = st.Append(tokens[:len(tokens)-1], sum)
	_ = st.Append(tokens[len(tokens)-1:], sum)
	return s.h.Sum32()
}
