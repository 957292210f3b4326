package tokenizer

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"
)

func corpus(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dataDir(t), "war-and-peace.txt"))
	if err != nil {
		t.Skip("data tier: ", err)
	}
	return string(b)
}

// Independent encoders of Llama 3's vocabulary agree on this number; ones that get the white-space lookahead wrong are off by 20.
const corpusTokens = 760377

func TestLlama3Corpus(t *testing.T) {
	text := corpus(t)
	began := time.Now()
	tok := llama3FromData(t)
	loaded := time.Since(began)
	if got := tok.VocabSize(); got != 128000+len(llama3Specials) {
		t.Errorf("vocabulary of %d tokens", got)
	}
	ids := tok.Encode(nil, text, Options{})
	if len(ids) != corpusTokens {
		t.Errorf("%d tokens, want %d", len(ids), corpusTokens)
	}
	best := time.Duration(1 << 62)
	for range 3 {
		began = time.Now()
		tok.Encode(ids[:0], text, Options{})
		best = min(best, time.Since(began))
	}
	t.Logf("loaded in %v; encoding: %.1f MB/s, %.2f M tokens/s", loaded.Round(time.Millisecond),
		float64(len(text))/best.Seconds()/1e6, float64(len(ids))/best.Seconds()/1e6)
	back, err := tok.Decode(nil, ids)
	if err != nil {
		t.Fatal(err)
	}
	if string(back) != text {
		t.Error("the corpus does not come back")
	}
	d := tok.NewDecoder()
	out := make([]byte, 0, len(text)+8)
	for _, id := range ids {
		out = d.Decode(out, id)
	}
	if out = d.Flush(out); string(out) != text {
		t.Error("the corpus does not come back from the streaming decoder")
	}
}

func TestLlama3KnownIDs(t *testing.T) {
	tok := llama3FromData(t)
	for _, c := range []struct {
		text string
		want []uint32
	}{
		{"hello world", []uint32{15339, 1917}},
		{"Hello, world!", []uint32{9906, 11, 1917, 0}},
		{" the", []uint32{279}},
		{"\n\n", []uint32{271}},
		{"user", []uint32{882}},
		{"assistant", []uint32{78191}},
		{"system", []uint32{9125}},
	} {
		if got := tok.Encode(nil, c.text, Options{}); !slices.Equal(got, c.want) {
			t.Errorf("%q encodes to %v, want %v", c.text, got, c.want)
		}
	}
}

func BenchmarkEncodeLlama3(b *testing.B) {
	text := corpus(b)
	tok := llama3FromData(b)
	ids := tok.Encode(nil, text, Options{})
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		ids = tok.Encode(ids[:0], text, Options{})
	}
	b.ReportMetric(float64(len(ids))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mtokens/s")
}

func BenchmarkDecodeLlama3(b *testing.B) {
	text := corpus(b)
	tok := llama3FromData(b)
	ids := tok.Encode(nil, text, Options{})
	out := make([]byte, 0, len(text)+8)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		d := tok.NewDecoder()
		out = out[:0]
		for _, id := range ids {
			out = d.Decode(out, id)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(len(ids)), "ns/token")
}

func BenchmarkLoadLlama3(b *testing.B) {
	for b.Loop() {
		llama3FromData(b)
	}
	runtime.GC()
}
