package tokenizer

import (
	"encoding/binary"
	"testing"
)

// Encoding and decoding is the identity on any bytes, for every kind of
// vocabulary; and no text of a user's becomes a control token.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range scraps {
		f.Add(s + " " + s)
	}
	kinds := everyKind(f)
	f.Fuzz(func(t *testing.T, text string) {
		for name, tok := range kinds {
			roundTrip(t, name, tok, text)
			for _, id := range tok.Encode(nil, text, Options{}) {
				if tok.IsControl(id) {
					t.Errorf("%s: %q gave control token %d", name, text, id)
				}
			}
		}
	})
}

// Decoding a stream gives what decoding the whole gives, valid UTF-8 at every
// step, whatever the tokens.
func FuzzStream(f *testing.F) {
	f.Add([]byte{1, 0, 2, 0, 255, 0})
	kinds := everyKind(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for name, tok := range kinds {
			var ids []uint32
			var all []byte
			for ; len(raw) >= 2*len(ids)+2; ids = append(ids, uint32(binary.LittleEndian.Uint16(raw[2*len(ids):]))%uint32(tok.VocabSize())) {
			}
			for _, id := range ids {
				if !tok.IsControl(id) {
					all = append(all, tok.TokenBytes(id)...)
				}
			}
			if got := stream(t, tok.NewDecoder(), ids); got != replaced(string(all)) {
				t.Errorf("%s: %v streams as %q, whole %q", name, ids, got, replaced(string(all)))
			}
		}
	})
}

// Garbled metadata is refused or makes a tokenizer that works.
func FuzzMetadata(f *testing.F) {
	f.Add(uint8(0), uint16(3), "x", int32(-1))
	f.Add(uint8(4), uint16(300), "", int32(1<<30))
	f.Fuzz(func(t *testing.T, what uint8, at uint16, s string, n int32) {
		m := byteLevelMetadata("gpt-2", []string{"<|endoftext|>"})
		if what&1 != 0 {
			m = pieceMetadata(true)
		}
		strs := func(key string, put string) {
			if v, ok := m[key].([]string); ok && len(v) > 0 {
				v = append([]string(nil), v...)
				v[int(at)%len(v)] = put
				m[key] = v
			}
		}
		switch what >> 1 % 7 {
		case 0:
			strs(ggml+"tokens", s)
		case 1:
			strs(ggml+"merges", s)
		case 2:
			if v, ok := m[ggml+"token_type"].([]int32); ok {
				v = append([]int32(nil), v...)
				v[int(at)%len(v)] = n
				m[ggml+"token_type"] = v
			}
		case 3:
			m[ggml+"bos_token_id"] = uint32(n)
		case 4:
			m[ggml+"eos_token_id"] = uint32(n)
		case 5:
			m[ggml+"pre"] = s
		case 6:
			if v, ok := m[ggml+"tokens"].([]string); ok {
				m[ggml+"tokens"] = v[:int(at)%(len(v)+1)]
			}
		}
		tok, err := FromGGUF(m)
		if err != nil {
			return
		}
		for _, id := range tok.Encode(nil, s+" the text", Options{Begin: true}) {
			if !tok.Valid(id) {
				t.Errorf("id %d of a vocabulary of %d", id, tok.VocabSize())
			}
		}
	})
}
