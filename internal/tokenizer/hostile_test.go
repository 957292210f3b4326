package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
)

// with is m with some keys changed; a nil value removes one.
func (m metadata) with(pairs ...any) metadata {
	m = maps.Clone(m)
	for i := 0; i < len(pairs); i += 2 {
		key := ggml + pairs[i].(string)
		if pairs[i+1] == nil {
			delete(m, key)
		} else {
			m[key] = pairs[i+1]
		}
	}
	return m
}

// put is the array under a key with one element changed.
func put[T any](m metadata, key string, i int, v T) []T {
	s := slices.Clone(m[ggml+key].([]T))
	s[i] = v
	return s
}

func TestHostileMetadata(t *testing.T) {
	bpe := byteLevelMetadata("gpt-2", []string{"<|endoftext|>"})
	spm := pieceMetadata(false)
	merges := bpe[ggml+"merges"].([]string)
	n := len(bpe[ggml+"tokens"].([]string))
	for _, c := range []struct {
		name string
		m    metadata
		kind error
		says string
	}{
		{"nothing", metadata{}, ErrVocab, "names no tokenizer.ggml.model"},
		{"model", bpe.with("model", "bert"), ErrUnsupported, `"bert"`},
		{"pre-tokenizer", bpe.with("pre", "deepseek-llm"), ErrUnsupported, `"deepseek-llm"`},
		{"no tokens", bpe.with("tokens", nil), ErrVocab, "no tokenizer.ggml.tokens"},
		{"empty tokens", bpe.with("tokens", []string{}, "token_type", nil, "eos_token_id", nil), ErrVocab, "no tokens"},
		{"no merges", bpe.with("merges", nil), ErrVocab, "no tokenizer.ggml.merges"},
		{"too many tokens", bpe.with("tokens", make([]string, maxTokens+1), "token_type", nil), ErrVocab, "at most"},
		{"too many merges", bpe.with("merges", make([]string, maxMerges+1)), ErrVocab, "at most"},
		{"a long token", bpe.with("tokens", put(bpe, "tokens", 300, strings.Repeat("a", maxTokenBytes+1))), ErrVocab, "token 300 is 1025 bytes long"},
		{"long tokens together", bpe.with("tokens", slices.Repeat([]string{strings.Repeat("a", maxTokenBytes)}, maxVocabBytes/maxTokenBytes+1), "token_type", nil), ErrVocab, "together"},
		{"long special tokens together", manySpecials(bpe), ErrVocab, "special tokens of more than"},
		{"repeated token", bpe.with("tokens", put(bpe, "tokens", 300, "a")), ErrVocab, "token 300 repeats token 97"},
		{"repeated control token", bpe.with("tokens", put(bpe, "tokens", n-1, "a")), ErrVocab, "repeats token 97"},
		{"no byte", bpe.with("tokens", put(bpe, "tokens", 'a', "qqqq"), "merges", []string{}), ErrVocab, "no token for byte 0x61"},
		{"byte taken by a control token", bpe.with("bos_token_id", uint32('a')), ErrVocab, "no token for byte 0x61"},
		{"not byte-level", bpe.with("tokens", put(bpe, "tokens", n-2, "天")), ErrVocab, "U+5929 at byte 0 stands for no byte"},
		{"not UTF-8", bpe.with("tokens", put(bpe, "tokens", n-2, "x\xff")), ErrVocab, "U+FFFD at byte 1"},
		{"token types short", bpe.with("token_type", []int32{1}), ErrVocab, "1 token types for"},
		{"token type", bpe.with("token_type", put(bpe, "token_type", 5, int32(7))), ErrVocab, "token 5 has the unknown type 7"},
		{"token type below", bpe.with("token_type", put(bpe, "token_type", 5, int32(-1))), ErrVocab, "unknown type -1"},
		{"bos", bpe.with("bos_token_id", uint32(n)), ErrVocab, fmt.Sprintf("bos token id %d outside", n)},
		{"eos", bpe.with("eos_token_id", noToken), ErrVocab, "eos token id 4294967295 outside"},
		{"eot", bpe.with("eot_token_id", noToken), ErrVocab, "eot token id"},
		{"unknown", spm.with("unknown_token_id", uint32(1<<31)), ErrVocab, "unknown token id"},
		{"merge left", bpe.with("merges", put(bpe, "merges", 3, "nosuch t")), ErrVocab, `merge 3 names "nosuch"`},
		{"merge right", bpe.with("merges", put(bpe, "merges", 3, "t nosuch")), ErrVocab, `merge 3 names "nosuch"`},
		{"merge result", bpe.with("merges", put(bpe, "merges", 3, "q q")), ErrVocab, `merge 3 makes "qq"`},
		{"merge into control", bpe.with("merges", put(bpe, "merges", 3, "< |endoftext|>")), ErrVocab, "merge 3 names"},
		{"merge one word", bpe.with("merges", put(bpe, "merges", 3, "the")), ErrVocab, "is not two tokens"},
		{"merge three words", bpe.with("merges", put(bpe, "merges", 3, "a b c")), ErrVocab, "is not two tokens"},
		{"merge nothing", bpe.with("merges", put(bpe, "merges", 3, " a")), ErrVocab, "is not two tokens"},
		{"merge twice", bpe.with("merges", put(bpe, "merges", 3, merges[0])), ErrVocab, "merge 3, " + shortQuote(merges[0]) + ", is listed twice"},
		{"no scores", spm.with("scores", nil), ErrVocab, "without scores"},
		{"scores short", spm.with("scores", []float32{1}), ErrVocab, "1 scores for"},
		{"score", spm.with("scores", put(spm, "scores", 300, float32(math.NaN()))), ErrVocab, "score of token 300 is not a number"},
		{"byte token", spm.with("tokens", put(spm, "tokens", 3+0x41, "<0xZZ>")), ErrVocab, "not of the form"},
		{"byte token twice", spm.with("tokens", put(spm, "tokens", 3+0x4b, "<0x4a>")), ErrVocab, "both stand for byte 0x4a"},
		{"no byte token, no unknown", spm.with("token_type", put(spm, "token_type", 3, int32(3)), "unknown_token_id", nil), ErrVocab, "byte 0x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok, err := FromGGUF(c.m)
			if tok != nil || !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v, want one that says %q", err, c.says)
			}
			if len(err.Error()) > 200 || strings.Contains(err.Error(), "\n") {
				t.Errorf("a long error: %d bytes", len(err.Error()))
			}
		})
	}
}

func manySpecials(m metadata) metadata {
	tokens, types := m[ggml+"tokens"].([]string), m[ggml+"token_type"].([]int32)
	for i := range maxSpecialBytes / 1000 * 2 {
		tokens, types = append(tokens, fmt.Sprintf("%01000d", i)), append(types, int32(kindControl))
	}
	return m.with("tokens", tokens, "token_type", types)
}

// Odd, but in use or harmless: these load.
func TestOddMetadata(t *testing.T) {
	bpe := byteLevelMetadata("gpt-2", []string{"<|endoftext|>"})
	spm := pieceMetadata(false)
	n := len(bpe[ggml+"tokens"].([]string))
	for _, c := range []struct {
		name string
		m    metadata
	}{
		{"no pre-tokenizer", bpe.with("pre", nil)},
		{"no merges in the list", bpe.with("merges", []string{})},
		{"no token types", bpe.with("token_type", nil)},
		{"no token types, SentencePiece", spm.with("token_type", nil)},
		{"two empty unused tokens", bpe.with("tokens", append(put(bpe, "tokens", n-2, ""), ""), "token_type", append(put(bpe, "token_type", n-2, int32(5)), 5))},
		{"an empty normal token", bpe.with("tokens", put(bpe, "tokens", n-2, ""))},
		{"infinite scores", spm.with("scores", put(put2(spm, 300, float32(math.Inf(1))), "scores", 301, float32(math.Inf(-1))))},
		{"broken UTF-8 in a piece", spm.with("tokens", put(spm, "tokens", 300, "a\xff"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok, err := FromGGUF(c.m)
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, c.name, tok, sample+"a\xff<s></s><|endoftext|>")
		})
	}
}

func put2(m metadata, i int, v float32) metadata { return m.with("scores", put(m, "scores", i, v)) }

// A file made to load slowly must still load, or fail, in about a second or two.
func TestCostlyVocabularies(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("takes seconds; the race detector has nothing to see here")
	}
	spm := pieceMetadata(false)
	tokens, types, scores := spm[ggml+"tokens"].([]string), spm[ggml+"token_type"].([]int32), spm[ggml+"scores"].([]float32)
	total := 0
	for c := 'α'; total < 12<<20; c++ { // every prefix of long runs: all splits are merges
		for k := 2; 2*k <= maxTokenBytes && total < 12<<20; k++ {
			tokens, types, scores = append(tokens, strings.Repeat(string(c), k)), append(types, 1), append(scores, float32(k))
			total += 2 * k
		}
	}
	seen := map[string]bool{}
	for i, s := range tokens { // the fixture's own words may come again
		if seen[s] {
			tokens[i] = fmt.Sprintf("other %d", i)
		}
		seen[s] = true
	}
	_, err := FromGGUF(spm.with("tokens", tokens, "token_type", types, "scores", scores))
	if err != nil && !errors.Is(err, ErrVocab) {
		t.Error(err)
	}
	t.Log(len(tokens), "tokens:", err)
}

func TestLoadBPE(t *testing.T) {
	m := byteLevelMetadata("gpt-2", nil)
	var enc strings.Builder
	for i, s := range m[ggml+"tokens"].([]string) {
		fmt.Fprintf(&enc, "%q: %d,\n", s, i)
	}
	good := "{" + strings.TrimSuffix(enc.String(), ",\n") + "}"
	n := len(m[ggml+"tokens"].([]string))
	merges := "#version: 0.2\n" + strings.Join(m[ggml+"merges"].([]string), "\n") + "\n"
	read := func(enc, merges, pre string, special ...string) (*Tokenizer, error) {
		return LoadBPE(strings.NewReader(enc), strings.NewReader(merges), pre, special)
	}
	good = strings.NewReplacer(`\x7f`, `\u007f`, `\u00ad`, `\u00ad`).Replace(good)
	tok, err := read(good, merges, "gpt-2", "<|endoftext|>", "zq", "<|b|>")
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := tok.Special("<|b|>"); !ok || id != uint32(n+1) {
		t.Errorf("<|b|> has id %d, want %d", id, n+1)
	}
	if id, ok := tok.EOS(); !ok || id != uint32(n) || !slices.Contains(tok.StopIDs(), id) {
		t.Errorf("the end-of-text token has id %d, want %d", id, n)
	}
	plain, err := read(good, merges, "gpt-2")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := plain.Encode(nil, sample, Options{}), load(t, m).Encode(nil, sample, Options{}); !slices.Equal(got, want) {
		t.Error("the two forms of one vocabulary encode differently")
	}
	for _, c := range []struct {
		name, enc, merges, pre, says string
		special                      []string
	}{
		{"pre-tokenizer", good, merges, "o200k", `"o200k"`, nil},
		{"not JSON", "[", merges, "gpt-2", "reading token ids", nil},
		{"negative id", `{"a": -1}`, merges, "gpt-2", "reading token ids", nil},
		{"hole", `{"a": 0, "b": 2}`, merges, "gpt-2", "id 2 of", nil},
		{"shared id", `{"a": 0, "b": 0}`, merges, "gpt-2", "id 0 is given to", nil},
		{"empty token", `{"": 0}`, merges, "gpt-2", "a token with no text", nil},
		{"no tokens", `{}`, merges, "gpt-2", "no tokens", nil},
		{"merge", good, "a nosuch\n", "gpt-2", "merge 0 names", nil},
		{"long line", good, strings.Repeat("a", 1<<17), "gpt-2", "reading merges", nil},
		{"special", good, merges, "gpt-2", "special token", []string{""}},
	} {
		if _, err := read(c.enc, c.merges, c.pre, c.special...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one that says %q", c.name, err, c.says)
		}
	}
}
