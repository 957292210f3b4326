package tokenizer

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkEncode(b *testing.B) {
	text := strings.Repeat(sample, 50)
	for name, tok := range everyKind(b) {
		b.Run(name, func(b *testing.B) {
			ids := tok.Encode(nil, text, Options{})
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				ids = tok.Encode(ids[:0], text, Options{})
			}
		})
	}
}

// BenchmarkLongWord shows that a word without a border costs n log n: the rate falls slowly with the length, not as 1/n.
func BenchmarkLongWord(b *testing.B) {
	for name, tok := range everyKind(b) {
		for _, n := range []int{1 << 10, 1 << 14, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				text := strings.Repeat("abbathecarda", n/12+1)[:n]
				ids := tok.Encode(nil, text, Options{})
				b.SetBytes(int64(n))
				for b.Loop() {
					ids = tok.Encode(ids[:0], text, Options{})
				}
			})
		}
	}
}
