package tokenizer

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// SentencePiece writes a space as U+2581. Here its tokens are kept with real spaces, so text needs no rewriting before it is looked
// up, and a U+2581 that somebody typed matches no token: it goes byte by byte and comes back as what it was.
const spaceMark = "\u2581"

func appendPiece(dst []byte, s string) []byte {
	for {
		before, after, found := strings.Cut(s, spaceMark)
		dst = append(dst, before...)
		if !found {
			return dst
		}
		dst = append(dst, ' ')
		s = after
	}
}

// loadPieces turns scores into merges: a token merges from any two symbols that spell it, tokens of higher score first. That is the
// same as asking, for each two neighbours, whether their text is a token, but it asks once, at loading.
func (t *Tokenizer) loadPieces(src *source) error {
	if src.scores == nil {
		return fmt.Errorf("%w: a SentencePiece vocabulary without scores", ErrVocab)
	}
	for b, id := range t.byteIDs {
		if id == noToken && !t.unk.ok {
			return fmt.Errorf("%w: neither a token for byte %#02x nor an unknown token", ErrVocab, b)
		}
	}
	known := make(map[string]uint32, t.vocab.size()) // what merging can make, by text
	var ids []uint32
	for id, stored := range src.tokens {
		// A stored space can match nothing, since SentencePiece sees none, and neither can text that is not UTF-8.
		if !t.mergeable(uint32(id)) || stored == "" || strings.Contains(stored, " ") || !utf8.ValidString(stored) {
			continue
		}
		if s := src.scores[id]; s != s {
			return fmt.Errorf("%w: the score of token %d is not a number", ErrVocab, id)
		}
		known[string(t.vocab.bytes(uint32(id)))] = uint32(id)
		ids = append(ids, uint32(id))
	}
	t.loadSymbols(known, ids)
	t.wordCut = true
	var merges []merge
	for _, id := range ids {
		text := string(t.vocab.bytes(id))
		rank := scoreRank(src.scores[id])
		for k, r := range text {
			if k == 0 {
				continue
			}
			if r == ' ' && text[k-1] != ' ' {
				t.wordCut = false
			}
			left, ok := t.piece(known, text[:k])
			if !ok {
				continue
			}
			right, ok := t.piece(known, text[k:])
			if !ok {
				continue
			}
			merges = append(merges, merge{left, right, rank, id})
		}
		if len(merges) > maxMerges {
			return fmt.Errorf("%w: the tokens can be merged in more than %d ways", ErrVocab, maxMerges)
		}
	}
	t.pairs = newPairTable(len(merges))
	for _, m := range merges {
		t.pairs.add(m)
	}
	t.loadWords(false)
	return nil
}

// loadSymbols gives each character of a token a symbol: the token that it is, or an id past the vocabulary.
func (t *Tokenizer) loadSymbols(known map[string]uint32, ids []uint32) {
	for i := range t.symbols.single {
		t.symbols.single[i] = noToken
	}
	t.symbols.wide = make(map[rune]uint32)
	next := uint32(t.vocab.size())
	for _, token := range ids {
		for _, r := range string(t.vocab.bytes(token)) {
			if old, _ := t.symbols.rune(r); old != noToken {
				continue
			}
			id, ok := known[string(r)]
			if !ok {
				id = next
				next++
			}
			if r < utf8.RuneSelf {
				t.symbols.single[r] = id
			} else {
				t.symbols.wide[r] = id
			}
		}
	}
}

// piece is the symbol that a part of a token would be, if merging can arrive at that part.
func (t *Tokenizer) piece(known map[string]uint32, text string) (uint32, bool) {
	if id, ok := known[text]; ok {
		return id, true
	}
	r, n := utf8.DecodeRuneInString(text)
	if n != len(text) {
		return noToken, false
	}
	return t.symbols.rune(r)
}

// at is the symbol that begins at s[i] and its length in bytes.
func (st *symbolTable) at(s string, i int) (uint32, int) {
	if st.wide == nil || s[i] < utf8.RuneSelf {
		return st.single[s[i]], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	if r == utf8.RuneError && n == 1 { // a broken byte must not be taken for a U+FFFD that a token holds
		return noToken, 1
	}
	id, _ := st.rune(r)
	return id, n
}

func (st *symbolTable) rune(r rune) (uint32, bool) {
	if r < utf8.RuneSelf {
		id := st.single[r]
		return id, id != noToken
	}
	id, ok := st.wide[r]
	if !ok {
		id = noToken
	}
	return id, ok
}

// scoreRank orders scores downwards as integers: the bits of a float32, flipped so that they sort.
func scoreRank(score float32) uint32 {
	bits := math.Float32bits(score + 0) // -0 becomes +0
	if bits>>31 != 0 {
		return bits
	}
	return ^bits &^ (1 << 31)
}

// encodePieces encodes text, cut into words where that provably changes nothing.
func (t *Tokenizer) encodePieces(dst []uint32, text string) []uint32 {
	if t.addSpace {
		text = " " + text
	}
	if !t.wordCut {
		return t.encodeWord(dst, text)
	}
	start := 0
	for i := 1; i < len(text); i++ {
		if text[i] == ' ' && text[i-1] != ' ' {
			dst = t.encodeWord(dst, text[start:i])
			start = i
		}
	}
	return t.encodeWord(dst, text[start:])
}

// emitBytes spells what has no token; a byte without a token of its own is the unknown token.
func (t *Tokenizer) emitBytes(dst []uint32, text string) []uint32 {
	for i := range len(text) {
		id := t.byteIDs[text[i]]
		if id == noToken {
			id = t.unk.id
		}
		dst = append(dst, id)
	}
	return dst
}
