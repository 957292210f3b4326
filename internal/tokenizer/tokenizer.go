// Package tokenizer turns text into token ids and back for the two families of vocabulary that GGUF files carry: byte-level BPE
// (GPT-2, Llama 3) and SentencePiece with scores (Llama 2).
//
// Encoding never reads control tokens out of text unless it is asked to: a user who types "<|eot_id|>" gets the tokens of those
// ten characters. For byte-level BPE, and for SentencePiece vocabularies that hold all 256 byte tokens, decoding what was encoded
// gives back the same bytes, whatever they were, valid UTF-8 or not.
//
// Vocabularies come from files that somebody else wrote. Loading one checks every id, name and count in it and is bounded in time
// and memory; what does not fit is an error that names the place.
package tokenizer

import (
	"errors"
	"fmt"
	"sync"
)

// ErrUnsupported marks a vocabulary of a kind that this package does not know, ErrVocab one that contradicts itself, ErrToken an id
// that is not in the vocabulary.
var (
	ErrUnsupported = errors.New("unsupported tokenizer")
	ErrVocab       = errors.New("bad vocabulary")
	ErrToken       = errors.New("token id outside the vocabulary")
)

// A Tokenizer is immutable once loaded, so any number of goroutines may use one.
type Tokenizer struct {
	family family
	vocab  vocab

	words    *wordTable // text that is one token by rule, looked up before any merging
	pairs    *pairTable // which two neighbours merge, in which order, into what
	specials trie       // control and user-defined tokens by their text
	classes  *classTable
	split    splitFunc

	symbols symbolTable // where merging starts: a byte or a character to its id
	byteIDs [256]uint32 // what encodes a lone byte; noToken where the vocabulary has nothing

	bos, eos, eot, unk optionalID
	stops              []uint32
	addBOS             bool
	addSpace           bool // SentencePiece's dummy prefix: text is encoded as if a space stood before it
	wordCut            bool // no token holds a space after a non-space, so text may be cut there without changing the result

	scratch sync.Pool // *longScratch, for words too long for the stack
}

type family uint8

const (
	byteLevel family = iota
	sentencePiece
)

type optionalID struct {
	id uint32
	ok bool
}

// noToken stands for "no id": no vocabulary that loads has this many tokens.
const noToken = ^uint32(0)

// Options says how Encode reads its text. The zero value is right for anything a user typed.
type Options struct {
	// ParseSpecial turns the text of control and user-defined tokens into those tokens. Text that a user can influence must not
	// be encoded with it.
	ParseSpecial bool
	// Begin says that the text begins a prompt: the begin-of-text token is put first where the model wants one.
	Begin bool
}

// Encode appends the tokens of text to dst. The work is O(n log n) in the length of the text, whatever the text is.
func (t *Tokenizer) Encode(dst []uint32, text string, opt Options) []uint32 {
	if opt.Begin && t.addBOS {
		dst = append(dst, t.bos.id)
	}
	if !opt.ParseSpecial {
		return t.encodeText(dst, text)
	}
	for text != "" {
		start, end, id := t.specials.find(text)
		dst = t.encodeText(dst, text[:start])
		if id == noToken {
			break
		}
		dst = append(dst, id)
		text = text[end:]
	}
	return dst
}

// encodeText encodes text that holds no special tokens, or whose special tokens are to be taken as text.
func (t *Tokenizer) encodeText(dst []uint32, text string) []uint32 {
	if text == "" {
		return dst
	}
	if t.family == sentencePiece {
		return t.encodePieces(dst, text)
	}
	for i := 0; i < len(text); {
		j := t.split(t.classes, text, i)
		dst = t.encodeWord(dst, text[i:j])
		i = j
	}
	return dst
}

func (t *Tokenizer) encodeWord(dst []uint32, word string) []uint32 {
	if len(word) == 1 && t.family == byteLevel {
		return append(dst, t.byteIDs[word[0]])
	}
	if id, ok := t.words.find(&t.vocab, word); ok {
		return append(dst, id)
	}
	return t.merge(dst, word)
}

// Decode appends the bytes of ids to dst: exactly the bytes that Encode was given, UTF-8 or not. Control tokens add nothing.
func (t *Tokenizer) Decode(dst []byte, ids []uint32) ([]byte, error) {
	start := t.addSpace
	for i, id := range ids {
		if !t.Valid(id) {
			return dst, fmt.Errorf("decoding token %d of %d: id %d of %d: %w", i, len(ids), id, t.VocabSize(), ErrToken)
		}
		if t.IsControl(id) {
			continue
		}
		b := t.TokenBytes(id)
		if start && len(b) > 0 {
			start = false
			if b[0] == ' ' {
				b = b[1:]
			}
		}
		dst = append(dst, b...)
	}
	return dst, nil
}

// VocabSize is one more than the highest token id.
func (t *Tokenizer) VocabSize() int { return t.vocab.size() }

// Valid reports whether id is in the vocabulary.
func (t *Tokenizer) Valid(id uint32) bool { return uint64(id) < uint64(t.vocab.size()) }

// TokenBytes is the text of a token, nil for an id outside the vocabulary. It is the tokenizer's own memory: not to be written.
func (t *Tokenizer) TokenBytes(id uint32) []byte {
	if !t.Valid(id) {
		return nil
	}
	return t.vocab.bytes(id)
}

// IsControl reports whether a token stands for no text: a control token, the unknown token, an unused one.
func (t *Tokenizer) IsControl(id uint32) bool { return t.Valid(id) && t.vocab.kinds[id].silent() }

// BOS is the token that begins a text, if the vocabulary has one.
func (t *Tokenizer) BOS() (uint32, bool) { return t.bos.id, t.bos.ok }

// EOS is the token that ends a text, if the vocabulary has one.
func (t *Tokenizer) EOS() (uint32, bool) { return t.eos.id, t.eos.ok }

// Special finds a control or user-defined token by its exact text.
func (t *Tokenizer) Special(name string) (uint32, bool) {
	id := t.specials.exact(name)
	return id, id != noToken
}

// StopIDs are the tokens that end an answer, in ascending order: end of text, of turn and of message. The slice is a copy.
func (t *Tokenizer) StopIDs() []uint32 { return append([]uint32(nil), t.stops...) }
