package silicon_test

import (
	"testing"

	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/silicon"
	"github.com/hc1-toolkit/hc1/internal/silicon/tiny"
)

// A model file with bytes changed is refused with an error, or computes.
func FuzzLoad(f *testing.F) {
	good, err := tiny.Build(tiny.Config{Name: "fuzz", Seed: 9, Vocab: 300, Context: 16, Embd: 32, FFN: 32, Layers: 1, Heads: 2, KVHeads: 1, RopeBase: 10000})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(60), uint64(1), uint32(len(good)))
	f.Add(uint32(8), uint64(1)<<63, uint32(100))
	f.Fuzz(func(t *testing.T, at uint32, v uint64, size uint32) {
		data := append([]byte(nil), good...)
		// The header and the metadata, not the weights, are what is worth changing.
		for i := range 8 {
			data[(int(at)+i)%min(len(data), 12000)] ^= byte(v >> (8 * i))
		}
		data = data[:min(int(size), len(data))]
		file, err := gguf.Parse(data)
		if err != nil {
			return
		}
		e, err := silicon.Load(file)
		if err != nil {
			return
		}
		s := e.NewState()
		if err := s.AppendLast([]uint32{1, 2, 3}, make([]float32, e.Info().Vocab)); err != nil {
			t.Log(err)
		}
	})
}
