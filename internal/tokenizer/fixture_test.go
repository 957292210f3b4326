package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// metadata is a GGUF file's metadata as a test writes it.
type metadata map[string]any

func get[T any](m metadata, key string) (T, bool) {
	v, ok := m[key].(T)
	return v, ok
}

func (m metadata) String(key string) (string, bool)      { return get[string](m, key) }
func (m metadata) Uint32(key string) (uint32, bool)      { return get[uint32](m, key) }
func (m metadata) Bool(key string) (bool, bool)          { return get[bool](m, key) }
func (m metadata) Strings(key string) ([]string, bool)   { return get[[]string](m, key) }
func (m metadata) Int32s(key string) ([]int32, bool)     { return get[[]int32](m, key) }
func (m metadata) Float32s(key string) ([]float32, bool) { return get[[]float32](m, key) }

// sample is what the small test vocabularies are trained on.
const sample = `The card's clock ticks; it doesn't wait. We'll see what they've made of it, and I'm sure you'd agree: they're right.
Ten cards sit in one server, and each card answers ten users at once, so the server answers hundreds of users at a time.
A reader who reads the reading list reads it from the top:   first the list, then the   listed things, 100 or 1000 of them.

	The naïve café's menu — crème brûlée, 12 €; smörgåsbord, 123 kr — isn't for sale!!! Isn't it?? ... ... --- === ***
Это просто текст, простой текст. 天地玄黄 宇宙洪荒 天地 宇宙. ελληνικά και ελληνικά. aaaaaaaaaaaa bbbbbb ababababab
`

// train finds n merges in words by counting: slow, plain, and good enough for a few hundred.
func train(words [][]string, n int) [][2]string {
	var merges [][2]string
	for len(merges) < n {
		count := map[[2]string]int{}
		var best [2]string
		for _, w := range words {
			for i := range len(w) - 1 {
				p := [2]string{w[i], w[i+1]}
				count[p]++
				if c, b := count[p], count[best]; c > b || c == b && p[0]+" "+p[1] < best[0]+" "+best[1] {
					best = p
				}
			}
		}
		if count[best] < 2 {
			break
		}
		merges = append(merges, best)
		for k, w := range words {
			words[k] = joinAll(w, best)
		}
	}
	return merges
}

func joinAll(w []string, p [2]string) []string {
	var out []string
	for i := 0; i < len(w); i++ {
		if i+1 < len(w) && w[i] == p[0] && w[i+1] == p[1] {
			out = append(out, w[i]+w[i+1])
			i++
		} else {
			out = append(out, w[i])
		}
	}
	return out
}

// storedByte is the printable form of a byte in a byte-level vocabulary, worked out apart from the table under test.
func storedByte(b byte) string {
	shift := 0
	for x := range int(b) + 1 {
		if x <= 0x20 || 0x7f <= x && x <= 0xa0 || x == 0xad {
			if x == int(b) {
				return string(rune(256 + shift))
			}
			shift++
		}
	}
	return string(rune(b))
}

func storedBytes(s string) []string {
	var out []string
	for i := range len(s) {
		out = append(out, storedByte(s[i]))
	}
	return out
}

var llama3Specials = []string{"<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"}

// byteLevelMetadata is a small vocabulary under either split rule. Some whole words are tokens that no merge makes, which tells
// the two rules about merges apart.
func byteLevelMetadata(pre string, specials []string) metadata {
	rule := gpt2Rule
	if pre == "llama-bpe" {
		rule = llama3Rule
	}
	var words [][]string
	for _, w := range refSplit(rule, sample) {
		words = append(words, storedBytes(w))
	}
	var tokens []string
	var types []int32
	seen := map[string]bool{}
	add := func(s string, typ int32) {
		if !seen[s] {
			seen[s] = true
			tokens, types = append(tokens, s), append(types, typ)
		}
	}
	for b := range 256 {
		add(storedByte(byte(b)), 1)
	}
	var merges []string
	for _, m := range train(words, 300) {
		add(m[0]+m[1], 1)
		merges = append(merges, m[0]+" "+m[1])
	}
	for _, w := range []string{"unreachable", "Ġunreachable", "zq", "12"} {
		add(w, 1)
	}
	m := metadata{}
	for _, s := range specials {
		switch s {
		case "<|begin_of_text|>":
			m[ggml+"bos_token_id"] = uint32(len(tokens))
		case "<|end_of_text|>", "<|endoftext|>":
			m[ggml+"eos_token_id"] = uint32(len(tokens))
		}
		add(s, 3)
	}
	m[ggml+"model"], m[ggml+"pre"] = "gpt2", pre
	m[ggml+"tokens"], m[ggml+"token_type"], m[ggml+"merges"] = tokens, types, merges
	return m
}

// pieceMetadata is a small SentencePiece vocabulary. With inner, a token holds a space after a letter, which forbids cutting text
// into words.
func pieceMetadata(inner bool) metadata {
	words := [][]string{strings.Split(strings.ReplaceAll(" "+sample, " ", spaceMark), "")}
	if !inner {
		var cut [][]string
		for _, w := range strings.Split(sample, " ") {
			cut = append(cut, strings.Split(spaceMark+w, ""))
		}
		words = cut
	}
	tokens, types, scores := []string{"<unk>", "<s>", "</s>"}, []int32{2, 3, 3}, []float32{0, 0, 0}
	seen := map[string]bool{}
	add := func(s string, typ int32, score float32) {
		if !seen[s] {
			seen[s] = true
			tokens, types, scores = append(tokens, s), append(types, typ), append(scores, score)
		}
	}
	for b := range 256 {
		add(fmt.Sprintf("<0x%02X>", b), 6, 0)
	}
	for i, m := range train(words, 300) {
		add(m[0]+m[1], 1, -float32(i/3)) // equal scores, so that ties are tried
	}
	for i, r := range []rune(spaceMark + "abcdefghijklmnopqrstuvwxyz.,'\né") { // not every character of the tokens above
		add(string(r), 1, -1000-float32(i))
	}
	add("zzzz", 1, -5) // longer than any of its parts that are tokens: unreachable
	add("with space", 1, 5)
	add("<mark>", 4, 0)
	return metadata{
		ggml + "model": "llama", ggml + "tokens": tokens, ggml + "token_type": types, ggml + "scores": scores,
		ggml + "bos_token_id": uint32(1), ggml + "eos_token_id": uint32(2), ggml + "unknown_token_id": uint32(0),
	}
}

func load(t testing.TB, m metadata) *Tokenizer {
	t.Helper()
	tok, err := FromGGUF(m)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// everyKind is one tokenizer of each kind that differs in how it encodes.
func everyKind(t testing.TB) map[string]*Tokenizer {
	noPrefix := pieceMetadata(true)
	noPrefix[ggml+"add_space_prefix"] = false
	return map[string]*Tokenizer{
		"gpt-2":        load(t, byteLevelMetadata("gpt-2", []string{"<|endoftext|>"})),
		"llama-bpe":    load(t, byteLevelMetadata("llama-bpe", llama3Specials)),
		"llama":        load(t, pieceMetadata(false)),
		"llama-inner":  load(t, pieceMetadata(true)),
		"llama-no-pre": load(t, noPrefix),
	}
}

var scraps = []string{
	"a", "b", "ab", "the", "The", " the", "list", "unreachable", "zq", "zzzz", "reading", " ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000",
	"\u0085", "\v", "'", "'s", "'S", "'ſ", "'ll", "'lL", "'re", "'vE", "'d", "'x", "1", "12", "1234567", "½", "٣", "Ⅷ", "!", "?!", "...", "—", "é", "e\u0301",
	"ß", "ſ", "天地", "한국어", "👩‍👩‍👧", "🇫🇷", "\ufeff", "\u200d", "\ufffd", "\x80", "\xff", "\xe2\x96", "\xf0\x9f\x98", "\xed\xa0\x80", "\xc0\xaf", "\x00", "\x1c",
	spaceMark, "Ġ", "<|eot_id|>", "<s>", "</s>", "<0x41>", "<mark>", "<|endoftext|>", "with space", "\U0010ffff", "\U000e0001", "ǅ", "ª", "_", "naïve", "простой",
}

func randomText(r *rand.Rand, most int) string {
	var b strings.Builder
	for range r.IntN(most + 1) {
		if r.IntN(12) == 0 {
			b.WriteByte(byte(r.Uint32()))
			continue
		}
		b.WriteString(scraps[r.IntN(len(scraps))])
	}
	return b.String()
}

// dataDir is where the data of the slower tests lies; they are skipped where it is not.
func dataDir(t testing.TB) string {
	dir := os.Getenv("HC1_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	if _, err := os.Stat(filepath.Join(dir, "llama3", "encoder.json")); err != nil {
		t.Skip("data tier: no llama3/encoder.json; HC1_DATA may name a folder that has one")
	}
	return dir
}

func llama3FromData(t testing.TB) *Tokenizer {
	t.Helper()
	dir := filepath.Join(dataDir(t), "llama3")
	enc, err := os.Open(filepath.Join(dir, "encoder.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	bpe, err := os.Open(filepath.Join(dir, "vocab.bpe"))
	if err != nil {
		t.Fatal(err)
	}
	defer bpe.Close()
	tok, err := LoadBPE(enc, bpe, "llama-bpe", llama3Specials)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}
