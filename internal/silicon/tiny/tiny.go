// Package tiny makes small llama models with random weights, the same bytes
// from the same configuration on any machine. Tests use them in place of
// committed model files, and the llama.cpp goldens are recorded from them.
package tiny

import (
	"fmt"
	"math/rand/v2"

	"github.com/hc1-toolkit/hc1/internal/gguf"
)

// Config is the shape of a model. Vocab is at least MinVocab.
type Config struct {
	Name              string
	Seed              uint64
	Vocab, Context    int
	Embd, FFN, Layers int
	Heads, KVHeads    int
	Tied, Factors     bool // no output.weight; a rope_freqs.weight
	RopeBase          float32
	Type              gguf.Type // of the matrices
}

// MinVocab leaves room for the three control tokens and the 256 byte tokens
// without which llama.cpp does not load a tokenizer.
const MinVocab = 3 + 256

// BOS and EOS are the ids of the control tokens in every model made here.
const (
	BOS = 1
	EOS = 2
)

// Goldens are the models whose greedy output llama.cpp has been asked for.
func Goldens() []Config {
	return []Config{
		{Name: "mha-tied", Seed: 1, Vocab: 320, Context: 256, Embd: 64, FFN: 160, Layers: 2, Heads: 4, KVHeads: 4, Tied: true, RopeBase: 10000},
		{Name: "gqa2", Seed: 2, Vocab: 384, Context: 256, Embd: 96, FFN: 256, Layers: 3, Heads: 6, KVHeads: 3, RopeBase: 10000},
		{Name: "gqa4-factors", Seed: 3, Vocab: 320, Context: 256, Embd: 128, FFN: 224, Layers: 2, Heads: 8, KVHeads: 2, Factors: true, RopeBase: 500000},
		{Name: "gqa2-tied-factors", Seed: 4, Vocab: 333, Context: 256, Embd: 96, FFN: 200, Layers: 3, Heads: 4, KVHeads: 2, Tied: true, Factors: true, RopeBase: 500000},
		{Name: "mqa-odd", Seed: 5, Vocab: 301, Context: 256, Embd: 72, FFN: 130, Layers: 2, Heads: 4, KVHeads: 1, RopeBase: 10000},
	}
}

// Prompt is a fixed pseudo-random prompt of n tokens for a model.
func Prompt(c Config, n int) []uint32 {
	r := rand.New(rand.NewPCG(c.Seed, 2))
	p := []uint32{BOS}
	for len(p) < n {
		p = append(p, 3+r.Uint32()%uint32(c.Vocab-3))
	}
	return p
}

// Build makes the model file.
func Build(c Config) ([]byte, error) {
	if c.Vocab < MinVocab {
		return nil, fmt.Errorf("tiny: vocabulary of %d, want at least %d", c.Vocab, MinVocab)
	}
	w := gguf.NewWriter()
	w.SetString("general.architecture", "llama")
	w.SetString("general.name", c.Name)
	w.SetUint32("llama.context_length", uint32(c.Context))
	w.SetUint32("llama.embedding_length", uint32(c.Embd))
	w.SetUint32("llama.feed_forward_length", uint32(c.FFN))
	w.SetUint32("llama.block_count", uint32(c.Layers))
	w.SetUint32("llama.attention.head_count", uint32(c.Heads))
	w.SetUint32("llama.attention.head_count_kv", uint32(c.KVHeads))
	w.SetUint32("llama.rope.dimension_count", uint32(c.Embd/c.Heads))
	w.SetFloat32("llama.rope.freq_base", c.RopeBase)
	w.SetFloat32("llama.attention.layer_norm_rms_epsilon", 1e-5)
	w.SetUint32("llama.vocab_size", uint32(c.Vocab))
	tokenizer(w, c.Vocab)
	tensors(w, c)
	return w.Bytes()
}

// tokenizer writes the least that llama.cpp loads: its "llama" kind, with a
// token for each byte and made-up words for the rest.
func tokenizer(w *gguf.Writer, vocab int) {
	const normal, unknown, control, byteToken = 1, 2, 3, 6
	names := []string{"<unk>", "<s>", "</s>"}
	types := []int32{unknown, control, control}
	for i := range 256 {
		names = append(names, fmt.Sprintf("<0x%02X>", i))
		types = append(types, byteToken)
	}
	for i := len(names); i < vocab; i++ {
		names = append(names, fmt.Sprintf("w%d", i))
		types = append(types, normal)
	}
	w.SetString("tokenizer.ggml.model", "llama")
	w.SetStrings("tokenizer.ggml.tokens", names)
	w.SetFloat32s("tokenizer.ggml.scores", make([]float32, vocab))
	w.SetInt32s("tokenizer.ggml.token_type", types)
	w.SetUint32("tokenizer.ggml.bos_token_id", BOS)
	w.SetUint32("tokenizer.ggml.eos_token_id", EOS)
	w.SetUint32("tokenizer.ggml.unknown_token_id", 0)
}

// tensors writes random weights, scaled so that the logits spread over
// several units and depend on the whole context.
func tensors(w *gguf.Writer, c Config) {
	r := rand.New(rand.NewPCG(c.Seed, 1))
	matrix := func(name string, rows, cols int, gain float32) {
		v := make([]float32, rows*cols)
		s := gain / sqrt(float32(cols))
		for i := range v {
			v[i] = normal(r) * s
		}
		t, data := c.Type, []byte(nil)
		switch t {
		case gguf.TypeF16:
			data = gguf.EncodeF16(v)
		case gguf.TypeQ8_0:
			data = gguf.QuantizeQ8_0(v)
		default:
			t, data = gguf.TypeF32, gguf.EncodeF32(v)
		}
		w.AddTensor(name, []uint64{uint64(cols), uint64(rows)}, t, data)
	}
	vector := func(name string, n int, at func(i int) float32) {
		v := make([]float32, n)
		for i := range v {
			v[i] = at(i)
		}
		w.AddTensor(name, []uint64{uint64(n)}, gguf.TypeF32, gguf.EncodeF32(v))
	}
	norm := func(int) float32 { return 1 + float32(0.2*normal(r)) }
	head := c.Embd / c.Heads
	matrix("token_embd.weight", c.Vocab, c.Embd, 3)
	for i := range c.Layers {
		blk := fmt.Sprintf("blk.%d.", i)
		vector(blk+"attn_norm.weight", c.Embd, norm)
		matrix(blk+"attn_q.weight", c.Heads*head, c.Embd, 2)
		matrix(blk+"attn_k.weight", c.KVHeads*head, c.Embd, 2)
		matrix(blk+"attn_v.weight", c.KVHeads*head, c.Embd, 1)
		matrix(blk+"attn_output.weight", c.Embd, c.Heads*head, 2)
		vector(blk+"ffn_norm.weight", c.Embd, norm)
		matrix(blk+"ffn_gate.weight", c.FFN, c.Embd, 1)
		matrix(blk+"ffn_up.weight", c.FFN, c.Embd, 1)
		matrix(blk+"ffn_down.weight", c.Embd, c.FFN, 2)
	}
	vector("output_norm.weight", c.Embd, norm)
	if !c.Tied {
		matrix("output.weight", c.Vocab, c.Embd, 3)
	}
	if c.Factors {
		vector("rope_freqs.weight", head/2, func(i int) float32 { return 1 + float32(i%5)*0.75 })
	}
}

// normal is a sum of four uniform numbers, of mean 0 and deviation 1: close
// enough to a bell curve, and the same bits everywhere.
func normal(r *rand.Rand) float32 {
	s := float32(-2)
	for range 4 {
		s += float32(float32(r.Uint32()>>8) * (1.0 / (1 << 24)))
	}
	return s * 1.7320508
}

// sqrt is Newton's method in plain arithmetic, for the same reason.
func sqrt(x float32) float32 {
	y := (x + 1) / 2
	for range 30 {
		y = (y + x/y) / 2
	}
	return y
}
