package tokenizer

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct{ text, gpt2, llama3 string }{ // words with | between; · stands for a space
		{"Hello world", "Hello|·world", "Hello|·world"},
		{"it's we'LL", "it|'s|·we|'|LL", "it|'s|·we|'LL"},
		{"'sun", "'s|un", "'s|un"},
		{"o'ſx", "o|'|ſx", "o|'ſ|x"},
		{"'xyz", "'|xyz", "'xyz"},
		{"'re're'r", "'re|'re|'|r", "'re|'re|'r"},
		{"!'s", "!'|s", "!'|s"},
		{"·'s", "·'|s", "·'|s"},
		{"12345", "12345", "123|45"},
		{"·12345", "·12345", "·|123|45"},
		{"a1b", "a|1|b", "a|1|b"},
		{"½٣Ⅷ4", "½٣Ⅷ4", "½٣Ⅷ|4"},
		{"···a", "··|·a", "··|·a"},
		{"···1", "··|·1", "··|·|1"},
		{"···!", "··|·!", "··|·!"},
		{"a···", "a|···", "a|···"},
		{"\ta", "\t|a", "\ta"},
		{"\t\ta", "\t|\t|a", "\t|\ta"},
		{"a\nb", "a|\n|b", "a|\n|b"},
		{"a\n\nb", "a|\n|\n|b", "a|\n\n|b"},
		{"a··\n··\n··b", "a|··\n··\n·|·b", "a|··\n··\n|·|·b"},
		{"a.\r\n\nb", "a|.|\r\n|\n|b", "a|.\r\n\n|b"},
		{"a.·\nb", "a|.|·|\n|b", "a|.|·\n|b"},
		{"\u00a0a", "\u00a0|a", "\u00a0a"},
		{"\u3000\u3000!", "\u3000|\u3000|!", "\u3000|\u3000|!"},
		{"e\u0301t", "e|\u0301|t", "e|\u0301t"},
		{"\ufeffa", "\ufeff|a", "\ufeffa"},
		{"天地，1", "天地|，|1", "天地|，|1"},
		{"a\xffb\x80", "a|\xff|b|\x80", "a|\xffb|\x80"},
		{"·\xe2\x96·a", "·\xe2\x96|·a", "·\xe2\x96|·a"},
		{"\x00\x1c", "\x00\x1c", "\x00\x1c"},
	} {
		for _, rule := range []struct {
			name, want string
			split      splitFunc
		}{{"gpt-2", c.gpt2, splitGPT2}, {"llama-bpe", c.llama3, splitLlama3}} {
			text := strings.ReplaceAll(c.text, "·", " ")
			var got []string
			for i := 0; i < len(text); {
				j := rule.split(sharedClasses(), text, i)
				got = append(got, text[i:j])
				i = j
			}
			if s := strings.ReplaceAll(strings.Join(got, "|"), " ", "·"); s != rule.want {
				t.Errorf("%s splits %q into %q, want %q", rule.name, c.text, s, rule.want)
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for name, tok := range everyKind(t) {
		texts := append([]string{"", sample}, scraps...)
		for range 2000 {
			texts = append(texts, randomText(r, 30))
		}
		for _, text := range texts {
			roundTrip(t, name, tok, text)
		}
	}
}

func roundTrip(t testing.TB, name string, tok *Tokenizer, text string) {
	t.Helper()
	ids := tok.Encode(nil, text, Options{})
	for _, id := range ids {
		if !tok.Valid(id) || tok.IsControl(id) || tok.vocab.kinds[id] == kindUser {
			t.Fatalf("%s: %q yields token %d, %q", name, text, id, tok.TokenBytes(id))
		}
	}
	back, err := tok.Decode(nil, ids)
	if err != nil || string(back) != text {
		t.Fatalf("%s: %q comes back as %q, %v", name, text, back, err)
	}
}

// Merges that no list holds must not happen, however the word is looked up.
func TestIgnoreMerges(t *testing.T) {
	for pre, want := range map[string]int{"llama-bpe": 1, "gpt-2": len("unreachable")} {
		m := byteLevelMetadata(pre, nil)
		tok := load(t, m)
		ids := tok.Encode(nil, "unreachable", Options{})
		if pre == "gpt-2" && len(ids) < 2 || pre == "llama-bpe" && len(ids) != 1 {
			t.Errorf("%s: %d tokens, want about %d", pre, len(ids), want)
		}
		m[ggml+"ignore_merges"] = pre == "gpt-2"
		if other := load(t, m).Encode(nil, "unreachable", Options{}); (len(other) == 1) == (len(ids) == 1) {
			t.Errorf("%s: ignore_merges changes nothing", pre)
		}
	}
}

func TestParseSpecial(t *testing.T) {
	tok := load(t, byteLevelMetadata("llama-bpe", append([]string{"<|a|>", "<|a|><|b|>", "<|"}, llama3Specials...)))
	special := func(name string) uint32 {
		id, ok := tok.Special(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		return id
	}
	text := func(s string) []uint32 { return tok.Encode(nil, s, Options{}) }
	for _, c := range []struct {
		in   string
		want []uint32
	}{
		{"", nil},
		{"the list", text("the list")},
		{"<|eot_id|>", []uint32{special("<|eot_id|>")}},
		{"the<|eot_id|> list", slices.Concat(text("the"), []uint32{special("<|eot_id|>")}, text(" list"))},
		{"<|a|><|b|>", []uint32{special("<|a|><|b|>")}},
		{"<|a|><|bx", slices.Concat([]uint32{special("<|a|>"), special("<|")}, text("bx"))},
		{"<<|a|>", slices.Concat(text("<"), []uint32{special("<|a|>")})},
		{"<|eot_id|", slices.Concat([]uint32{special("<|")}, text("eot_id|"))},
	} {
		if got := tok.Encode(nil, c.in, Options{ParseSpecial: true}); !slices.Equal(got, c.want) {
			t.Errorf("%q encodes to %v, want %v", c.in, got, c.want)
		}
	}
	if _, ok := tok.Special("the"); ok {
		t.Error("an ordinary token counts as special")
	}
	if _, ok := tok.Special(""); ok {
		t.Error("no name counts as special")
	}
	if _, ok := tok.Special("<|eot"); ok {
		t.Error("half a name counts as special")
	}
}

func TestBegin(t *testing.T) {
	for _, c := range []struct {
		name string
		m    metadata
		add  any
		want bool
	}{
		{"llama by default", pieceMetadata(false), nil, true},
		{"llama told not to", pieceMetadata(false), false, false},
		{"llama-bpe by default", byteLevelMetadata("llama-bpe", llama3Specials), nil, true},
		{"gpt-2 by default", byteLevelMetadata("gpt-2", llama3Specials), nil, false},
		{"gpt-2 told to", byteLevelMetadata("gpt-2", llama3Specials), true, true},
		{"told to, without the token", byteLevelMetadata("gpt-2", nil), true, false},
	} {
		if c.add != nil {
			c.m[ggml+"add_bos_token"] = c.add
		}
		tok := load(t, c.m)
		ids := tok.Encode(nil, "a", Options{Begin: true})
		bos, ok := tok.BOS()
		if got := ok && ids[0] == bos; got != c.want {
			t.Errorf("%s: begins with the token: %v", c.name, got)
		}
		if ids := tok.Encode(nil, "a", Options{}); ok && ids[0] == bos {
			t.Errorf("%s: begins with the token unasked", c.name)
		}
	}
}

func TestAppends(t *testing.T) {
	for name, tok := range everyKind(t) {
		got := tok.Encode([]uint32{7}, "the list", Options{})
		if want := append([]uint32{7}, tok.Encode(nil, "the list", Options{})...); !slices.Equal(got, want) {
			t.Errorf("%s: appending gives %v, want %v", name, got, want)
		}
	}
}

// Byte-level encoding into a buffer that is large enough allocates nothing, long words included.
func TestEncodeAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop things at random")
	}
	for _, pre := range []string{"gpt-2", "llama-bpe"} {
		tok := load(t, byteLevelMetadata(pre, nil))
		text := sample + strings.Repeat("abbathecarda", 200)
		ids := tok.Encode(nil, text, Options{})
		if n := testing.AllocsPerRun(20, func() { ids = tok.Encode(ids[:0], text, Options{}) }); n > 0.5 {
			t.Errorf("%s: %v allocations", pre, n)
		}
	}
}

// A word of a megabyte must take about a thousand times as long as one of a kilobyte, not a million times.
func TestLongWordIsNotQuadratic(t *testing.T) {
	size := 1 << 20
	if raceEnabled || testing.Short() {
		size = 1 << 16
	}
	for name, tok := range everyKind(t) {
		for _, unit := range []string{"a", "abbathecarda", "é", "\xff", " ", "1"} {
			text := strings.Repeat(unit, size/len(unit))
			began := time.Now()
			ids := tok.Encode(nil, text, Options{})
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("%s: %d bytes of %q take %v", name, size, unit, took)
			}
			if back, err := tok.Decode(nil, ids); err != nil || string(back) != text {
				t.Errorf("%s: %d bytes of %q do not come back", name, size, unit)
			}
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	for name, tok := range everyKind(t) {
		text := sample + strings.Repeat("abbathecarda", 50)
		want := tok.Encode(nil, text, Options{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 {
					if got := tok.Encode(nil, text, Options{}); !slices.Equal(got, want) {
						t.Errorf("%s: another result when used at the same time", name)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}
