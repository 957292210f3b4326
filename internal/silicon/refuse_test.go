package silicon

import (
	"math"
	"testing"

	"github.com/hc1-toolkit/hc1/internal/gguf"
)

// spec is a model small enough to write by hand: each case below changes one
// thing in it.
type spec struct {
	u     map[string]uint32
	f     map[string]float32
	s     map[string]string
	shape map[string][]uint64
	typ   map[string]gguf.Type
	nan   string // tensor to spoil
}

func newSpec() *spec {
	s := &spec{
		u: map[string]uint32{"llama.context_length": 64, "llama.embedding_length": 32, "llama.feed_forward_length": 32,
			"llama.block_count": 1, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2},
		f: map[string]float32{"llama.attention.layer_norm_rms_epsilon": 1e-5},
		s: map[string]string{"general.architecture": "llama"},
		shape: map[string][]uint64{
			"token_embd.weight": {32, 10}, "output_norm.weight": {32},
			"blk.0.attn_norm.weight": {32}, "blk.0.ffn_norm.weight": {32},
			"blk.0.attn_q.weight": {32, 32}, "blk.0.attn_k.weight": {32, 16}, "blk.0.attn_v.weight": {32, 16},
			"blk.0.attn_output.weight": {32, 32}, "blk.0.ffn_gate.weight": {32, 32}, "blk.0.ffn_up.weight": {32, 32},
			"blk.0.ffn_down.weight": {32, 32},
		},
		typ: map[string]gguf.Type{},
	}
	return s
}

func (s *spec) load(t *testing.T) (*llama, error) {
	t.Helper()
	w := gguf.NewWriter()
	for k, v := range s.u {
		w.SetUint32(k, v)
	}
	for k, v := range s.f {
		w.SetFloat32(k, v)
	}
	for k, v := range s.s {
		w.SetString(k, v)
	}
	for name, shape := range s.shape {
		n := gguf.Tensor{Shape: shape}.Elements()
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(i%7) / 8
		}
		if name == s.nan {
			v[n-1] = float32(math.NaN())
		}
		switch typ := s.typ[name]; typ {
		case gguf.TypeF16:
			w.AddTensor(name, shape, typ, gguf.EncodeF16(v))
		case 2: // Q4_0, which the engine does not decode
			w.AddTensor(name, shape, typ, make([]byte, n/32*18))
		default:
			w.AddTensor(name, shape, gguf.TypeF32, gguf.EncodeF32(v))
		}
	}
	data, err := w.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return load(f, bestKernels)
}

func TestLoadRefuses(t *testing.T) {
	if _, err := newSpec().load(t); err != nil {
		t.Fatalf("the unchanged model: %v", err)
	}
	for _, c := range []struct {
		name   string
		change func(s *spec)
		want   string
	}{
		{"architecture", func(s *spec) { s.s["general.architecture"] = "qwen3" }, `architecture is "qwen3"`},
		{"no architecture", func(s *spec) { delete(s.s, "general.architecture") }, "general.architecture is missing"},
		{"no embedding", func(s *spec) { delete(s.shape, "token_embd.weight") }, "tensor token_embd.weight is missing"},
		{"no context", func(s *spec) { delete(s.u, "llama.context_length") }, "llama.context_length is missing"},
		{"huge context", func(s *spec) { s.u["llama.context_length"] = 1 << 31 }, "context_length is 2147483648, want 1..1048576"},
		{"no layers", func(s *spec) { s.u["llama.block_count"] = 0 }, "block_count is 0"},
		{"too many layers", func(s *spec) { s.u["llama.block_count"] = 2 }, "tensor blk.1.attn_norm.weight is missing"},
		{"heads", func(s *spec) { s.u["llama.attention.head_count"] = 5 }, "not a multiple of head_count 5"},
		{"kv heads", func(s *spec) { s.u["llama.attention.head_count_kv"] = 3 }, "not a multiple of head_count_kv 3"},
		{"more kv heads", func(s *spec) { s.u["llama.attention.head_count_kv"] = 8 }, "head_count_kv is 8, want 1..4"},
		{"kv heads absent", func(s *spec) { delete(s.u, "llama.attention.head_count_kv") }, "tensor blk.0.attn_k.weight has shape [32 16], the metadata wants [32 32]"},
		{"value length", func(s *spec) { s.u["llama.attention.value_length"] = 4 }, "value_length 4 differs"},
		{"odd rotation", func(s *spec) { s.u["llama.rope.dimension_count"] = 7 }, "dimension_count is 7"},
		{"wide rotation", func(s *spec) { s.u["llama.rope.dimension_count"] = 16 }, "dimension_count is 16"},
		{"wrong kind", func(s *spec) {
			delete(s.u, "llama.attention.head_count")
			s.s["llama.attention.head_count"] = "4"
		}, "head_count is not a plain integer"},
		{"no eps", func(s *spec) { s.f = nil }, "layer_norm_rms_epsilon is missing"},
		{"NaN eps", func(s *spec) { s.f["llama.attention.layer_norm_rms_epsilon"] = float32(math.NaN()) }, "epsilon is NaN"},
		{"base", func(s *spec) { s.f["llama.rope.freq_base"] = 0 }, "freq_base is 0"},
		{"scaling", func(s *spec) { s.s["llama.rope.scaling.type"] = "yarn" }, `scaling.type "yarn" is not supported`},
		{"experts", func(s *spec) { s.u["llama.expert_count"] = 8 }, "expert_count 8 is not supported"},
		{"vocabulary", func(s *spec) { s.u["llama.vocab_size"] = 11 }, "vocab_size is 11"},
		{"stop", func(s *spec) { s.u["tokenizer.ggml.eos_token_id"] = 10 }, "eos_token_id is 10"},
		{"missing", func(s *spec) { delete(s.shape, "blk.0.ffn_up.weight") }, "tensor blk.0.ffn_up.weight is missing"},
		{"shape", func(s *spec) { s.shape["blk.0.ffn_down.weight"] = []uint64{32, 31} }, "tensor blk.0.ffn_down.weight has shape [32 31], the metadata wants [32 32]"},
		{"dimensions", func(s *spec) { s.shape["output_norm.weight"] = []uint64{32, 1} }, "tensor output_norm.weight has shape [32 1]"},
		{"head shape", func(s *spec) { s.shape["output.weight"] = []uint64{32, 9} }, "tensor output.weight has shape [32 9]"},
		{"type", func(s *spec) { s.typ["blk.0.attn_v.weight"] = 2 }, "tensor blk.0.attn_v.weight has type Q4_0"},
		{"bias", func(s *spec) { s.shape["blk.0.attn_q.bias"] = []uint64{32} }, "tensor blk.0.attn_q.bias: biases are not supported"},
		{"unknown", func(s *spec) { s.shape["blk.0.attn_q_norm.weight"] = []uint64{8} }, "tensor blk.0.attn_q_norm.weight is not part"},
		{"factor", func(s *spec) { s.shape["rope_freqs.weight"] = []uint64{4} }, "factor 0 is 0"},
		{"factors", func(s *spec) { s.shape["rope_freqs.weight"] = []uint64{8} }, "tensor rope_freqs.weight has shape [8]"},
		{"NaN", func(s *spec) { s.nan = "blk.0.attn_output.weight" }, "tensor blk.0.attn_output.weight: element 31 is not finite"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSpec()
			c.change(s)
			_, err := s.load(t)
			wantError(t, err, c.want)
		})
	}
}

func TestOptionalMetadata(t *testing.T) {
	s := newSpec()
	s.u["llama.attention.key_length"] = 8
	s.u["llama.rope.dimension_count"] = 4 // half of each head is not rotated
	s.u["tokenizer.ggml.eot_token_id"] = 3
	s.u["tokenizer.ggml.eos_token_id"] = 3
	s.typ["blk.0.attn_q.weight"] = gguf.TypeF16
	e, err := s.load(t)
	if err != nil {
		t.Fatal(err)
	}
	if i := e.Info(); i.Name != "llama" || i.BOS != NoToken || len(i.Stops) != 1 || i.Stops[0] != 3 {
		t.Errorf("Info = %+v", i)
	}
	if err := e.SelfTest(); err != nil {
		t.Error(err)
	}
}
