package tokenizer

import (
	"encoding/binary"
	"slices"
	"testing"
)

func addScraps(f *testing.F) {
	for _, s := range scraps {
		f.Add(s)
	}
	f.Add(sample)
}

// FuzzRoundTrip: whatever bytes go in come out, no control token is read from them, and the result is the reference's.
func FuzzRoundTrip(f *testing.F) {
	addScraps(f)
	toks := everyKind(f)
	refs := map[string]metadata{"gpt-2": byteLevelMetadata("gpt-2", nil), "llama": pieceMetadata(false), "llama-inner": pieceMetadata(true)}
	f.Fuzz(func(t *testing.T, text string) {
		for name, tok := range toks {
			roundTrip(t, name, tok, text)
		}
		if len(text) > 200 { // the reference is cubic
			return
		}
		for name, m := range refs {
			ref := refPieces
			if name == "gpt-2" {
				ref = refByteLevel
			}
			if got, want := toks[name].Encode(nil, text, Options{}), ref(m, text); !slices.Equal(got, want) {
				t.Fatalf("%s: %q encodes to %v, want %v", name, text, got, want)
			}
		}
	})
}

// FuzzStream: streaming says what decoding everything and replacing says, however text is cut into tokens. The cuts are those of the
// text's tokens, of its bytes, and of the ids that the text itself spells.
func FuzzStream(f *testing.F) {
	addScraps(f)
	toks := everyKind(f)
	f.Fuzz(func(t *testing.T, text string) {
		for name, tok := range toks {
			var any []uint32
			for b := []byte(text); len(b) >= 2; b = b[2:] {
				any = append(any, uint32(binary.LittleEndian.Uint16(b))%uint32(tok.VocabSize()))
			}
			for _, ids := range [][]uint32{tok.Encode(nil, text, Options{}), byteTokens(tok, text), any} {
				d := tok.NewDecoder()
				d.Start = true
				whole, err := tok.Decode(nil, ids)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := stream(t, d, ids), replaced(string(whole)); got != want {
					t.Fatalf("%s: %v streams as %q, want %q", name, ids, got, want)
				}
			}
		}
	})
}

// FuzzFromGGUF damages good metadata as a script says: an error or a tokenizer that works, never a panic.
func FuzzFromGGUF(f *testing.F) {
	f.Add(uint8(0), []byte{}, "")
	f.Add(uint8(1), []byte{0, 1, 2, 3, 4, 5, 6, 7}, "a b")
	f.Add(uint8(2), []byte{9, 8, 7, 6, 5, 4, 3, 2, 1}, "<0x41>")
	f.Add(uint8(3), []byte("\x03\xff\x01\x04\x00\x00\x05\x10\x01"), spaceMark)
	base := []metadata{
		byteLevelMetadata("gpt-2", []string{"<|endoftext|>"}), byteLevelMetadata("llama-bpe", llama3Specials), pieceMetadata(false), pieceMetadata(true),
	}
	f.Fuzz(func(t *testing.T, which uint8, script []byte, text string) {
		m := base[int(which)%len(base)]
		tokens, types := m[ggml+"tokens"].([]string), m[ggml+"token_type"].([]int32)
		for ; len(script) >= 3; script = script[3:] {
			i, v := int(binary.LittleEndian.Uint16(script[1:])), uint32(script[2])
			i %= len(tokens)
			switch script[0] % 12 {
			case 0:
				m = m.with("tokens", put(m, "tokens", i, text))
			case 1:
				if old := m[ggml+"token_type"].([]int32); len(old) > 0 {
					m = m.with("token_type", put(m, "token_type", i%len(old), int32(v%9)))
				}
			case 2:
				m = m.with("bos_token_id", v<<(v%24))
			case 3:
				m = m.with("eos_token_id", uint32(i))
			case 4:
				m = m.with("unknown_token_id", uint32(i))
			case 5:
				if old, ok := m[ggml+"merges"].([]string); ok && len(old) > 0 {
					m = m.with("merges", put(m, "merges", i%len(old), text))
				}
			case 6:
				if old, ok := m[ggml+"scores"].([]float32); ok {
					m = m.with("scores", put(m, "scores", i%len(old), float32(int(v)-128)))
				}
			case 7:
				m = m.with("merges", nil)
			case 8:
				m = m.with("token_type", types[:i])
			case 9:
				m = m.with("add_space_prefix", v%2 == 0, "ignore_merges", v%3 == 0)
			case 10:
				m = m.with("model", text)
			case 11:
				m = m.with("pre", text)
			}
		}
		tok, err := FromGGUF(m)
		if err != nil {
			return
		}
		in := text + sample[:80]
		for _, parse := range []bool{false, true} {
			ids := tok.Encode(nil, in, Options{ParseSpecial: parse, Begin: parse})
			out, err := tok.Decode(nil, ids)
			if err != nil {
				t.Fatal(err)
			}
			// A SentencePiece vocabulary may lack bytes and use its unknown token instead.
			if !parse && !tok.unk.ok && string(out) != in {
				t.Fatalf("%q comes back as %q", in, out)
			}
		}
		if _, err := tok.Chat(nil, []Turn{{"user", text}}, true); err != nil {
			t.Fatal(err)
		}
	})
}
