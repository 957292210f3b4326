package tokenizer

import (
	"fmt"
	"unicode/utf8"
)

// A Decoder turns a stream of tokens into text as they come. A token may end in the middle of a character, so what it has emitted is
// always valid UTF-8 and at most three bytes are held back. Bytes that can never become a character are emitted as U+FFFD, one for
// each longest stretch that began like a character, which is what most decoders of UTF-8 do. How the tokens are cut does not matter.
//
// The fields may be set before the first token.
type Decoder struct {
	// Control makes control tokens appear as their text; otherwise they are silent.
	Control bool
	// Start says that the tokens begin a text rather than continue one: the space that some vocabularies put before every text is
	// left out.
	Start bool

	t    *Tokenizer
	err  error
	held [utf8.UTFMax]byte
	n    int
}

// NewDecoder makes a decoder for a stream that continues a prompt.
func (t *Tokenizer) NewDecoder() *Decoder { return &Decoder{t: t} }

// Decode appends the text that id completes. An id outside the vocabulary adds nothing and is remembered in Err.
func (d *Decoder) Decode(dst []byte, id uint32) []byte {
	if !d.t.Valid(id) {
		if d.err == nil {
			d.err = fmt.Errorf("decoding: id %d of %d: %w", id, d.t.VocabSize(), ErrToken)
		}
		return dst
	}
	if !d.Control && d.t.vocab.kinds[id].silent() {
		return dst
	}
	b := d.t.vocab.bytes(id)
	if d.Start && len(b) > 0 {
		d.Start = false
		if d.t.addSpace && b[0] == ' ' {
			b = b[1:]
		}
	}
	// Finish the held character first; it takes at most three bytes more, or it is found to be none.
	for d.n > 0 && len(b) > 0 {
		d.held[d.n] = b[0]
		b = b[1:]
		var used int
		dst, used = appendText(dst, d.held[:d.n+1])
		d.n = copy(d.held[:], d.held[used:d.n+1])
	}
	dst, used := appendText(dst, b)
	if used < len(b) {
		d.n = copy(d.held[:], b[used:])
	}
	return dst
}

// Err is the first id outside the vocabulary that Decode was given, as an error.
func (d *Decoder) Err() error { return d.err }

// Flush ends the stream: what is held back will not be completed and becomes one U+FFFD. The decoder can go on afterwards.
func (d *Decoder) Flush(dst []byte) []byte {
	if d.n > 0 {
		dst = utf8.AppendRune(dst, utf8.RuneError)
		d.n = 0
	}
	return dst
}

// appendText appends the characters of b up to one that b leaves unfinished, and says how much of b it used.
func appendText(dst, b []byte) ([]byte, int) {
	if utf8.Valid(b) {
		return append(dst, b...), len(b)
	}
	i := 0
	for i < len(b) {
		rest := b[i:]
		r, n := utf8.DecodeRune(rest)
		switch {
		case r != utf8.RuneError || n > 1:
			dst = append(dst, rest[:n]...)
		case !utf8.FullRune(rest):
			return dst, i
		default:
			for n < len(rest) && !utf8.FullRune(rest[:n+1]) { // a prefix is "full" as soon as no character begins with it
				n++
			}
			dst = utf8.AppendRune(dst, utf8.RuneError)
		}
		i += n
	}
	return dst, i
}
