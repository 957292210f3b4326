package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits on what a vocabulary may ask for. The largest ones in use hold about 262,000 tokens of a few MiB together; these leave room
// and keep the cost of a hostile file at a few seconds.
const (
	maxTokens       = 1 << 20
	maxTokenBytes   = 1 << 10
	maxVocabBytes   = 16 << 20
	maxSpecialBytes = 1 << 20
	maxMerges       = 1 << 22
)

// kind is GGUF's token type, with its numbers.
type kind uint8

const (
	kindNormal  kind = 1
	kindUnknown kind = 2
	kindControl kind = 3
	kindUser    kind = 4
	kindUnused  kind = 5
	kindByte    kind = 6
)

func (k kind) silent() bool { return k == kindControl || k == kindUnknown || k == kindUnused }

// literal kinds are stored as the text they are; the others are stored in the family's escaped form.
func (k kind) literal() bool { return k != kindNormal && k != kindByte }

// vocab holds every token's bytes end to end: one allocation that the garbage collector need not walk.
type vocab struct {
	blob  []byte
	ends  []uint32 // ends[i] is where token i stops and token i+1 begins
	kinds []kind
}

func (v *vocab) size() int { return len(v.ends) }

func (v *vocab) bytes(id uint32) []byte {
	var start uint32
	if id > 0 {
		start = v.ends[id-1]
	}
	end := v.ends[id]
	return v.blob[start:end:end]
}

// source is a vocabulary as a file describes it, before anything in it is believed.
type source struct {
	family       family
	pre          string
	tokens       []string
	kinds        []kind // nil: all normal
	scores       []float32
	merges       []string
	names        map[string]uint32 // token text to id; built from tokens when nil
	bos, eos     optionalID
	eot, unk     optionalID
	addBOS       bool
	addSpace     bool
	ignoreMerges bool
}

// build checks a source and makes a tokenizer of it.
func build(src *source) (*Tokenizer, error) {
	if err := src.check(); err != nil {
		return nil, err
	}
	t := &Tokenizer{
		family: src.family, bos: src.bos, eos: src.eos, eot: src.eot, unk: src.unk,
		addBOS: src.addBOS && src.bos.ok, addSpace: src.addSpace && src.family == sentencePiece,
	}
	t.scratch.New = func() any { return new(longScratch) }
	for i := range t.byteIDs {
		t.byteIDs[i] = noToken
	}
	if err := t.loadTokens(src); err != nil {
		return nil, err
	}
	var err error
	switch src.family {
	case byteLevel:
		err = t.loadByteLevel(src)
	case sentencePiece:
		err = t.loadPieces(src)
	}
	if err != nil {
		return nil, err
	}
	t.findStops()
	return t, nil
}

// check holds every count and id against the number of tokens, and fills in kinds and names.
func (src *source) check() error {
	n := len(src.tokens)
	switch {
	case n == 0:
		return fmt.Errorf("%w: no tokens", ErrVocab)
	case n > maxTokens:
		return fmt.Errorf("%w: %d tokens, at most %d are supported", ErrVocab, n, maxTokens)
	case len(src.merges) > maxMerges:
		return fmt.Errorf("%w: %d merges, at most %d are supported", ErrVocab, len(src.merges), maxMerges)
	case src.kinds != nil && len(src.kinds) != n:
		return fmt.Errorf("%w: %d token types for %d tokens", ErrVocab, len(src.kinds), n)
	case src.scores != nil && len(src.scores) != n:
		return fmt.Errorf("%w: %d scores for %d tokens", ErrVocab, len(src.scores), n)
	}
	total := 0
	for i, s := range src.tokens {
		if len(s) > maxTokenBytes {
			return fmt.Errorf("%w: token %d is %d bytes long, at most %d are supported", ErrVocab, i, len(s), maxTokenBytes)
		}
		total += len(s)
	}
	if total > maxVocabBytes {
		return fmt.Errorf("%w: tokens of %d bytes together, at most %d are supported", ErrVocab, total, maxVocabBytes)
	}
	src.fillKinds()
	for _, id := range []struct {
		name string
		optionalID
		control bool
	}{{"bos", src.bos, true}, {"eos", src.eos, true}, {"eot", src.eot, true}, {"unknown", src.unk, false}} {
		if !id.ok {
			continue
		}
		if uint64(id.id) >= uint64(n) {
			return fmt.Errorf("%w: %s token id %d outside the %d tokens", ErrVocab, id.name, id.id, n)
		}
		// Some converters forget to mark these. A token that ends a turn must not be spelt by a user, so it is a control token.
		switch k := &src.kinds[id.id]; {
		case id.control && *k != kindUnknown:
			*k = kindControl
		case !id.control && *k == kindNormal:
			*k = kindUnknown
		}
	}
	return src.fillNames()
}

// fillKinds completes missing token types: SentencePiece's byte tokens can be told by their text.
func (src *source) fillKinds() {
	if src.kinds != nil {
		return
	}
	src.kinds = make([]kind, len(src.tokens))
	for i, s := range src.tokens {
		src.kinds[i] = kindNormal
		if _, ok := parseByteToken(s); ok && src.family == sentencePiece {
			src.kinds[i] = kindByte
		}
	}
}

func (src *source) fillNames() error {
	if src.names != nil {
		return nil
	}
	src.names = make(map[string]uint32, len(src.tokens))
	for i, s := range src.tokens {
		if s == "" { // padding; it can be named by id only
			continue
		}
		if first, ok := src.names[s]; ok {
			return fmt.Errorf("%w: token %d repeats token %d, %s", ErrVocab, i, first, shortQuote(s))
		}
		src.names[s] = uint32(i)
	}
	return nil
}

// loadTokens unescapes every token and files the special ones.
func (t *Tokenizer) loadTokens(src *source) error {
	v := &t.vocab
	v.kinds = src.kinds
	v.ends = make([]uint32, 0, len(src.tokens))
	var err error
	special := 0
	for i, s := range src.tokens {
		k := src.kinds[i]
		switch {
		case k.literal():
			v.blob = append(v.blob, s...)
			if k != kindUnused && s != "" {
				if special += len(s); special > maxSpecialBytes {
					return fmt.Errorf("%w: special tokens of more than %d bytes together", ErrVocab, maxSpecialBytes)
				}
				t.specials.add(s, uint32(i))
			}
		case t.family == byteLevel:
			if v.blob, err = appendByteLevel(v.blob, s); err != nil {
				return fmt.Errorf("%w: token %d, %s: %w", ErrVocab, i, shortQuote(s), err)
			}
		case k == kindByte:
			b, ok := parseByteToken(s)
			if !ok {
				return fmt.Errorf("%w: token %d, %s, is typed as a byte but is not of the form <0xNN>", ErrVocab, i, shortQuote(s))
			}
			if first := t.byteIDs[b]; first != noToken {
				return fmt.Errorf("%w: tokens %d and %d both stand for byte %#02x", ErrVocab, first, i, b)
			}
			t.byteIDs[b] = uint32(i)
			v.blob = append(v.blob, b)
		default:
			v.blob = appendPiece(v.blob, s)
		}
		v.ends = append(v.ends, uint32(len(v.blob)))
	}
	v.blob = slices.Clip(v.blob)
	return nil
}

// findStops gathers the tokens that end an answer: what the file names, and the well-known names, since files often name only
// one of several. Files made after fine-tuning may call these user-defined; they are control tokens all the same.
func (t *Tokenizer) findStops() {
	for _, o := range []optionalID{t.eos, t.eot} {
		if o.ok {
			t.stops = append(t.stops, o.id)
		}
	}
	for _, name := range []string{"<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|im_end|>"} {
		if id, ok := t.Special(name); ok {
			t.stops = append(t.stops, id)
			t.vocab.kinds[id] = kindControl
		}
	}
	slices.Sort(t.stops)
	t.stops = slices.Compact(t.stops)
}

// parseByteToken reads "<0xNN>".
func parseByteToken(s string) (byte, bool) {
	if len(s) != 6 || !strings.HasPrefix(s, "<0x") || s[5] != '>' {
		return 0, false
	}
	hi, lo := hexDigit(s[3]), hexDigit(s[4])
	return hi<<4 | lo, hi < 16 && lo < 16
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

// shortQuote keeps error lines short and printable whatever a file put into a token.
func shortQuote(s string) string {
	const most = 40
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%q...", s[:cut])
}
