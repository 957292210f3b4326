package silicon

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/silicon/tiny"
)

func build(t testing.TB, c tiny.Config, k kernels) *llama {
	t.Helper()
	data, err := tiny.Build(c)
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	e, err := load(f, k)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// shapes covers the ways a model can differ: query heads per KV head 1, 2 and
// 4, tied or not, frequency factors or not, sizes that need padding or not,
// every weight type.
func shapes() []tiny.Config {
	cs := tiny.Goldens()
	for i := range cs {
		cs[i].Context = 160
	}
	for i, t := range []gguf.Type{gguf.TypeF16, gguf.TypeQ8_0} {
		c := tiny.Config{Name: "typed-" + t.String(), Seed: uint64(20 + i), Vocab: 288, Context: 160, Embd: 64, FFN: 96,
			Layers: 2, Heads: 4, KVHeads: 2, Tied: i == 0, Factors: i == 1, RopeBase: 10000, Type: t}
		cs = append(cs, c)
	}
	return cs
}

func eachShape(t *testing.T, f func(t *testing.T, e *llama, prompt []uint32)) {
	for _, c := range shapes() {
		t.Run(c.Name, func(t *testing.T) { f(t, build(t, c, bestKernels), tiny.Prompt(c, 40)) })
	}
}

// decodeAll gives the logits after each token, one token at a time.
func decodeAll(t testing.TB, st State, vocab int, tokens []uint32) [][]float32 {
	t.Helper()
	var out [][]float32
	for i := range tokens {
		l := make([]float32, vocab)
		if err := st.AppendLast(tokens[i:i+1], l); err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

func wantBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if err := sameBits(got, want); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestChunkingChangesNoBit(t *testing.T) {
	eachShape(t, func(t *testing.T, e *llama, prompt []uint32) {
		want := decodeAll(t, e.NewState(), e.vocab, prompt)
		last := make([]float32, e.vocab)
		r := rand.New(rand.NewPCG(6, 6))
		try := func(cuts []int) {
			// Each chunk goes in one of the three ways there are.
			st := e.NewState()
			at := 0
			for _, n := range append(cuts, len(prompt)) {
				if n <= at {
					continue
				}
				var err error
				switch r.IntN(3) {
				case 0:
					err = st.Append(prompt[at:n], func(i int, l []float32) {
						wantBits(t, fmt.Sprintf("cuts %v, token %d", cuts, at+i), l, want[at+i])
					})
				case 1:
					if err = st.AppendLast(prompt[at:n], last); err == nil {
						wantBits(t, fmt.Sprintf("cuts %v, token %d", cuts, n-1), last, want[n-1])
					}
				case 2: // no logits: the next token shows whether the KV is right
					err = st.Append(prompt[at:n], nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				at = n
			}
			if st.Len() != len(prompt) {
				t.Fatalf("Len = %d", st.Len())
			}
			// A token more, whatever the last chunk's way.
			var probe, ref []float32
			probe, ref = make([]float32, e.vocab), make([]float32, e.vocab)
			whole := e.NewState()
			if err := whole.Append(prompt, nil); err != nil {
				t.Fatal(err)
			}
			_ = whole.AppendLast([]uint32{7}, ref)
			_ = st.AppendLast([]uint32{7}, probe)
			wantBits(t, fmt.Sprintf("cuts %v, token after", cuts), probe, ref)
		}
		for n := range prompt { // every split in two
			try([]int{n})
		}
		for range 60 {
			var cuts []int
			for at := 0; at < len(prompt); at += 1 + r.IntN(1+r.IntN(len(prompt))) {
				cuts = append(cuts, at)
			}
			try(cuts)
		}
	})
}

// Past a KV chunk and a batch the sums have more parts; bits must not care.
func TestLongPrefillEqualsDecode(t *testing.T) {
	c := shapes()[1]
	e := build(t, c, bestKernels)
	prompt := tiny.Prompt(c, c.Context)
	want := decodeAll(t, e.NewState(), e.vocab, prompt)
	err := e.NewState().Append(prompt, func(i int, l []float32) { wantBits(t, fmt.Sprint("token ", i), l, want[i]) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestKernelsGiveTheSameLogits(t *testing.T) {
	for _, c := range shapes() {
		t.Run(c.Name, func(t *testing.T) {
			prompt := tiny.Prompt(c, 100)
			e := build(t, c, portable)
			want := decodeAll(t, e.NewState(), e.vocab, prompt)
			for _, k := range simd(t) {
				e := build(t, c, k)
				err := e.NewState().Append(prompt, func(i int, l []float32) {
					wantBits(t, fmt.Sprintf("%s, token %d", k, i), l, want[i])
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestForkAnywhere(t *testing.T) {
	eachShape(t, func(t *testing.T, e *llama, prompt []uint32) {
		want := decodeAll(t, e.NewState(), e.vocab, prompt)
		l := make([]float32, e.vocab)
		st := e.NewState()
		for i := range prompt {
			f := st.Fork()
			if f.Len() != i {
				t.Fatalf("fork has %d tokens, want %d", f.Len(), i)
			}
			// The fork strays first: it must not disturb the original, nor
			// what is forked from the original later.
			if err := f.Append([]uint32{9, 8, 7}, nil); err != nil {
				t.Fatal(err)
			}
			f.Truncate(i)
			if err := f.AppendLast(prompt[i:], l); err != nil {
				t.Fatal(err)
			}
			wantBits(t, fmt.Sprintf("fork at %d", i), l, want[len(prompt)-1])
			if err := st.AppendLast(prompt[i:i+1], l); err != nil {
				t.Fatal(err)
			}
			wantBits(t, fmt.Sprintf("original at %d", i), l, want[i])
		}
	})
}

func TestTruncateAndAppendAgain(t *testing.T) {
	eachShape(t, func(t *testing.T, e *llama, prompt []uint32) {
		want := decodeAll(t, e.NewState(), e.vocab, prompt)
		r := rand.New(rand.NewPCG(7, 7))
		st := e.NewState()
		noise := tiny.Prompt(tiny.Config{Seed: 99, Vocab: e.vocab}, 100)
		for range 60 {
			keep := r.IntN(min(st.Len(), len(prompt)) + 1)
			st.Truncate(keep)
			n := keep + r.IntN(len(prompt)-keep) + 1
			if n > len(prompt) {
				continue
			}
			if keep == n {
				continue
			}
			l := make([]float32, e.vocab)
			if err := st.AppendLast(prompt[keep:n], l); err != nil {
				t.Fatal(err)
			}
			wantBits(t, fmt.Sprintf("kept %d, then to %d", keep, n), l, want[n-1])
			if err := st.Append(noise[:r.IntN(90)+1], nil); err != nil {
				t.Fatal(err)
			}
			st.Truncate(n)
		}
	})
}

func TestZero(t *testing.T) {
	c := shapes()[0]
	e := build(t, c, bestKernels)
	prompt := tiny.Prompt(c, 40)
	st := e.NewState().(*llamaState)
	want := decodeAll(t, st, e.vocab, prompt)
	st.Truncate(20) // what was dropped must go too
	st.Zero()
	for _, v := range append(st.chunks, st.s.x, st.s.norm, st.s.qkv, st.s.q, st.s.att, st.s.gateUp, st.s.delta, st.s.scores, st.s.acc, st.s.logits) {
		for _, x := range v {
			if math.Float32bits(x) != 0 {
				t.Fatal("something is left")
			}
		}
	}
	if st.Len() != 0 {
		t.Errorf("Len = %d", st.Len())
	}
	for i, l := range decodeAll(t, st, e.vocab, prompt) {
		wantBits(t, fmt.Sprint("after zeroing, token ", i), l, want[i])
	}
}

func TestManyGoroutines(t *testing.T) {
	c := shapes()[1]
	e := build(t, c, bestKernels)
	prompt := tiny.Prompt(c, 40)
	want := decodeAll(t, e.NewState(), e.vocab, prompt)
	base := e.NewState()
	if err := base.Append(prompt[:10], nil); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		fork := base.Fork()
		wg.Go(func() {
			for i, l := range decodeAll(t, fork, e.vocab, prompt[10:]) {
				if err := sameBits(l, want[10+i]); err != nil {
					t.Errorf("token %d: %v", 10+i, err)
				}
			}
			if err := e.SelfTest(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestRefusedAppendChangesNothing(t *testing.T) {
	c := shapes()[0]
	e := build(t, c, bestKernels)
	st := e.NewState()
	l := make([]float32, e.vocab)
	if err := st.Append(tiny.Prompt(c, 150), nil); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"overflow":     st.Append(make([]uint32, 11), nil),
		"out of range": st.AppendLast([]uint32{5, uint32(e.vocab)}, l),
		"huge id":      st.Append([]uint32{NoToken}, func(int, []float32) { t.Error("called") }),
		"no tokens":    st.AppendLast(nil, l),
		"short logits": st.AppendLast([]uint32{5}, l[1:]),
	} {
		if err == nil || st.Len() != 150 {
			t.Errorf("%s: err = %v, Len = %d", what, err, st.Len())
		}
	}
	if err := st.Append(nil, nil); err != nil {
		t.Errorf("appending nothing: %v", err)
	}
	if err := st.AppendLast(make([]uint32, 10), l); err != nil || st.Len() != 160 {
		t.Errorf("filling the context: %v, Len = %d", err, st.Len())
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	c := shapes()[1]
	e := build(t, c, bestKernels)
	st := e.NewState()
	l := make([]float32, e.vocab)
	prompt := tiny.Prompt(c, 100)
	for _, n := range []int{1, 1, 20} { // a token, and a batch
		if err := st.AppendLast(prompt, l); err != nil {
			t.Fatal(err)
		}
		st.Truncate(50)
		if a := testing.AllocsPerRun(30, func() {
			if err := st.AppendLast(prompt[:n], l); err != nil {
				t.Fatal(err)
			}
			st.Truncate(50)
		}); a != 0 {
			t.Errorf("%d tokens: %v allocations", n, a)
		}
	}
}

func TestSelfTestFindsAFlippedBit(t *testing.T) {
	e := build(t, shapes()[0], bestKernels)
	if err := e.SelfTest(); err != nil {
		t.Fatal(err)
	}
	p := &e.layers[1].down.w[5]
	*p = math.Float32frombits(math.Float32bits(*p) ^ 1)
	if err := e.SelfTest(); err == nil {
		t.Error("a flipped bit went unseen")
	}
}

func TestInfo(t *testing.T) {
	c := tiny.Goldens()[2]
	data, err := tiny.Build(c)
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Load(f)
	if err != nil {
		t.Fatal(err)
	}
	got := e.Info()
	want := Info{Kind: "llama", Name: c.Name, ModelID: f.SHA256(), NumericsID: NumericsID, Vocab: 320, Context: 256,
		Params: got.Params, BOS: tiny.BOS, Stops: []uint32{tiny.EOS}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Info = %+v, want %+v", got, want)
	}
	if hd := c.Embd / c.Heads; got.Params != int64(2*320*128+2*(2*128*128+2*128*2*hd+3*128*224+2*128)+128+hd/2) {
		t.Errorf("Params = %d", got.Params)
	}
}

// bench is the size the card model is judged by.
var bench = tiny.Config{Name: "bench", Seed: 10, Vocab: 768, Context: 512, Embd: 96, FFN: 256, Layers: 3, Heads: 6, KVHeads: 3, Tied: true, RopeBase: 10000}

// BenchmarkGenerate is 16 prompt and 256 generated tokens, greedily, with the
// log-softmax constant of each step, as the card needs it.
func BenchmarkGenerate(b *testing.B) {
	for k := portable; k <= bestKernels; k++ {
		b.Run(k.String(), func(b *testing.B) {
			e := build(b, bench, k)
			prompt := tiny.Prompt(bench, 16)
			st := e.NewState()
			l := make([]float32, e.vocab)
			next := make([]uint32, 1)
			var sink float32
			b.ReportAllocs()
			for b.Loop() {
				st.Truncate(0)
				_ = st.AppendLast(prompt, l)
				for range 256 {
					next[0] = argmax(l)
					sink += k.logSumExp(l)
					_ = st.AppendLast(next, l)
				}
			}
			b.ReportMetric(float64(b.N)*256/b.Elapsed().Seconds(), "tokens/s")
			_ = sink
		})
	}
}

func BenchmarkPrefill(b *testing.B) {
	e := build(b, bench, bestKernels)
	prompt := tiny.Prompt(bench, 256)
	st := e.NewState()
	for b.Loop() {
		st.Truncate(0)
		_ = st.Append(prompt, nil)
	}
	b.ReportMetric(float64(b.N)*256/b.Elapsed().Seconds(), "tokens/s")
}

// argmax breaks ties to the lower id.
func argmax(l []float32) uint32 {
	best := 0
	for i, v := range l {
		if v > l[best] {
			best = i
		}
	}
	return uint32(best)
}

// wantError checks that err is there and says s.
func wantError(t *testing.T, err error, s string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), s) {
		t.Errorf("err = %v, want %q", err, s)
	}
}
