package tokenizer

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// byteTokens spells text byte by byte, the hardest case for a streaming decoder.
func byteTokens(tok *Tokenizer, text string) []uint32 {
	var ids []uint32
	for i := range len(text) {
		ids = append(ids, tok.byteIDs[text[i]])
	}
	return ids
}

// replaced is text with each longest stretch of bytes that begins like a character but is none made U+FFFD: written from the table
// of well-formed sequences in the Unicode standard, not from package utf8.
func replaced(text string) string {
	type form struct {
		lo, hi byte
		rest   [][2]byte
	}
	cont := [2]byte{0x80, 0xbf}
	forms := []form{
		{0x00, 0x7f, nil},
		{0xc2, 0xdf, [][2]byte{cont}},
		{0xe0, 0xe0, [][2]byte{{0xa0, 0xbf}, cont}},
		{0xe1, 0xec, [][2]byte{cont, cont}},
		{0xed, 0xed, [][2]byte{{0x80, 0x9f}, cont}},
		{0xee, 0xef, [][2]byte{cont, cont}},
		{0xf0, 0xf0, [][2]byte{{0x90, 0xbf}, cont, cont}},
		{0xf1, 0xf3, [][2]byte{cont, cont, cont}},
		{0xf4, 0xf4, [][2]byte{{0x80, 0x8f}, cont, cont}},
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		n, whole := 1, false
		for _, f := range forms {
			if text[i] < f.lo || text[i] > f.hi {
				continue
			}
			for n <= len(f.rest) && i+n < len(text) && f.rest[n-1][0] <= text[i+n] && text[i+n] <= f.rest[n-1][1] {
				n++
			}
			whole = n == len(f.rest)+1
		}
		if whole {
			out.WriteString(text[i : i+n])
		} else {
			out.WriteString("\ufffd")
		}
		i += n
	}
	return out.String()
}

func stream(t testing.TB, d *Decoder, ids []uint32) string {
	t.Helper()
	var out []byte
	for _, id := range ids {
		before := len(out)
		out = d.Decode(out, id)
		if !utf8.Valid(out[before:]) {
			t.Fatalf("token %d emits %q, which is not UTF-8", id, out[before:])
		}
		if d.n >= utf8.UTFMax {
			t.Fatalf("%d bytes held back", d.n)
		}
	}
	return string(d.Flush(out))
}

func TestDecoderHoldsBack(t *testing.T) {
	tok := load(t, byteLevelMetadata("llama-bpe", llama3Specials))
	const eot = "\x00EOT"
	for _, c := range []struct {
		name string
		in   []string // one token each; eot is a control token
		out  []string // what each emits
		tail string
	}{
		{"plain", []string{"a", "b"}, []string{"a", "b"}, ""},
		{"two bytes", []string{"\xc3", "\xa9", "x"}, []string{"", "é", "x"}, ""},
		{"three bytes", []string{"\xe5", "\xa4", "\xa9"}, []string{"", "", "天"}, ""},
		{"four bytes", []string{"\xf0", "\x9f", "\x98", "\x80"}, []string{"", "", "", "😀"}, ""},
		{"cut short by a letter", []string{"\xf0", "\x9f", "\x98", "a"}, []string{"", "", "", "\ufffda"}, ""},
		{"cut short by a beginning", []string{"\xe5", "\xa4", "\xe5", "\xa4", "\xa9"}, []string{"", "", "\ufffd", "", "天"}, ""},
		{"lone continuation", []string{"\x80", "\xbf"}, []string{"\ufffd", "\ufffd"}, ""},
		{"never a beginning", []string{"\xff", "\xc0", "\xf5"}, []string{"\ufffd", "\ufffd", "\ufffd"}, ""},
		{"surrogate", []string{"\xed", "\xa0", "\x80"}, []string{"", "\ufffd\ufffd", "\ufffd"}, ""},
		{"overlong", []string{"\xe0", "\x80", "\x80"}, []string{"", "\ufffd\ufffd", "\ufffd"}, ""},
		{"unfinished at the end", []string{"a", "\xf0", "\x9f", "\x98"}, []string{"a", "", "", ""}, "\ufffd"},
		{"control between halves", []string{"\xc3", eot, "\xa9"}, []string{"", "", "é"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := tok.NewDecoder()
			for i, s := range c.in {
				id, ok := tok.Special("<|eot_id|>")
				if s != eot {
					id = tok.byteIDs[s[0]]
				} else if !ok {
					t.Fatal("no eot")
				}
				if got := string(d.Decode(nil, id)); got != c.out[i] {
					t.Errorf("token %d emits %q, want %q", i, got, c.out[i])
				}
			}
			if got := string(d.Flush(nil)); got != c.tail {
				t.Errorf("flush emits %q, want %q", got, c.tail)
			}
			if got := string(d.Flush(nil)); got != "" {
				t.Errorf("a second flush emits %q", got)
			}
		})
	}
}

func TestDecoderReplacesAsTheStandardSays(t *testing.T) {
	tok := load(t, byteLevelMetadata("gpt-2", nil))
	r := rand.New(rand.NewPCG(5, 6))
	alphabet := []byte{'a', 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xe2, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff}
	for range 50000 {
		b := make([]byte, r.IntN(9))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		text := string(b)
		if got, want := stream(t, tok.NewDecoder(), byteTokens(tok, text)), replaced(text); got != want {
			t.Fatalf("%q streams as %q, want %q", text, got, want)
		}
	}
}

func TestDecoderControl(t *testing.T) {
	tok := load(t, byteLevelMetadata("llama-bpe", llama3Specials))
	eot, _ := tok.Special("<|eot_id|>")
	ids := append(tok.Encode(nil, "hi", Options{}), eot)
	if got := stream(t, tok.NewDecoder(), ids); got != "hi" {
		t.Errorf("control tokens show: %q", got)
	}
	d := tok.NewDecoder()
	d.Control = true
	if got := stream(t, d, ids); got != "hi<|eot_id|>" {
		t.Errorf("asked to show control tokens, it emits %q", got)
	}
}

// A stream goes on after a prompt, so its first space is text; a whole text begins with a space that encoding put there.
func TestDecoderStart(t *testing.T) {
	tok := load(t, pieceMetadata(false))
	ids := tok.Encode(nil, " the list", Options{})
	if got := stream(t, tok.NewDecoder(), ids); got != "  the list" {
		t.Errorf("continuing: %q", got)
	}
	d := tok.NewDecoder()
	d.Start = true
	if got := stream(t, d, append([]uint32{1}, ids...)); got != " the list" {
		t.Errorf("beginning: %q", got)
	}
}

func TestIDsOutsideTheVocabulary(t *testing.T) {
	tok := load(t, byteLevelMetadata("gpt-2", nil))
	d := tok.NewDecoder()
	out := d.Decode(nil, tok.byteIDs['a'])
	for _, id := range []uint32{uint32(tok.VocabSize()), 1 << 31, noToken} {
		if tok.TokenBytes(id) != nil || tok.IsControl(id) || tok.Valid(id) {
			t.Errorf("id %d is taken for a token", id)
		}
		if _, err := tok.Decode(nil, []uint32{0, id}); !errors.Is(err, ErrToken) {
			t.Errorf("decoding id %d: %v", id, err)
		}
		out = d.Decode(out, id)
	}
	out = d.Decode(out, tok.byteIDs['b'])
	if string(out) != "ab" || !errors.Is(d.Err(), ErrToken) {
		t.Errorf("the decoder emits %q with error %v", out, d.Err())
	}
}

func TestStreamingAllocatesNothing(t *testing.T) {
	for name, tok := range everyKind(t) {
		ids := append(tok.Encode(nil, sample, Options{}), byteTokens(tok, "\xf0\x9f\x98\x80\xff\xe5\xa4")...)
		d := tok.NewDecoder()
		out := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(50, func() {
			out = out[:0]
			for _, id := range ids {
				out = d.Decode(out, id)
			}
			out = d.Flush(out)
		}); n != 0 {
			t.Errorf("%s: %v allocations to stream %d tokens", name, n, len(ids))
		}
	}
}
