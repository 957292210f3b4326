package tokenizer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Byte-level vocabularies are stored as printable text: a byte that is a visible Latin-1 character stands for itself, and the
// other 68 are given the code points from U+0100 on, in order. The space, 0x20, becomes U+0120.

// byteOfRune undoes that; index by code point, -1 where there is no byte.
var byteOfRune = func() (table [256 + 68]int16) {
	for i := range table {
		table[i] = -1
	}
	hidden := 256
	for b := range 256 {
		if visibleLatin1(b) {
			table[b] = int16(b)
		} else {
			table[hidden] = int16(b)
			hidden++
		}
	}
	return table
}()

func visibleLatin1(b int) bool {
	return '!' <= b && b <= '~' || 0xa1 <= b && b <= 0xff && b != 0xad
}

// appendByteLevel appends the bytes that a stored token stands for.
func appendByteLevel(dst []byte, s string) ([]byte, error) {
	for i, r := range s {
		if int(r) >= len(byteOfRune) || byteOfRune[r] < 0 {
			return dst, fmt.Errorf("%U at byte %d stands for no byte", r, i)
		}
		dst = append(dst, byte(byteOfRune[r]))
	}
	return dst, nil
}

// loadByteLevel files words, merges and bytes of a byte-level vocabulary.
func (t *Tokenizer) loadByteLevel(src *source) error {
	split, _, err := splitterFor(src.pre)
	if err != nil {
		return err
	}
	t.split, t.classes = split, sharedClasses()
	for id := range uint32(t.vocab.size()) {
		if b := t.vocab.bytes(id); len(b) == 1 && t.mergeable(id) {
			t.byteIDs[b[0]] = id
		}
	}
	for b, id := range t.byteIDs {
		if id == noToken {
			return fmt.Errorf("%w: no token for byte %#02x, so not every text could be encoded", ErrVocab, b)
		}
	}
	t.symbols.single = t.byteIDs
	if err := t.loadMerges(src); err != nil {
		return err
	}
	t.loadWords(src.ignoreMerges)
	return nil
}

// mergeable tokens are the ones that ordinary text may become.
func (t *Tokenizer) mergeable(id uint32) bool {
	k := t.vocab.kinds[id]
	return k == kindNormal || (k == kindByte && t.family == byteLevel)
}

func (t *Tokenizer) loadMerges(src *source) error {
	t.pairs = newPairTable(len(src.merges))
	var joined []byte
	for rank, line := range src.merges {
		left, right, ok := strings.Cut(line, " ")
		if !ok || left == "" || right == "" || strings.Contains(right, " ") {
			return fmt.Errorf("%w: merge %d, %s, is not two tokens with a space between", ErrVocab, rank, shortQuote(line))
		}
		joined = append(append(joined[:0], left...), right...)
		m := merge{rank: uint32(rank)}
		if m.left, ok = t.named(src, left); !ok {
			return fmt.Errorf("%w: merge %d names %s, which is no token that text can become", ErrVocab, rank, shortQuote(left))
		}
		if m.right, ok = t.named(src, right); !ok {
			return fmt.Errorf("%w: merge %d names %s, which is no token that text can become", ErrVocab, rank, shortQuote(right))
		}
		if m.id, ok = t.named(src, string(joined)); !ok {
			return fmt.Errorf("%w: merge %d makes %s, which is no token that text can become", ErrVocab, rank, shortQuote(string(joined)))
		}
		if !t.pairs.add(m) {
			return fmt.Errorf("%w: merge %d, %s, is listed twice", ErrVocab, rank, shortQuote(line))
		}
	}
	return nil
}

func (t *Tokenizer) named(src *source, name string) (uint32, bool) {
	id, ok := src.names[name]
	return id, ok && t.mergeable(id)
}

// loadWords files the tokens that a whole word may become at once. With all of them that is Llama 3's ignore_merges rule. Without,
// it is only a short cut, and holds only those that merging would arrive at as well.
func (t *Tokenizer) loadWords(all bool) {
	var keep, got []uint32
	for id := range uint32(t.vocab.size()) {
		b := t.vocab.bytes(id)
		if !t.mergeable(id) || len(b) == 0 {
			continue
		}
		if !all {
			got = t.merge(got[:0], string(b))
			if len(got) != 1 || got[0] != id {
				continue
			}
		}
		keep = append(keep, id)
	}
	t.words = newWordTable(len(keep))
	for _, id := range keep {
		t.words.add(&t.vocab, id)
	}
}

// LoadBPE reads a byte-level vocabulary in its first published form: encoder.json, an object of token to id, and vocab.bpe, a merge a
// line. pre names the split rule as GGUF does. The special tokens become control tokens: at their ids where encoder.json has them,
// otherwise after the highest id in the order given.
func LoadBPE(encoderJSON, vocabBPE io.Reader, pre string, special []string) (*Tokenizer, error) {
	_, llama3, err := splitterFor(pre)
	if err != nil {
		return nil, err
	}
	src := &source{family: byteLevel, pre: pre, addBOS: llama3, ignoreMerges: llama3}
	if src.names, err = readEncoder(encoderJSON); err != nil {
		return nil, err
	}
	src.tokens = make([]string, len(src.names), len(src.names)+len(special))
	for name, id := range src.names {
		if uint64(id) >= uint64(len(src.tokens)) {
			return nil, fmt.Errorf("%w: id %d of %s: ids must run from 0 to %d", ErrVocab, id, shortQuote(name), len(src.tokens)-1)
		}
		if other := src.tokens[id]; other != "" {
			return nil, fmt.Errorf("%w: id %d is given to %s and %s", ErrVocab, id, shortQuote(other), shortQuote(name))
		}
		src.tokens[id] = name
	}
	src.kinds = slices.Repeat([]kind{kindNormal}, len(src.tokens))
	for _, name := range special {
		if name == "" || !utf8.ValidString(name) {
			return nil, fmt.Errorf("%w: special token %s", ErrVocab, shortQuote(name))
		}
		id, ok := src.names[name]
		if !ok {
			id = uint32(len(src.tokens))
			src.names[name] = id
			src.tokens = append(src.tokens, name)
			src.kinds = append(src.kinds, kindControl)
		}
		src.kinds[id] = kindControl
		switch name {
		case "<|begin_of_text|>":
			src.bos = optionalID{id, true}
		case "<|end_of_text|>":
			src.eos = optionalID{id, true}
		case "<|eot_id|>":
			src.eot = optionalID{id, true}
		case "<|endoftext|>": // GPT-2 has one token for both
			src.bos, src.eos = optionalID{id, true}, optionalID{id, true}
		}
	}
	if src.merges, err = readMerges(vocabBPE); err != nil {
		return nil, err
	}
	return build(src)
}

// maxFile bounds what is read of either file: escapes make JSON longer than the tokens are.
const maxFile = 4 * maxVocabBytes

func readEncoder(r io.Reader) (map[string]uint32, error) {
	names := make(map[string]uint32)
	dec := json.NewDecoder(io.LimitReader(r, maxFile))
	if err := dec.Decode(&names); err != nil {
		return nil, fmt.Errorf("%w: reading token ids: %w", ErrVocab, err)
	}
	if _, empty := names[""]; empty {
		return nil, fmt.Errorf("%w: a token with no text", ErrVocab)
	}
	if len(names) > maxTokens {
		return nil, fmt.Errorf("%w: %d tokens, at most %d are supported", ErrVocab, len(names), maxTokens)
	}
	return names, nil
}

func readMerges(r io.Reader) ([]string, error) {
	var merges []string
	lines := bufio.NewScanner(io.LimitReader(r, maxFile))
	for first := true; lines.Scan(); first = false {
		line := lines.Text()
		if line == "" || first && strings.HasPrefix(line, "#version") {
			continue
		}
		merges = append(merges, line)
		if len(merges) > maxMerges {
			return nil, fmt.Errorf("%w: more than %d merges", ErrVocab, maxMerges)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: reading merges: %w", ErrVocab, err)
	}
	return merges, nil
}
