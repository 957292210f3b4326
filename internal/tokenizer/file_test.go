package tokenizer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/tokenizer"
)

var _ tokenizer.Metadata = (*gguf.File)(nil)

// A tokenizer comes out of a file as it comes out of a map.
func TestFromFile(t *testing.T) {
	w := gguf.NewWriter()
	tokens, types, scores := []string{"<unk>", "<s>", "</s>"}, []int32{2, 3, 3}, []float32{0, 0, 0}
	const hex = "0123456789ABCDEF"
	for b := range 256 {
		tokens, types, scores = append(tokens, "<0x"+hex[b>>4:b>>4+1]+hex[b&15:b&15+1]+">"), append(types, 6), append(scores, 0)
	}
	for i, s := range []string{"\u2581", "h", "i", "hi", "\u2581hi"} {
		tokens, types, scores = append(tokens, s), append(types, 1), append(scores, float32(i))
	}
	w.SetString("general.architecture", "llama")
	w.SetString("tokenizer.ggml.model", "llama")
	w.SetStrings("tokenizer.ggml.tokens", tokens)
	w.SetInt32s("tokenizer.ggml.token_type", types)
	w.SetFloat32s("tokenizer.ggml.scores", scores)
	w.SetUint32("tokenizer.ggml.bos_token_id", 1)
	w.SetUint32("tokenizer.ggml.eos_token_id", 2)
	w.SetBool("tokenizer.ggml.add_space_prefix", true)
	b, err := w.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	ids := tok.Encode(nil, "hi hi", tokenizer.Options{Begin: true})
	if len(ids) != 3 || ids[0] != 1 || ids[1] != ids[2] || string(tok.TokenBytes(ids[1])) != " hi" {
		t.Errorf("encodes to %v", ids)
	}
}
