package tokenizer

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// This file encodes a second time, as plainly as the published rules read: a small backtracking matcher for the split rules, and
// merging by looking at every pair of strings again after each merge. Nothing here shares code or tables with the package.

type set func(rune) bool

func not(sets ...set) set {
	return func(r rune) bool {
		for _, s := range sets {
			if s(r) {
				return false
			}
		}
		return true
	}
}

func oneOf(s string) set { return func(r rune) bool { return strings.ContainsRune(s, r) } }

// fold is oneOf without regard to case, by Unicode's simple folding.
func fold(c rune) set {
	return func(r rune) bool {
		for f := unicode.SimpleFold(c); ; f = unicode.SimpleFold(f) {
			if f == r {
				return true
			}
			if f == c {
				return false
			}
		}
	}
}

func isLetter(r rune) bool {
	return unicode.In(r, unicode.Lu, unicode.Ll, unicode.Lt, unicode.Lm, unicode.Lo)
}
func isNumber(r rune) bool { return unicode.In(r, unicode.Nd, unicode.Nl, unicode.No) }
func isSpace(r rune) bool  { return unicode.IsSpace(r) }

// item is a set repeated at least low and at most high times, greedily; a nil set is the lookahead (?!\S).
type item struct {
	set       set
	low, high int
}

const many = 1 << 30

func lit(sets ...set) []item {
	var seq []item
	for _, s := range sets {
		seq = append(seq, item{s, 1, 1})
	}
	return seq
}

func contractions(c func(rune) set) [][]item {
	q := oneOf("'")
	return [][]item{
		lit(q, c('s')), lit(q, c('t')), lit(q, c('r'), c('e')), lit(q, c('v'), c('e')), lit(q, c('m')), lit(q, c('l'), c('l')), lit(q, c('d')),
	}
}

var (
	blank    = item{oneOf(" "), 0, 1}
	other    = not(isSpace, isLetter, isNumber)
	gpt2Rule = append(contractions(func(r rune) set { return oneOf(string(r)) }),
		[]item{blank, {isLetter, 1, many}},
		[]item{blank, {isNumber, 1, many}},
		[]item{blank, {other, 1, many}},
		[]item{{isSpace, 1, many}, {}},
		[]item{{isSpace, 1, many}},
	)
	llama3Rule = append(contractions(fold),
		[]item{{not(oneOf("\r\n"), isLetter, isNumber), 0, 1}, {isLetter, 1, many}},
		[]item{{isNumber, 1, 3}},
		[]item{blank, {other, 1, many}, {oneOf("\r\n"), 0, many}},
		[]item{{isSpace, 0, many}, {oneOf("\r\n"), 1, many}},
		[]item{{isSpace, 1, many}, {}},
		[]item{{isSpace, 1, many}},
	)
)

// match returns how many runes seq matches at the start of text, or -1.
func match(seq []item, text []rune) int {
	if len(seq) == 0 {
		return 0
	}
	it := seq[0]
	if it.set == nil {
		if len(text) > 0 && !isSpace(text[0]) {
			return -1
		}
		return match(seq[1:], text)
	}
	n := 0
	for n < it.high && n < len(text) && it.set(text[n]) {
		n++
	}
	for ; n >= it.low; n-- {
		if rest := match(seq[1:], text[n:]); rest >= 0 {
			return n + rest
		}
	}
	return -1
}

func refSplit(rule [][]item, text string) []string {
	runes := []rune(text) // an invalid byte becomes U+FFFD
	var words []string
	for len(runes) > 0 {
		n := -1
		for _, seq := range rule {
			if n = match(seq, runes); n > 0 {
				break
			}
		}
		if n <= 0 {
			panic("the rule matches every character")
		}
		size := 0
		for range n {
			_, w := utf8.DecodeRuneInString(text[size:])
			size += w
		}
		words = append(words, text[:size])
		runes, text = runes[n:], text[size:]
	}
	return words
}

// refMerge merges the best pair, the first of equals, until there is none. better is the rank of a pair: lower is sooner.
func refMerge(parts []string, rank func(l, r string) (float64, bool)) []string {
	for {
		at, best := -1, 0.0
		for i := range len(parts) - 1 {
			if r, ok := rank(parts[i], parts[i+1]); ok && (at < 0 || r < best) {
				at, best = i, r
			}
		}
		if at < 0 {
			return parts
		}
		parts = slices.Replace(slices.Clone(parts), at, at+2, parts[at]+parts[at+1])
	}
}

func refByteLevel(m metadata, text string) []uint32 {
	rule, llama3 := gpt2Rule, m[ggml+"pre"] == "llama-bpe"
	if llama3 {
		rule = llama3Rule
	}
	ids, ranks := map[string]uint32{}, map[[2]string]float64{}
	for i, s := range m[ggml+"tokens"].([]string) {
		if m[ggml+"token_type"].([]int32)[i] == 1 {
			ids[s] = uint32(i)
		}
	}
	for i, line := range m[ggml+"merges"].([]string) {
		f := strings.Fields(line)
		ranks[[2]string{f[0], f[1]}] = float64(i)
	}
	var out []uint32
	for _, w := range refSplit(rule, text) {
		parts := storedBytes(w)
		if id, ok := ids[strings.Join(parts, "")]; ok && llama3 {
			out = append(out, id)
			continue
		}
		for _, p := range refMerge(parts, func(l, r string) (float64, bool) { v, ok := ranks[[2]string{l, r}]; return v, ok }) {
			out = append(out, ids[p])
		}
	}
	return out
}

func refPieces(m metadata, text string) []uint32 {
	if text == "" {
		return nil
	}
	ids, bytes, scores := map[string]uint32{}, map[byte]uint32{}, m[ggml+"scores"].([]float32)
	for i, s := range m[ggml+"tokens"].([]string) {
		switch m[ggml+"token_type"].([]int32)[i] {
		case 1:
			ids[s] = uint32(i)
		case 6:
			b, _ := parseByteToken(s)
			bytes[b] = uint32(i)
		}
	}
	if v, ok := m[ggml+"add_space_prefix"].(bool); !ok || v {
		text = " " + text
	}
	// A typed mark must not look like a space; a private character that no token has keeps it apart.
	const typed = "\uf8ff"
	text = strings.ReplaceAll(strings.ReplaceAll(text, spaceMark, typed), " ", spaceMark)
	var out []uint32
	for _, p := range refMerge(strings.Split(text, ""), func(l, r string) (float64, bool) {
		id, ok := ids[l+r]
		return -float64(scores[id]), ok && utf8.ValidString(l+r)
	}) {
		if id, ok := ids[p]; ok {
			out = append(out, id)
			continue
		}
		if p == typed {
			p = spaceMark
		}
		for i := range len(p) {
			out = append(out, bytes[p[i]])
		}
	}
	return out
}

func TestSplitMatchesReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := sharedClasses()
	for range 20000 {
		text := randomText(r, 14)
		for _, rule := range []struct {
			name  string
			split splitFunc
			ref   [][]item
		}{{"gpt-2", splitGPT2, gpt2Rule}, {"llama-bpe", splitLlama3, llama3Rule}} {
			var got []string
			for i := 0; i < len(text); {
				j := rule.split(c, text, i)
				got = append(got, text[i:j])
				i = j
			}
			if want := refSplit(rule.ref, text); !slices.Equal(got, want) {
				t.Fatalf("%s splits %q into\n%q, want\n%q", rule.name, text, got, want)
			}
		}
	}
}

func TestEncodeMatchesReference(t *testing.T) {
	noPrefix := pieceMetadata(true)
	noPrefix[ggml+"add_space_prefix"] = false
	for name, m := range map[string]metadata{
		"gpt-2": byteLevelMetadata("gpt-2", nil), "llama-bpe": byteLevelMetadata("llama-bpe", llama3Specials),
		"llama": pieceMetadata(false), "llama-inner": pieceMetadata(true), "llama-no-prefix": noPrefix,
	} {
		t.Run(name, func(t *testing.T) {
			tok, ref := load(t, m), refByteLevel
			if m[ggml+"model"] == "llama" {
				ref = refPieces
			}
			r := rand.New(rand.NewPCG(3, 4))
			texts := []string{"", sample, strings.Repeat("a", 200), strings.Repeat("ab", 100), strings.Repeat("zq", 60), strings.Repeat(" ", 90)}
			for range 1500 {
				texts = append(texts, randomText(r, 12))
			}
			for range 60 { // letters only: words long enough for the heap
				var b strings.Builder
				for range 30 + r.IntN(150) {
					b.WriteString([]string{"a", "b", "ab", "the", "card", "é", "天", "s", "list", "reading"}[r.IntN(10)])
				}
				texts = append(texts, b.String())
			}
			for _, text := range texts {
				got, want := tok.Encode(nil, text, Options{}), ref(m, text)
				if !slices.Equal(got, want) {
					t.Fatalf("%q encodes to\n%v, want\n%v", text, got, want)
				}
			}
		})
	}
}

func TestClassesMatchUnicode(t *testing.T) {
	c := sharedClasses()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		want := symbol
		switch {
		case r == '\r' || r == '\n':
			want = space | breaking
		case isSpace(r):
			want = space
		case isLetter(r):
			want = letter
		case isNumber(r):
			want = number
		}
		if got, n := c.at(string(r), 0); got != want || n != utf8.RuneLen(r) {
			t.Fatalf("%U has class %d, %d bytes; want %d, %d bytes", r, got, n, want, utf8.RuneLen(r))
		}
	}
}
