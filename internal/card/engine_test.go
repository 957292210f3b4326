package card

import (
	"errors"
	"math"

	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// hashEngine is an engine whose logits depend on every token before them and
// cost little. Functions let a test have its way with them.
type hashEngine struct {
	vocab, context int
	stops          []uint32
	tweak          func(position int, logits []float32) // after they are computed
	compute        func()                               // before each forward pass
	took           func(tokens int)
	selfTest, fail error
	flat           bool // logits are left as they are: for benchmarks
	states         []*hashState
}

type hashState struct {
	e      *hashEngine
	toks   []uint32
	zeroed bool
}

func (e *hashEngine) Info() silicon.Info {
	return silicon.Info{Kind: "hash", Name: "test", ModelID: [32]byte{1, 2}, NumericsID: 77, Vocab: e.vocab, Context: e.context, BOS: 1, Stops: e.stops}
}
func (e *hashEngine) SelfTest() error { return e.selfTest }
func (e *hashEngine) NewState() silicon.State {
	s := &hashState{e: e}
	e.states = append(e.states, s)
	return s
}

func (s *hashState) Len() int { return len(s.toks) }

// hashLogits gives the logits after toks.
func (e *hashEngine) hashLogits(toks []uint32, logits []float32) {
	if e.flat {
		return
	}
	h := uint64(14695981039346656037)
	for _, t := range toks {
		h = (h ^ uint64(t)) * 1099511628211
	}
	for i := range logits {
		z := h + uint64(i)*0x9E3779B97F4A7C15
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		z ^= z >> 31
		logits[i] = float32(z>>56)/16 - 8 // coarse on purpose: there are ties
	}
	if e.tweak != nil {
		e.tweak(len(toks), logits)
	}
}

func (s *hashState) Append(toks []uint32, each func(int, []float32)) error {
	if err := s.check(toks); err != nil {
		return err
	}
	l := make([]float32, s.e.vocab)
	for i, t := range toks {
		s.toks = append(s.toks, t)
		if each != nil {
			s.e.hashLogits(s.toks, l)
			each(i, l)
		}
	}
	return nil
}

func (s *hashState) check(toks []uint32) error {
	if s.e.compute != nil {
		s.e.compute()
	}
	if s.e.took != nil {
		s.e.took(len(toks))
	}
	if s.e.fail != nil {
		return s.e.fail
	}
	s.zeroed = false
	if len(s.toks)+len(toks) > s.e.context {
		return errors.New("context")
	}
	for _, t := range toks {
		if int(t) >= s.e.vocab {
			return errors.New("token")
		}
	}
	return nil
}

func (s *hashState) AppendLast(toks []uint32, logits []float32) error {
	if err := s.check(toks); err != nil {
		return err
	}
	s.toks = append(s.toks, toks...)
	s.e.hashLogits(s.toks, logits)
	return nil
}

func (s *hashState) Truncate(n int) { s.toks = s.toks[:n] }
func (s *hashState) Fork() silicon.State {
	f := &hashState{e: s.e, toks: append([]uint32(nil), s.toks...)}
	s.e.states = append(s.e.states, f)
	return f
}
func (s *hashState) Zero() {
	clear(s.toks[:cap(s.toks)])
	s.toks = s.toks[:0]
	s.zeroed = true
}

// best is the reference for candidates: the n best logits, by sorting.
func best(logits []float32, n int, allowed func(int) bool) (out []cand) {
	for len(out) < n {
		at := -1
		for i, l := range logits {
			if math.IsInf(float64(l), -1) || allowed != nil && !allowed(i) {
				continue
			}
			taken := false
			for _, c := range out {
				taken = taken || c.id == uint32(i)
			}
			if !taken && (at < 0 || l > logits[at]) {
				at = i
			}
		}
		if at < 0 {
			return out
		}
		out = append(out, cand{uint32(at), logits[at]})
	}
	return out
}
