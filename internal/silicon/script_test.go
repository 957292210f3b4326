package silicon

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// naive is the rule in its plainest words.
func naive(text, context []uint32) int {
	for m := min(len(text), len(context)); m > 0; m-- {
		if slices.Equal(text[:m], context[len(context)-m:]) {
			return m
		}
	}
	return 0
}

func newScript(t testing.TB, vocab int, stop uint32, text []uint32) *script {
	t.Helper()
	e, err := NewScript(vocab, 4096, 1, stop, text, [32]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	return e.(*script)
}

func TestScriptReplays(t *testing.T) {
	text := []uint32{10, 11, 12, 10, 11, 13}
	e := newScript(t, 100, 2, text)
	st := e.NewState()
	l := make([]float32, 100)
	next := []uint32{1, 50, 51} // a prompt that is no part of the script
	var got []uint32
	for range len(text) + 1 {
		if err := st.AppendLast(next, l); err != nil {
			t.Fatal(err)
		}
		next = []uint32{argmax(l)}
		got = append(got, next[0])
	}
	if want := append(clone32(text), 2); !slices.Equal(got, want) {
		t.Errorf("replayed %v, want %v", got, want)
	}
}

func clone32(v []uint32) []uint32 { return append([]uint32(nil), v...) }

func TestScriptIsItsRule(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for range 300 {
		vocab := 3 + r.IntN(3) // few ids: many accidental matches
		text := make([]uint32, r.IntN(12))
		for i := range text {
			text[i] = uint32(r.IntN(vocab - 1))
		}
		stop := uint32(vocab - 1)
		e := newScript(t, vocab, stop, text)
		st := e.NewState().(*scriptState)
		var context []uint32
		for range 80 {
			switch r.IntN(8) {
			case 0:
				n := r.IntN(len(context) + 1)
				context = context[:n]
				st.Truncate(n)
			case 1:
				f := st.Fork().(*scriptState)
				_ = st.Append([]uint32{0, 0, 1}, nil)
				st = f
			}
			chunk := make([]uint32, 1+r.IntN(4))
			for i := range chunk {
				chunk[i] = uint32(r.IntN(vocab))
				if m := naive(text, context); i == 0 && m < len(text) && r.IntN(2) == 0 {
					chunk[i] = text[m]
				}
			}
			base := len(context)
			context = append(context[:base:base], chunk...)
			err := st.Append(chunk, func(i int, l []float32) {
				m := naive(text, context[:base+i+1])
				want := stop
				if m < len(text) {
					want = text[m]
				}
				if got := argmax(l); got != want {
					t.Fatalf("script %v, context %v: predicts %d, want %d", text, context[:base+i+1], got, want)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestScriptLogits(t *testing.T) {
	e := newScript(t, 2000, 2, []uint32{1997})
	st := e.NewState()
	l, l2 := make([]float32, 2000), make([]float32, 2000)
	if err := st.AppendLast([]uint32{5}, l); err != nil {
		t.Fatal(err)
	}
	// 1997 first, then 1998, 1999, 0, 1, ... in falling order, then a constant.
	order := []uint32{1997, 1998, 1999, 0, 1, 2, 3, 4}
	for i, id := range order[1:] {
		if l[id] >= l[order[i]] || l[id] <= l[5] {
			t.Errorf("logit of %d is %v, of %d %v, low %v", id, l[id], order[i], l[order[i]], l[5])
		}
	}
	low := 0
	for _, v := range l {
		if v == scriptLow {
			low++
		}
	}
	if l[1997] != 10 || low != 2000-8 {
		t.Errorf("top %v, %d low", l[1997], low)
	}
	st.Truncate(0)
	if err := st.Append([]uint32{5}, func(_ int, v []float32) { copy(l2, v) }); err != nil {
		t.Fatal(err)
	}
	wantBits(t, "both ways", l2, l)
	if n := testing.AllocsPerRun(100, func() { _ = st.AppendLast([]uint32{5}, l); st.Truncate(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if err := e.SelfTest(); err != nil {
		t.Error(err)
	}
	e.text[0] ^= 1
	if err := e.SelfTest(); err == nil {
		t.Error("a flipped bit went unseen")
	}
}

func TestScriptRefuses(t *testing.T) {
	for what, f := range map[string]func() (Engine, error){
		"token":   func() (Engine, error) { return NewScript(10, 10, 1, 2, []uint32{10}, [32]byte{}) },
		"stop":    func() (Engine, error) { return NewScript(10, 10, 1, NoToken, nil, [32]byte{}) },
		"begin":   func() (Engine, error) { return NewScript(10, 10, 10, 2, nil, [32]byte{}) },
		"vocab":   func() (Engine, error) { return NewScript(0, 10, NoToken, 0, nil, [32]byte{}) },
		"context": func() (Engine, error) { return NewScript(10, 0, NoToken, 2, nil, [32]byte{}) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	e, err := NewScript(10, 4, NoToken, 2, nil, [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	st := e.NewState()
	if err := st.Append([]uint32{1, 2, 3}, nil); err != nil {
		t.Fatal(err)
	}
	l := make([]float32, 10)
	for i, err := range []error{st.Append([]uint32{1, 1}, nil), st.AppendLast([]uint32{10}, l), st.AppendLast(nil, l), st.AppendLast([]uint32{1}, l[1:])} {
		if err == nil || st.Len() != 3 {
			t.Errorf("case %d: err = %v, Len = %d", i, err, st.Len())
		}
	}
	if s := fmt.Sprint(e.Info().Stops, " ", e.Info().Kind); s != "[2] script" {
		t.Errorf("Info %s", s)
	}
	st.Zero()
	if st.Len() != 0 {
		t.Errorf("Len = %d", st.Len())
	}
}

func BenchmarkScript(b *testing.B) {
	text := make([]uint32, 1000)
	for i := range text {
		text[i] = uint32(i * 7 % 1000)
	}
	for _, vocab := range []int{1024, 128256} {
		b.Run(fmt.Sprint("vocab=", vocab), func(b *testing.B) {
			e := newScript(b, vocab, 2, text)
			st := e.NewState()
			l := make([]float32, vocab)
			next := []uint32{1}
			for b.Loop() {
				if st.Len() == 1000 {
					st.Truncate(0)
				}
				_ = st.AppendLast(next, l)
			}
		})
	}
}
