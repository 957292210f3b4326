package driver_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

func collect(t *testing.T, st *driver.Stream, err error) []driver.Token {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var out []driver.Token
	buf := make([]driver.Token, 8)
	for {
		n, err := st.Next(buf)
		out = append(out, buf[:n]...)
		if err != nil {
			if len(out) == 0 {
				t.Fatal(err)
			}
			return out
		}
	}
}

func TestLogProbs(t *testing.T) {
	w := open(t, options{})
	s := w.session()
	p := driver.Params{MaxTokens: 10, LogProbs: true, IgnoreEOS: true}
	st, err := s.Generate(context.Background(), prompt, p)
	toks := collect(t, st, err)
	ids := make([]uint32, len(toks))
	for i, tok := range toks {
		ids[i] = tok.ID
		if tok.N != 8 || tok.Candidates[tok.Chosen].ID != tok.ID || tok.Chosen != 0 {
			t.Fatalf("greedy token %+v", tok)
		}
		sum := 0.0
		for k, c := range tok.Candidates {
			if k > 0 && c.LogProb > tok.Candidates[k-1].LogProb {
				t.Errorf("candidates out of order: %+v", tok.Candidates)
			}
			sum += math.Exp(float64(c.LogProb))
		}
		if sum > 1.01 || sum < 0.01 {
			t.Errorf("candidates' probabilities add up to %v", sum)
		}
	}
	// SCORE of the same tokens gives the same log-probabilities.
	if err := s.Truncate(context.Background(), len(prompt)); err != nil {
		t.Fatal(err)
	}
	scores, err := s.Score(context.Background(), ids[:9])
	if err != nil {
		t.Fatal(err)
	}
	for i, sc := range scores {
		if sc.ID != ids[i] || sc.LogProb != toks[i].LogProb {
			t.Errorf("score %d: id %d %v, decode gave %d %v", i, sc.ID, sc.LogProb, ids[i], toks[i].LogProb)
		}
	}
	if len(scores) != 9 {
		t.Errorf("%d scores", len(scores))
	}
	all, err := w.session().Score(context.Background(), prompt)
	if err != nil || len(all) != len(prompt)-1 {
		t.Errorf("%d scores of a whole prompt, %v", len(all), err)
	}
}

func TestSteppedPicksAnyCandidate(t *testing.T) {
	w := open(t, options{})
	s := w.session()
	var picked []uint32
	p := driver.Params{MaxTokens: 12, IgnoreEOS: true, Choose: func(tok *driver.Token) int {
		i := len(picked) % int(tok.N)
		picked = append(picked, tok.Candidates[i].ID)
		return i
	}}
	got := w.generate(s, prompt, p)
	if !slices.Equal(got, picked) || len(got) != 12 {
		t.Errorf("picked %v, stream gave %v", picked, got)
	}
	// The card's KV followed the host's choices: free-run from there is what
	// a fresh session computes for the same tokens.
	q := driver.Params{MaxTokens: 8, IgnoreEOS: true}
	whole := append(slices.Clone(prompt), got...)
	if a, b := w.generate(s, whole, q), w.generate(w.session(), whole, q); !slices.Equal(a, b) {
		t.Errorf("after stepped decode %v, fresh %v", a, b)
	}
}

func TestMasks(t *testing.T) {
	w := open(t, options{})
	s := w.session()
	vocab := w.card.Capabilities().Vocab
	free := w.generate(s, prompt, driver.Params{MaxTokens: 30, IgnoreEOS: true})
	calls := 0
	allow := func(pos uint32, last driver.Token, ok bool, bits []uint32) bool {
		if ok != (calls > 0) || len(bits) != int(vocab+31)/32 {
			t.Errorf("call %d: ok %v, %d words", calls, ok, len(bits))
		}
		calls++
		if pos%3 == 0 {
			return true
		}
		for id := uint32(0); id < vocab; id++ {
			if id%2 == pos%2 {
				bits[id/32] |= 1 << (id % 32)
			}
		}
		return false
	}
	for _, choose := range []func(*driver.Token) int{nil, func(tok *driver.Token) int { return 0 }} {
		calls = 0
		got := w.generate(s, prompt, driver.Params{MaxTokens: 30, IgnoreEOS: true, Mask: allow, Choose: choose})
		for i, id := range got {
			if pos := uint32(len(prompt) + i); pos%3 != 0 && id%2 != pos%2 {
				t.Errorf("token %d at position %d is masked", id, pos)
			}
		}
		if slices.Equal(got, free) || len(got) != 30 {
			t.Errorf("mask had no effect: %v", got)
		}
	}
	// A mask that allows nothing ends the stream with a named error.
	st, err := s.Generate(context.Background(), prompt, driver.Params{MaxTokens: 3,
		Mask: func(uint32, driver.Token, bool, []uint32) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	_, err = drain(st)
	if code, _ := driver.StatusOf(err); code != hci.StatusMaskInvalid {
		t.Errorf("empty mask: %v", err)
	}
	if len(w.generate(s, prompt, sampled(2))) != 2 {
		t.Error("session unusable after an empty mask")
	}
}

func TestBiasAndPenalties(t *testing.T) {
	w := open(t, options{})
	s := w.session()
	got := w.generate(s, prompt, driver.Params{MaxTokens: 5, IgnoreEOS: true, Bias: map[uint32]float32{77: 1000, 78: -5}})
	if !slices.Equal(got, []uint32{77, 77, 77, 77, 77}) {
		t.Errorf("bias: %v", got)
	}
	// A heavy presence penalty lets no id come twice.
	got = w.generate(s, prompt, driver.Params{MaxTokens: 40, IgnoreEOS: true, Presence: 500})
	slices.Sort(got)
	if len(slices.Compact(got)) != 40 {
		t.Errorf("presence penalty: an id came twice")
	}
	got = w.generate(s, prompt, driver.Params{MaxTokens: 6, IgnoreEOS: true, Bias: map[uint32]float32{77: 1000}, Frequency: 600})
	if got[0] != 77 || got[1] != 77 || got[3] == 77 {
		t.Errorf("frequency penalty: %v", got)
	}
	_, err := s.Generate(context.Background(), prompt, driver.Params{MaxTokens: 1, Bias: map[uint32]float32{}, Presence: float32(math.Inf(1))})
	if err == nil {
		st, _ := s.Generate(context.Background(), prompt, sampled(1))
		_ = st
		t.Log("infinite penalty accepted by the host")
	}
}
