package silicon

import (
	"fmt"
	"math"
	"slices"

	"github.com/hc1-toolkit/hc1/internal/gguf"
)

// config is what the metadata of a llama file says about its shape.
type config struct {
	name              string
	vocab, context    int
	embd, ffn, layers int
	heads, kvHeads    int
	headDim, rotDim   int
	eps               float32
	ropeBase          float64
	bos               uint32
	stops             []uint32
}

// Bounds that keep every product of sizes far from overflow and every angle
// within what sincos64 reduces exactly. They are well past any real model.
const (
	maxDim     = 1 << 20
	maxContext = 1 << 20
	minFactor  = 1.0 / 64 // of a rotary frequency
)

// metadata reads keys and keeps the first thing wrong.
type metadata struct {
	f   *gguf.File
	err error
}

func (m *metadata) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf("silicon: model metadata: "+format, args...)
	}
}

// size reads a size in 1..limit; def is taken where the key is absent, and
// must be given (not 0) for the key to be optional.
func (m *metadata) size(key string, def, limit int) int {
	v, ok := m.f.Uint32(key)
	switch {
	case !ok && m.has(key):
		m.fail("%s is not a plain integer", key)
	case !ok && def == 0:
		m.fail("%s is missing", key)
	case !ok:
		return def
	case v == 0 || uint64(v) > uint64(limit):
		m.fail("%s is %d, want 1..%d", key, v, limit)
	}
	return int(v)
}

func (m *metadata) has(key string) bool {
	return slices.ContainsFunc(m.f.Keys(), func(kv gguf.KV) bool { return kv.Key == key })
}

// token reads a token id; absent is NoToken.
func (m *metadata) token(key string, vocab int) uint32 {
	v, ok := m.f.Uint32(key)
	if !ok {
		return NoToken
	}
	if uint64(v) >= uint64(vocab) {
		m.fail("%s is %d, but the vocabulary has %d tokens", key, v, vocab)
	}
	return v
}

func readConfig(f *gguf.File) (config, error) {
	m := &metadata{f: f}
	arch, ok := f.String("general.architecture")
	if !ok {
		m.fail("general.architecture is missing")
	} else if arch != "llama" {
		m.fail("architecture is %q, only \"llama\" is supported", arch)
	}
	var c config
	if c.name, ok = f.String("general.name"); !ok || c.name == "" {
		c.name = "llama"
	}
	embedding, ok := f.Tensor("token_embd.weight")
	if !ok {
		m.fail("tensor token_embd.weight is missing")
	} else if len(embedding.Shape) != 2 || embedding.Shape[1] > maxDim {
		m.fail("tensor token_embd.weight has shape %v, want 2 dimensions and at most %d tokens", embedding.Shape, maxDim)
	} else {
		c.vocab = int(embedding.Shape[1])
	}
	if m.err != nil {
		return config{}, m.err
	}

	c.context = m.size("llama.context_length", 0, maxContext)
	c.embd = m.size("llama.embedding_length", 0, maxDim)
	c.ffn = m.size("llama.feed_forward_length", 0, maxDim)
	c.layers = m.size("llama.block_count", 0, 1024)
	c.heads = m.size("llama.attention.head_count", 0, 4096)
	if m.err != nil {
		return config{}, m.err
	}
	c.kvHeads = m.size("llama.attention.head_count_kv", c.heads, c.heads)
	c.headDim = m.size("llama.attention.key_length", max(1, c.embd/c.heads), maxDim/c.heads)
	if v := m.size("llama.attention.value_length", c.headDim, maxDim); v != c.headDim {
		m.fail("value_length %d differs from key length %d", v, c.headDim)
	}
	if !m.has("llama.attention.key_length") && c.embd%c.heads != 0 {
		m.fail("embedding_length %d is not a multiple of head_count %d", c.embd, c.heads)
	}
	c.rotDim = m.size("llama.rope.dimension_count", c.headDim, maxDim)
	if m.err != nil {
		return config{}, m.err
	}
	if c.heads%c.kvHeads != 0 {
		m.fail("head_count %d is not a multiple of head_count_kv %d", c.heads, c.kvHeads)
	}
	if c.rotDim%2 != 0 || c.rotDim > c.headDim {
		m.fail("rope.dimension_count is %d, want an even number up to the head size %d", c.rotDim, c.headDim)
	}
	if v, ok := f.Uint32("llama.vocab_size"); ok && uint64(v) != uint64(c.vocab) {
		m.fail("vocab_size is %d, but token_embd.weight has %d rows", v, c.vocab)
	}
	readNumbers(m, &c)
	refuseVariants(m)
	c.bos = m.token("tokenizer.ggml.bos_token_id", c.vocab)
	c.stops = readStops(m, c.vocab)
	return c, m.err
}

func readNumbers(m *metadata, c *config) {
	const epsKey = "llama.attention.layer_norm_rms_epsilon"
	eps, ok := m.f.Float32(epsKey)
	if !ok {
		m.fail("%s is missing", epsKey)
	} else if !(eps >= 0 && eps < 1) {
		m.fail("%s is %v, want 0 <= eps < 1", epsKey, eps)
	}
	c.eps = eps
	base, ok := m.f.Float32("llama.rope.freq_base")
	if !ok {
		base = 10000
	}
	if !(base >= 1 && base < 1e30) {
		m.fail("llama.rope.freq_base is %v, want 1 <= base < 1e30", base)
	}
	c.ropeBase = float64(base)
}

// refuseVariants refuses what would silently compute something else.
func refuseVariants(m *metadata) {
	if s, ok := m.f.String("llama.rope.scaling.type"); ok && s != "none" {
		m.fail("llama.rope.scaling.type %q is not supported", s)
	}
	for _, key := range []string{"llama.rope.scale_linear", "llama.rope.scaling.factor"} {
		if v, ok := m.f.Float32(key); ok && v != 1 {
			m.fail("%s %v is not supported", key, v)
		}
	}
	for _, key := range []string{"llama.expert_count", "llama.attention.sliding_window"} {
		if v, ok := m.f.Uint32(key); ok && v != 0 {
			m.fail("%s %d is not supported", key, v)
		}
	}
	for _, key := range []string{"llama.attention.scale", "llama.attention.clamp_kqv", "llama.logit_scale",
		"llama.embedding_scale", "llama.residual_scale"} {
		if v, ok := m.f.Float32(key); ok && v != 0 && v != 1 {
			m.fail("%s %v is not supported", key, v)
		}
	}
	if v, ok := m.f.Bool("llama.attention.causal"); ok && !v {
		m.fail("non-causal attention is not supported")
	}
}

// readStops collects the ids that end a generation: those the metadata names,
// and the Llama 3 ones by their text, as many files name only one of them.
func readStops(m *metadata, vocab int) []uint32 {
	var stops []uint32
	add := func(id uint32) {
		if id != NoToken && !slices.Contains(stops, id) {
			stops = append(stops, id)
		}
	}
	for _, key := range []string{"eos", "eot", "eom"} {
		add(m.token("tokenizer.ggml."+key+"_token_id", vocab))
	}
	tokens, ok := m.f.Strings("tokenizer.ggml.tokens")
	if ok && len(tokens) != vocab {
		m.fail("tokenizer has %d tokens, token_embd.weight %d rows", len(tokens), vocab)
	}
	for id, s := range tokens {
		switch s {
		case "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>":
			if len(stops) < 16 {
				add(uint32(id))
			}
		}
	}
	return stops
}

// frequencies is the angle per position of each rotated pair.
func (c *config) frequencies(factors []float32) ([]float64, error) {
	lnBase := log64(c.ropeBase)
	freq := make([]float64, c.rotDim/2)
	for i := range freq {
		e := float64(float64(-2*i) / float64(c.rotDim))
		freq[i] = exp64(float64(e * lnBase))
		if factors != nil {
			v := float64(factors[i])
			if !(v >= minFactor) || math.IsInf(v, 0) {
				return nil, fmt.Errorf("silicon: tensor rope_freqs.weight: factor %d is %v, want at least %v", i, v, minFactor)
			}
			freq[i] /= v
		}
	}
	return freq, nil
}
