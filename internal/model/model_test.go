// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/model"
	"github.com/hc1-toolkit/hc1/internal/silicon"
	"github.com/hc1-toolkit/hc1/internal/tokenizer"
)

func TestDefaultIsSmall(t *testing.T) {
	b := model.Default()
	if len(b) == 0 || len(b) > 2_000_000 {
		t.Fatalf("the default model has %d bytes, want 1 to 2,000,000", len(b))
	}
	if string(b[:4]) != "GGUF" {
		t.Fatalf("the default model starts with %q, want GGUF", b[:4])
	}
}

func TestDefaultKeysAndTensors(t *testing.T) {
	f, err := gguf.Parse(model.Default())
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"general.architecture": "llama",
		"general.license":      "apache-2.0",
		"tokenizer.ggml.model": "gpt2",
		"tokenizer.ggml.pre":   "gpt-2",
	} {
		if got, ok := f.String(key); !ok || got != want {
			t.Errorf("%s = %q, %v, want %q", key, got, ok, want)
		}
	}
	num := func(key string) uint64 {
		v, ok := f.Uint32("llama." + key)
		if !ok || v == 0 {
			t.Fatalf("llama.%s is missing", key)
		}
		return uint64(v)
	}
	dim, layers, ffn, vocab := num("embedding_length"), num("block_count"), num("feed_forward_length"), num("vocab_size")
	heads, kvHeads, rope := num("attention.head_count"), num("attention.head_count_kv"), num("rope.dimension_count")
	if ctx := num("context_length"); ctx != 512 {
		t.Errorf("context length %d, want 512", ctx)
	}
	if dim%32 != 0 || ffn%32 != 0 || heads*rope != dim || heads%kvHeads != 0 {
		t.Errorf("shape: embedding %d, feed forward %d, heads %d of %d, key heads %d", dim, ffn, heads, rope, kvHeads)
	}
	if v, ok := f.Float32("llama.rope.freq_base"); !ok || v != 10000 {
		t.Errorf("rope base %v, %v", v, ok)
	}
	if v, ok := f.Float32("llama.attention.layer_norm_rms_epsilon"); !ok || v <= 0 {
		t.Errorf("norm epsilon %v, %v", v, ok)
	}

	want := map[string][2]uint64{"token_embd.weight": {dim, vocab}, "output_norm.weight": {dim, 1}}
	for _, l := range []string{"0", "1", "2"}[:layers] {
		for name, shape := range map[string][2]uint64{
			"attn_norm": {dim, 1}, "attn_q": {dim, dim}, "attn_k": {dim, kvHeads * rope}, "attn_v": {dim, kvHeads * rope},
			"attn_output": {dim, dim}, "ffn_norm": {dim, 1}, "ffn_gate": {dim, ffn}, "ffn_up": {dim, ffn}, "ffn_down": {ffn, dim},
		} {
			want["blk."+l+"."+name+".weight"] = shape
		}
	}
	if n := len(f.Tensors()); n != len(want) {
		t.Errorf("%d tensors, want %d", n, len(want))
	}
	total := uint64(0)
	for name, shape := range want {
		x, ok := f.Tensor(name)
		if !ok {
			t.Errorf("no tensor %s", name)
			continue
		}
		total += x.Elements()
		if x.Elements() != shape[0]*shape[1] {
			t.Errorf("%s has %d elements, want %d x %d", name, x.Elements(), shape[0], shape[1])
		}
	}
	if total < 300_000 || total > 360_000 {
		t.Errorf("%d parameters, want 300,000 to 360,000", total)
	}
}

func TestDefaultTokenizer(t *testing.T) {
	f, err := gguf.Parse(model.Default())
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := f.Strings("tokenizer.ggml.tokens")
	merges, _ := f.Strings("tokenizer.ggml.merges")
	kinds, _ := f.Int32s("tokenizer.ggml.token_type")
	vocab, _ := f.Uint32("llama.vocab_size")
	if len(tokens) != int(vocab) || len(kinds) != len(tokens) {
		t.Fatalf("%d tokens and %d kinds for a vocabulary of %d", len(tokens), len(kinds), vocab)
	}
	known := make(map[string]bool, len(tokens))
	single := 0
	for _, s := range tokens {
		if known[s] {
			t.Errorf("token %q occurs twice", s)
		}
		known[s] = true
		if len([]rune(s)) == 1 {
			single++
		}
	}
	if single != 256 {
		t.Errorf("%d tokens of one byte, want all 256", single)
	}
	for _, m := range merges {
		l, r, ok := strings.Cut(m, " ")
		if !ok || !known[l] || !known[r] || !known[l+r] {
			t.Errorf("merge %q does not lead from token to token", m)
		}
	}
	for name, key := range map[string]string{
		"<|begin_of_text|>": "tokenizer.ggml.bos_token_id",
		"<|end_of_text|>":   "tokenizer.ggml.eos_token_id",
		"<|eot_id|>":        "tokenizer.ggml.eot_token_id",
	} {
		id, ok := f.Uint32(key)
		if !ok || int(id) >= len(tokens) || tokens[id] != name || kinds[id] != 3 {
			t.Errorf("%s = %d, %v, want the control token %s", key, id, ok, name)
		}
	}
	for _, name := range []string{"<|start_header_id|>", "<|end_header_id|>"} {
		if !known[name] {
			t.Errorf("no token %s", name)
		}
	}
	if tmpl, ok := f.String("tokenizer.chat_template"); !ok || !strings.Contains(tmpl, "<|start_header_id|>") {
		t.Errorf("chat template %q, %v", tmpl, ok)
	}
	if v, ok := f.Bool("tokenizer.ggml.add_bos_token"); !ok || !v {
		t.Errorf("add_bos_token = %v, %v", v, ok)
	}
}

// TestDefaultSpeaks asks the model a few things, always taking the likeliest
// token, and looks for what an answer must hold. It is a test of the whole
// path from file to text, and of the weights: a retrained model must pass it.
func TestDefaultSpeaks(t *testing.T) {
	f, err := gguf.Parse(model.Default())
	if err != nil {
		t.Fatal(err)
	}
	engine, err := silicon.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ ask, want string }{
		{"Tell me a story about a fox", "fox"},
		{"Tell me a story about an owl and a river.", "owl"},
		{"Who are you?", "small"},
		{"What colour is the sky?", "blue"},
	} {
		prompt, err := tok.Chat(nil, []tokenizer.Turn{{Role: "user", Content: c.ask}}, true)
		if err != nil {
			t.Fatal(err)
		}
		text, ended, err := answer(engine, tok, prompt)
		if err != nil {
			t.Fatal(err)
		}
		if !ended || !strings.Contains(text, c.want) {
			t.Errorf("%q: ended %v, want an answer with %q, got %q", c.ask, ended, c.want, text)
		}
	}
}

// answer generates until a stop token or the end of the context.
func answer(e silicon.Engine, tok *tokenizer.Tokenizer, ids []uint32) (text string, ended bool, err error) {
	info := e.Info()
	state, logits := e.NewState(), make([]float32, info.Vocab)
	var out []uint32
	for state.Len()+len(ids) < info.Context {
		if err := state.AppendLast(ids, logits); err != nil {
			return "", false, err
		}
		best := 0
		for i, v := range logits {
			if v > logits[best] {
				best = i
			}
		}
		if slices.Contains(info.Stops, uint32(best)) {
			ended = true
			break
		}
		ids = []uint32{uint32(best)}
		out = append(out, ids...)
	}
	b, err := tok.Decode(nil, out)
	return string(b), ended, err
}
