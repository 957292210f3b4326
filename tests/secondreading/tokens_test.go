package secondreading

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/mock"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// prompt is any n tokens that the vocabulary has.
func prompt(d *driver, n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = 100 + uint32(i*7)%400
	}
	if d.caps.bos != 0xFFFFFFFF {
		ids[0] = d.caps.bos
	}
	return ids
}

// start brings a card up as far as a queue pair with shadow doorbells.
func start(t testing.TB, clock mock.Clock, c card.Config, expected ...string) (*driver, *queue) {
	t.Helper()
	d := bringUp(t, powerOn(t, clock, c, expected...))
	d.healthOn(100)
	d.shadowOn()
	return d, d.createQueue(1, 32, 1)
}

func same(t *testing.T, what string, got, want []uint32) {
	t.Helper()
	if !slices.Equal(got, want) || len(got) == 0 {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

var greedy = generation{max: 24, flags: genGreedy | genIgnoreEOS}

func TestGreedy(t *testing.T) {
	for _, shadow := range []bool{false, true} {
		clocks(t, func(t *testing.T, clock mock.Clock) {
			d := bringUp(t, powerOn(t, clock, card.Config{}))
			if shadow {
				d.shadowOn()
			}
			q := d.createQueue(2, 4, 2)
			s := d.open(q, opening{log2: 4, seq: 0xFFFFFFF8, epoch: 0xFFFE, iv: 1})
			p := prompt(d, 70)
			a := s.generate(p, greedy)
			if a.stop != stopMax || len(a.tokens) != 24 {
				t.Fatalf("%+v", a)
			}
			if ld64(s.card.Bytes, cardPrefill) == 0 || ld64(s.card.Bytes, cardDecode) == 0 {
				t.Error("card block without times")
			}
			same(t, "tokens by the silicon", a.tokens, silicon24(p))

			// All of the prompt is in KV: rule 6 of section 11.1.
			s.truncate(69)
			same(t, "again from the last token", s.generate(p[69:], greedy).tokens, a.tokens)
			s.truncate(40)
			same(t, "again from the middle", s.generate(p[40:], greedy).tokens, a.tokens)
			// The last token is not in KV.
			s.truncate(70)
			same(t, "again, fed by hand", s.generate(a.tokens[:1], generation{max: 23, flags: greedy.flags}).tokens, a.tokens[1:])
			// A follow-on turn begins with the last token sampled.
			b := s.generate(a.tokens[23:], greedy)
			s.truncate(70)
			same(t, "one prefill instead of a turn", s.generate(append(slices.Clone(a.tokens), b.tokens[:4]...), greedy).tokens[:20], b.tokens[4:])
			s.close()
			d.shutdown()
		})
	}
}

// silicon24 is 24 greedy tokens without a card.
func silicon24(p []uint32) (out []uint32) {
	st := engine().NewState()
	l := make([]float32, engine().Info().Vocab)
	for range 24 {
		if err := st.AppendLast(p, l); err != nil {
			panic(err)
		}
		p = []uint32{uint32(order(l)[0])}
		out = append(out, p[0])
	}
	return out
}

// order is the order of section 15.3.
func order(l []float32) []int {
	ids := make([]int, len(l))
	for i := range ids {
		ids[i] = i
	}
	slices.SortStableFunc(ids, func(a, b int) int { return cmp.Compare(l[b], l[a]) })
	return ids
}

// TestSample holds the card's candidates and choices against the silicon's
// logits and the sampler as written in section 16.
func TestSample(t *testing.T) {
	d, q := start(t, mock.Virtual, card.Config{})
	s := d.open(q, opening{seq: 1})
	p := prompt(d, 9)
	st := engine().NewState()
	l := make([]float32, d.caps.vocab)
	for i, g := range []generation{
		{max: 40, invTemp: 0x14000, topP: 60000, seed: 0xDEADBEEF01234567},
		{max: 40, invTemp: 0x8000, topP: 65536, seed: 7, choice: 3, topK: 5},
		{max: 20, invTemp: 0, topP: 65536, seed: 99, topK: 2},
	} {
		g.flags = genLogprobs | genIgnoreEOS
		if i > 0 {
			s.truncate(0)
		}
		a := s.generate(p, g)
		st.Truncate(0)
		next := p
		differ := 0
		for j, r := range a.recs {
			if err := st.AppendLast(next, l); err != nil {
				t.Fatal(err)
			}
			ids := order(l)[:d.caps.candidates]
			lse := silicon.LogSumExp(l)
			cand := make([]float32, 0, 8)
			for k, id := range ids {
				cand = append(cand, l[id])
				if lp := l[id] - lse; r.ids[k] != uint32(id) || math.Abs(float64(r.lps[k]-lp)) > math.Abs(float64(lp))/2048+1e-7 {
					t.Fatalf("record %d, candidate %d: %d %v, want %d %v", j, k, r.ids[k], r.lps[k], id, lp)
				}
			}
			k := d.caps.candidates
			if g.topK != 0 {
				k = int(g.topK)
			}
			if want := sample(cand[:k], g.invTemp, g.topP, g.seed, g.choice, r.pos, 0); int(r.chosen) != want {
				t.Fatalf("record %d: chose %d, the sampler %d", j, r.chosen, want)
			}
			// The log-probabilities of the record alone are enough but for their rounding.
			if sample(r.lps[:k], g.invTemp, g.topP, g.seed, g.choice, r.pos, 0) != int(r.chosen) {
				differ++
			}
			next = []uint32{r.token()}
		}
		if differ > 1 {
			t.Errorf("from f16 log-probabilities %d of %d choices differ", differ, len(a.recs))
		}
		s.truncate(0)
		g.flags = genIgnoreEOS
		same(t, "the same seed without LOGPROBS", s.generate(p, g).tokens, a.tokens)
	}
	s.close()
	d.shutdown()
}

func TestARM(t *testing.T) {
	clocks(t, func(t *testing.T, clock mock.Clock) {
		d, q := start(t, clock, card.Config{})
		s := d.open(q, opening{log2: 6, seq: 5, iv: 3})
		fired := func(bound time.Duration) bool {
			t.Helper()
			ok, err := d.vec[3].Wait(bound)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		s.arm(s.seq, 0) // nothing is running
		if !fired(time.Second) {
			t.Fatal("ARM of an idle session did not fire")
		}
		g := generation{max: 40, flags: genGreedy | genIgnoreEOS, unread: true}
		cids := q.put(s.prefillCmd(prompt(d, 60)), s.generateCmd(g))
		waits := 0
		for want := s.seq + 9; ; waits++ {
			s.arm(want, 0)
			if !fired(10 * time.Second) {
				t.Fatal("ARM did not fire")
			}
			if at := int(want) & 63 * 64; uint32(ld64(s.ring.Bytes, at+56)>>32) == want {
				break
			}
		}
		t.Logf("%d spurious", waits)
		s.arm(s.seq+1000, 500) // never; but there are records
		if !fired(time.Second) {
			t.Fatal("ARM with a delay did not fire")
		}
		s.arm(s.seq+1000, 0) // never: fires when GENERATE has ended
		if !fired(10 * time.Second) {
			t.Fatal("ARM beyond the end did not fire")
		}
		c := q.wait(cids[1], time.Second)
		if c.st != success || c.dw0 != 45 {
			t.Fatalf("%+v", c)
		}
		s.prefilled(q.wait(cids[0], time.Second), 60)
		q.done[cids[1]] = c
		if r := s.follow(g, cids[1]); len(r.tokens) != 40 {
			t.Fatalf("%+v", r)
		}
		if fired(0) {
			t.Error("the vector fired once more")
		}
		s.close()
		d.shutdown()
	})
}

func TestFullRing(t *testing.T) {
	clocks(t, func(t *testing.T, clock mock.Clock) {
		d, q := start(t, clock, card.Config{})
		s := d.open(q, opening{seq: 1, iv: 1})
		n := uint32(1) << s.log2
		g := generation{max: 3 * n, flags: genGreedy | genIgnoreEOS}
		p := prompt(d, 5)
		a := s.generate(p, g)
		s.truncate(0)
		// The ring fills, the card sleeps on it, ARM fires, and KICK wakes it.
		cids := q.put(s.prefillCmd(p), s.generateCmd(g))
		s.prefilled(q.wait(cids[0], 10*time.Second), 5)
		d.until(10*time.Second, "HEVT = HEAD", func() bool {
			return ld32(s.card.Bytes, cardHEVT) == s.head && ld32(s.ring.Bytes, int((s.seq+n-1)%n*64)+60) == s.seq+n-1
		})
		s.arm(s.seq+2*n, 0)
		if ok, err := d.vec[1].Wait(time.Second); !ok || err != nil {
			t.Fatalf("ARM, full ring: %v %v", ok, err)
		}
		if b := d.logPage(0xC1, 64*int(s.sid&0xFFFF), 64); get32(b, 0) != s.sid || b[4] != 4 || get32(b, 0x10) != s.seq+n {
			t.Errorf("SESSIONS log: % x", b)
		}
		same(t, "after a full ring", s.follow(g, cids[1]).tokens, a.tokens)
		s.close()
		d.shutdown()
	})
}

func TestCancel(t *testing.T) {
	clocks(t, func(t *testing.T, clock mock.Clock) {
		d, q := start(t, clock, card.Config{})
		s := d.open(q, opening{seq: 1, log2: 5})
		if c := q.must(cmd(ioCancel, s.sid)); c.dw0 != 0 || c.dw1 != 0 {
			t.Errorf("CANCEL of nothing: %+v", c)
		}
		p := prompt(d, 40)
		sent := false
		var cancel uint16
		g := generation{max: 400, flags: genGreedy | genIgnoreEOS}
		g.onRecord = func(record) {
			if !sent {
				sent, cancel = true, q.put(cmd(ioCancel, s.sid))[0]
			}
		}
		cids := q.put(s.prefillCmd(p), s.generateCmd(g), s.prefillCmd(p))
		s.prefilled(q.wait(cids[0], 10*time.Second), 40)
		a := s.follow(g, cids[1])
		if a.c.st != cancelled || a.stop != stopCancelled {
			t.Fatalf("%+v", a)
		}
		c := q.wait(cancel, time.Second)
		if _, ok := q.done[cids[2]]; !ok || c.st != success || c.dw0 != 2 || c.dw1 != s.kv {
			t.Errorf("CANCEL: %+v, kv_len %d", c, s.kv)
		}
		if c := q.wait(cids[2], time.Second); c.st != cancelled {
			t.Errorf("the PREFILL behind: %+v", c)
		}
		// Tokens already read are good; go on from the last one.
		if n := len(a.tokens); n > 0 {
			b := s.generate(a.tokens[n-1:], greedy)
			s.truncate(40)
			same(t, "after CANCEL", s.generate(append(slices.Clone(a.tokens), b.tokens[0]), greedy).tokens[:23], b.tokens[1:])
		}
		s.close()

		// ABORT of a waiting and of a running command.
		s = d.open(q, opening{seq: 1, log2: 5})
		abort := func(cid uint16) cqe { return d.adm.try(cmd(admAbort, 0).u32(0x28, uint32(q.id)|uint32(cid)<<16)) }
		if c := abort(0xABC); c.st != success || c.dw0&1 != 1 {
			t.Errorf("ABORT of nothing: %+v", c)
		}
		g = generation{max: 400, flags: genGreedy | genIgnoreEOS}
		cids = q.put(s.prefillCmd(p), s.generateCmd(g))
		s.prefilled(q.wait(cids[0], 10*time.Second), 40)
		if c := abort(cids[1]); c.st != success || c.dw0&1 != 0 {
			t.Errorf("ABORT: %+v", c)
		}
		if a := s.follow(g, cids[1]); a.c.st != abortRequested || a.stop == 0 && len(a.recs) != 32 && len(a.recs) != 0 {
			t.Errorf("aborted: %+v", a.c) // no end record only where the ring was full, or it had not begun
		}
		s.close()
		d.shutdown()
	})
}

func TestFork(t *testing.T) {
	d, q := start(t, mock.Virtual, card.Config{})
	s := d.open(q, opening{seq: 1, log2: 5})
	p := prompt(d, 50)
	s.prefill(p)
	f := s.fork(opening{seq: 77, epoch: 1000, log2: 6, iv: 2})
	a, b := s.generate(nil, greedy), f.generate(nil, greedy)
	same(t, "the fork, primed as its source", b.tokens, a.tokens)
	s.close()
	x := []uint32{7, 8, 9}
	f.truncate(49)
	want := f.generate(append(p[49:], x...), greedy).tokens
	f.truncate(0)
	same(t, "without a fork", f.generate(append(slices.Clone(p), x...), greedy).tokens, want)
	f.close()
	d.shutdown()
}

func TestStepped(t *testing.T) {
	clocks(t, func(t *testing.T, clock mock.Clock) {
		d, q := start(t, clock, card.Config{})
		s := d.open(q, opening{seq: 1})
		p := prompt(d, 12)
		free := s.generate(p, greedy)
		g := generation{max: 24, flags: genStepped | genGreedy | genIgnoreEOS}
		g.choose = func(r record) (uint32, bool) { return r.token(), true }
		s.truncate(0)
		a := s.generate(p, g)
		same(t, "choosing the proposal", a.tokens, free.tokens)
		if last := a.recs[len(a.recs)-1]; last.count != 0 || last.stop != stopMax || last.pos != 36 {
			t.Errorf("last record %+v", last)
		}
		t.Logf("flags of the end %02X", a.recs[len(a.recs)-1].flags)
		// Always the second best; late, so that the card sleeps.
		g.choose = func(r record) (uint32, bool) {
			d.until(time.Second, "WAIT", func() bool { return ld32(s.card.Bytes, cardWAIT)&waitChoice != 0 })
			return r.ids[1], true
		}
		s.truncate(0)
		a = s.generate(p, g)
		for i, r := range a.recs[:24] {
			if a.tokens[i] != r.ids[1] || r.chosen != 0 {
				t.Errorf("record %d: %+v", i, r)
			}
		}
		// What was chosen is in KV, all but the last.
		s.truncate(12)
		b := s.generate(a.tokens[:5], generation{max: 1, flags: genGreedy | genLogprobs | genIgnoreEOS})
		if !slices.Equal(b.recs[0].ids, a.recs[5].ids) {
			t.Errorf("%v, stepped %v", b.recs[0].ids, a.recs[5].ids)
		}
		// Not a candidate.
		s.truncate(0)
		g.choose = func(r record) (uint32, bool) {
			if r.pos < 14 {
				return r.token(), true
			}
			for id := uint32(0); ; id++ {
				if !slices.Contains(r.ids, id) {
					return id, true
				}
			}
		}
		a = s.generate(p, g)
		if a.c.st != choiceInvalid || a.c.dw0 != 14 || a.stop != stopError {
			t.Errorf("not a candidate: %+v", a.c)
		}
		s.close()
		d.shutdown()
	})
}

func TestMask(t *testing.T) {
	clocks(t, func(t *testing.T, clock mock.Clock) {
		d, q := start(t, clock, card.Config{})
		s := d.open(q, opening{seq: 1})
		p := prompt(d, 12)
		free := s.generate(p, greedy)
		const slots = 2
		s.masks = d.mem(slots*maskSlotSize, hal.CardReads)
		s.params = d.mem(256, hal.CardReads)
		b := s.params.Bytes
		put := func(off int, v uint32) { st32(b, off, v) }
		put(0x54, slots)
		st64(b, 0x58, s.masks.IOVA)
		put(0xFC, crc32c(b[:252]))
		even := func(id uint32) bool { return id%2 == 0 }
		run := func(flags uint32, allow func(uint32) bool, ahead bool) result {
			s.truncate(0)
			g := generation{max: 10, flags: flags | genMask | genIgnoreEOS, params: true, invTemp: 65536, topP: 65536, seed: 3}
			epoch := s.nextEpoch()
			if ahead {
				s.mask(slots, 12, epoch, allow)
				s.mask(slots, 13, epoch, allow)
			}
			c := q.put(s.prefillCmd(p), s.generateCmd(g))
			if !ahead {
				d.until(10*time.Second, "WAIT for a mask", func() bool { return ld32(s.card.Bytes, cardWAIT)&waitMask != 0 })
				s.mask(slots, 12, epoch, allow)
				s.mask(slots, 13, epoch, allow)
			}
			g.onRecord = func(r record) {
				if r.count > 0 {
					s.mask(slots, r.pos+slots, epoch, allow)
				}
			}
			s.prefilled(q.wait(c[0], 10*time.Second), 12)
			return s.follow(g, c[1])
		}
		same(t, "ALL", run(genGreedy, nil, true).tokens, free.tokens[:10])
		for _, ahead := range []bool{true, false} {
			for _, id := range run(0, even, ahead).tokens {
				if id%2 != 0 {
					t.Errorf("%d was forbidden", id)
				}
			}
		}
		if n := ld32(s.card.Bytes, 0x50); n == 0 {
			t.Error("MASK_LATE is 0 after a late mask")
		}
		a := run(genGreedy|genLogprobs, func(id uint32) bool { return id < 3 }, true)
		for _, r := range a.recs {
			if r.count != 3 {
				t.Errorf("%d candidates of 3 allowed", r.count)
			}
		}
		a = run(genGreedy, func(uint32) bool { return false }, true)
		if a.c.st != maskInvalid || a.c.dw0 != 12 || a.stop != stopError {
			t.Errorf("nothing allowed: %+v stop %d", a.c, a.stop)
		}
		s.close()
		d.shutdown()
	})
}
