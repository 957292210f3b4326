package card

import (
	"math"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// cand is a candidate: a token and its logit.
type cand struct {
	id uint32
	l  float32
}

var negInf = float32(math.Inf(-1))

// topOf fills out with the best logits, best first, ties to the lower id, in
// one pass. ok is false where a logit is not a number or is +infinity.
// Logits of -infinity are no candidates.
func topOf(logits []float32, out []cand) (n int, ok bool) {
	low := negInf // what a candidate has to pass
	for i, l := range logits {
		if l <= low {
			continue
		}
		if !(l <= math.MaxFloat32) {
			return 0, false
		}
		n = insert(out, n, uint32(i), l)
		if n == len(out) {
			low = out[n-1].l
		}
	}
	return n, true
}

// insert puts a candidate among n sorted ones, dropping the last where they
// are full. Of equals the one that came first stays first.
func insert(out []cand, n int, id uint32, l float32) int {
	i := n
	if n == len(out) {
		i--
	} else {
		n++
	}
	for i > 0 && out[i-1].l < l {
		out[i] = out[i-1]
		i--
	}
	out[i] = cand{id, l}
	return n
}

// topMasked is topOf among the tokens whose bit is set.
func (c *Card) topMasked(logits []float32, out []cand, allowed []byte) (n int, ok bool) {
	if allowed == nil {
		return topOf(logits, out)
	}
	low := negInf
	for i, l := range logits {
		if !(l <= math.MaxFloat32) {
			return 0, false
		}
		if l <= low || allowed[i>>3]&(1<<(i&7)) == 0 {
			continue
		}
		n = insert(out, n, uint32(i), l)
		if n == len(out) {
			low = out[n-1].l
		}
	}
	return n, true
}

// penalties is the state of presence, frequency and repetition penalties.
// Its tables have an entry per token id and are made at first use.
type penalties struct {
	on, repeat bool
	count      []uint16 // times sampled in this epoch
	ids        []uint32 // those with a count
	seen       []bool   // in KV or sampled
	seenIDs    []uint32
	pres, freq float32
	rep        float32
	minTokens  uint32
}

func (p *penalties) begin(s *session, q *hci.Params) {
	for _, id := range p.ids {
		p.count[id] = 0
	}
	for _, id := range p.seenIDs {
		p.seen[id] = false
	}
	p.ids, p.seenIDs = p.ids[:0], p.seenIDs[:0]
	p.pres, p.freq, p.rep, p.minTokens = q.Presence, q.Frequency, q.Repetition, q.MinTokens
	p.on = p.pres != 0 || p.freq != 0
	p.repeat = p.rep != 0
	if p.on && p.count == nil {
		p.count = make([]uint16, len(s.logits))
	}
	if p.repeat {
		if p.seen == nil {
			p.seen = make([]bool, len(s.logits))
		}
		for _, id := range s.toks {
			p.see(id)
		}
	}
}

func (p *penalties) see(id uint32) {
	if !p.seen[id] {
		p.seen[id] = true
		p.seenIDs = append(p.seenIDs, id)
	}
}

// add counts a sampled token.
func (p *penalties) add(id uint32) {
	if p.on {
		if p.count[id] == 0 {
			p.ids = append(p.ids, id)
		}
		p.count[id]++
	}
	if p.repeat {
		p.see(id)
	}
}

// adjusted reports whether the logits are changed before candidates are
// taken from them.
func (g *generate) adjusted() bool {
	return g.pen.on || g.pen.repeat || len(g.bias) > 0 || g.sampled < g.pen.minTokens
}

// adjust returns the logits after penalties, bias and minimum length, in the
// order of section 15, each operation rounded.
func (c *Card) adjust(s *session) []float32 {
	g := &s.gen
	w := c.work
	copy(w, s.logits)
	p := &g.pen
	if p.repeat {
		for _, id := range p.seenIDs {
			if w[id] > 0 {
				w[id] = float32(w[id] / p.rep)
			} else {
				w[id] = float32(w[id] * p.rep)
			}
		}
	}
	if p.on {
		for _, id := range p.ids {
			t := float32(p.freq * float32(p.count[id]))
			w[id] = float32(w[id]-t) - p.pres
		}
	}
	for _, b := range g.bias {
		w[b.id] += b.v
	}
	if g.sampled < p.minTokens {
		for _, id := range g.stops {
			w[id] = negInf
		}
	}
	return w
}
