package card

import (
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// The token path does not allocate, in any mode.
func TestTokenPathDoesNotAllocate(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*hci.SQE)
	}{
		{"free-run", func(*hci.SQE) {}},
		{"log-probabilities", func(e *hci.SQE) { e.Put(hci.GenerateLogprobs, 1) }},
		{"penalties, bias", func(e *hci.SQE) { *e = withParams(*e) }},
	} {
		for _, paced := range []bool{false, true} {
			h := up(t, Config{Paced: paced, KVBudget: 20000}, &hashEngine{vocab: 768, context: 8000}, true)
			o := h.openCmd(0, 6, 0)
			sid := h.ok(1, o).DW0
			h.sess[0].sid = sid
			var p hci.Params
			p.Presence, p.Repetition, p.MinTokens = 0.5, 1.1, 10000
			h.setBias(&p, biasEntry{5, 1})
			h.setParams(p)
			h.ok(1, h.prefill(sid, count(16)))
			e := gen(sid, 1, 6000)
			c.set(&e)
			h.submit(1, e)
			s := h.c.slots[0]
			seq := func(n uint32) {
				for end := s.seq + n; s.seq != end; {
					h.sess[0].head = s.seq
					h.setHead(0)
					h.step()
				}
			}
			h.e.states[0].toks = append(make([]uint32, 0, 8000), h.e.states[0].toks...)
			seq(2000)
			// s.toks doubles now and then; in steady state it is large enough.
			s.toks = append(make([]uint32, 0, 8000), s.toks...)
			if n := testing.AllocsPerRun(20, func() { seq(50) }); n > 0 {
				t.Errorf("%s, paced %v: %v allocations per 50 tokens", c.name, paced, n)
			}
		}
	}
}

// BenchmarkToken is the card's own cost of a token: silicon that costs next
// to nothing, a vocabulary of 768.
func BenchmarkToken(b *testing.B) {
	for _, vocab := range []int{768, hci.MaxVocab} {
		b.Run(map[bool]string{true: "768", false: "130560"}[vocab == 768], func(b *testing.B) {
			e := &hashEngine{vocab: vocab, context: 8000}
			h := up(b, Config{KVBudget: 20000}, e, true)
			sid := h.ok(1, h.openCmd(0, 6, 0)).DW0
			h.sess[0].sid = sid
			s := h.c.slots[0]
			e.flat = true
			epoch := uint16(0)
			n := 0
			for b.Loop() {
				if n%4000 == 0 {
					h.ok(2, hci.SQE{OPC: hci.OpCancel, SID: sid})
					h.poll(1)
					x := hci.SQE{OPC: hci.OpTruncate, SID: sid}
					h.do(1, x)
					h.ok(1, h.prefill(sid, count(1)))
					epoch++
					h.submit(1, gen(sid, epoch, 5000))
				}
				n++
				for seq := s.seq; s.seq == seq; {
					h.sess[0].head = s.seq
					h.setHead(0)
					h.step()
				}
			}
		})
	}
}
