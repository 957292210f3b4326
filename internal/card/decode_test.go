package card

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/sampler"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// setParams puts a parameter block into memory.
func (h *fakeHost) setParams(p hci.Params) {
	b := hci.Marshal(&p)
	binary.LittleEndian.PutUint32(b[hci.ParamOffCRC:], hci.CRC32C(b[:hci.ParamOffCRC]))
	copy(h.r[offParams:], b)
}

func withParams(e hci.SQE) hci.SQE {
	e.Put(hci.GenerateParams, iovaR+offParams)
	return e
}

func (h *fakeHost) setBias(p *hci.Params, bias ...biasEntry) {
	for i, b := range bias {
		binary.LittleEndian.PutUint32(h.r[offBias+8*i:], b.id)
		binary.LittleEndian.PutUint32(h.r[offBias+8*i+4:], math.Float32bits(b.v))
	}
	p.BiasIOVA, p.BiasCount, p.BiasCRC = iovaR+offBias, uint32(len(bias)), hci.CRC32C(h.r[offBias:offBias+8*len(bias)])
}

// mask allows a token id at a position.
type maskFunc func(position, id int) bool

func (h *fakeHost) setMask(epoch uint16, position int, slots int, f maskFunc) {
	b := h.r[offMask+position%slots*hci.MaskStride:][:hci.MaskStride]
	clear(b)
	if f == nil {
		b[hci.MaskOffFlags] = 1
	} else {
		for id := range h.e.vocab {
			if f(position, id) {
				b[id/8] |= 1 << (id % 8)
			}
		}
		binary.LittleEndian.PutUint32(b[hci.MaskOffCRC:], hci.CRC32C(b[:(h.e.vocab+31)/32*4]))
	}
	binary.LittleEndian.PutUint64(b[hci.MaskOffValid:], uint64(position)|uint64(epoch)<<32|1<<48)
}

// model is a plain reading of section 15, token by token.
type model struct {
	e       *hashEngine
	p       hci.Params
	bias    []biasEntry
	stops   []uint32
	pick    sampler.Params
	mask    maskFunc
	toks    []uint32
	sampled []uint32
}

func (m *model) next() (chosen int, top []cand, logits []float32) {
	logits = make([]float32, m.e.vocab)
	m.e.hashLogits(m.toks, logits)
	l := slices.Clone(logits)
	for id := range l {
		n := 0
		for _, x := range m.sampled {
			if int(x) == id {
				n++
			}
		}
		if m.p.Repetition != 0 && slices.Contains(m.toks, uint32(id)) {
			if l[id] > 0 {
				l[id] /= m.p.Repetition
			} else {
				l[id] *= m.p.Repetition
			}
		}
		if n > 0 {
			t := float32(m.p.Frequency * float32(n))
			l[id] -= t
			l[id] -= m.p.Presence
		}
	}
	for _, b := range m.bias {
		l[b.id] += b.v
	}
	if len(m.sampled) < int(m.p.MinTokens) {
		for _, s := range m.stops {
			l[s] = negInf
		}
	}
	pos := len(m.toks)
	var allowed func(int) bool
	if m.mask != nil {
		allowed = func(id int) bool { return m.mask(pos, id) }
	}
	top = best(l, candidates, allowed)
	k := min(m.pick.K, len(top))
	var ls []float32
	for _, t := range top[:k] {
		ls = append(ls, t.l)
	}
	return sampler.Pick(ls, m.pick, uint32(pos), 0), top, logits
}

func (m *model) run(n int) []uint32 {
	for range n {
		i, top, _ := m.next()
		id := top[i].id
		m.toks = append(m.toks, id)
		m.sampled = append(m.sampled, id)
		if slices.Contains(m.stops, id) {
			break
		}
	}
	return m.sampled
}

func TestSamplingBiasPenaltiesMasks(t *testing.T) {
	odd := func(p, id int) bool { return (p+id)%2 == 1 }
	few := func(p, id int) bool { return id == p%7 || id == 40+p%5 }
	for _, c := range []struct {
		name string
		p    hci.Params
		bias []biasEntry
		mask maskFunc
		set  func(*hci.SQE, *model)
	}{
		{"plain", hci.Params{}, nil, nil, nil},
		{"cold", hci.Params{}, nil, nil, func(e *hci.SQE, m *model) {
			e.Put(hci.GenerateInvTemp, 200_000)
			m.pick.InvTemp = 200_000
		}},
		{"top-k 3, top-p, seed, choice", hci.Params{}, nil, nil, func(e *hci.SQE, m *model) {
			e.Put(hci.GenerateTopK, 3)
			e.Put(hci.GenerateTopP, 50_000)
			e.Put(hci.GenerateSeedLo, 0xDEADBEEF)
			e.Put(hci.GenerateSeedHi, 0x12345678)
			e.Put(hci.GenerateChoice, 2)
			m.pick = sampler.Params{K: 3, InvTemp: 65536, TopP: 50_000, Seed: 0x12345678DEADBEEF, Choice: 2}
		}},
		{"presence", hci.Params{Presence: 1.5}, nil, nil, nil},
		{"frequency", hci.Params{Frequency: 0.7}, nil, nil, nil},
		{"negative frequency", hci.Params{Frequency: -0.7}, nil, nil, nil},
		{"repetition", hci.Params{Repetition: 1.3}, nil, nil, nil},
		{"all", hci.Params{Presence: 0.3, Frequency: 0.11, Repetition: 1.17, MinTokens: 20}, []biasEntry{{0, -3.3}, {5, 9.9}, {99, 4.1}}, odd, nil},
		{"bias", hci.Params{}, []biasEntry{{3, 20}, {4, 20}}, nil, nil},
		{"mask", hci.Params{}, nil, few, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := up(t, Config{}, &hashEngine{vocab: 100, context: 4096, stops: []uint32{2}}, true)
			sid := h.open(0)
			prompt := count(10)
			h.ok(1, h.prefill(sid, prompt))
			m := &model{e: h.e, p: c.p, bias: c.bias, mask: c.mask, toks: slices.Clone(prompt), stops: []uint32{2, 77},
				pick: sampler.Params{K: 8, InvTemp: 65536, TopP: 65536, Seed: 7}}
			p := c.p
			p.NStop, p.Stop[0] = 1, 77
			if c.bias != nil {
				h.setBias(&p, c.bias...)
			}
			const slots, n = 50, 40
			e := withParams(gen(sid, 1, n))
			e.Put(hci.GenerateLogprobs, 1)
			if c.mask != nil {
				p.MaskSlots, p.MaskIOVA = slots, iovaR+offMask
				e.Put(hci.GenerateMask, 1)
				for i := range slots {
					h.setMask(1, 10+i, slots, c.mask)
				}
			}
			h.setParams(p)
			if c.set != nil {
				c.set(&e, m)
			}
			h.ok(1, e)
			rs := h.records(0, 1)
			want := m.run(n)
			if got := ids(rs); !slices.Equal(got, want) {
				t.Fatalf("got  %v\nwant %v", got, want)
			}
			// Candidates and log-probabilities of every record.
			m.toks, m.sampled = slices.Clone(prompt), nil
			for i, r := range rs {
				j, top, logits := m.next()
				lse := silicon.LogSumExp(logits)
				if int(r.Count) != len(top) || int(r.Chosen) != j || r.Flags&^hci.FlagLate != hci.FlagCommit|hci.FlagCandidates {
					t.Fatalf("record %d: %+v, want %d candidates, %d", i, r, len(top), j)
				}
				for k, x := range top {
					if r.Payload[k] != x.id || r.LogProb(k) != hci.Float16(logits[x.id]-lse) {
						t.Fatalf("record %d candidate %d: %d %#x, want %d", i, k, r.Payload[k], r.LogProb(k), x.id)
					}
				}
				m.toks = append(m.toks, top[j].id)
				m.sampled = append(m.sampled, top[j].id)
			}
		})
	}
}

func TestParamsAreChecked(t *testing.T) {
	nan := float32(math.NaN())
	h := up(t, Config{}, nil, false)
	h.lax = true
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(4)))
	bias := func(b ...biasEntry) func(*hci.Params) { return func(p *hci.Params) { h.setBias(p, b...) } }
	for _, c := range []struct {
		name string
		set  func(*hci.Params)
		mask bool
		s    hci.Status
		dw   uint32 // DW1 for INVALID_FIELD and SAMPLING_UNSUPPORTED, else DW0
	}{
		{"stop count", func(p *hci.Params) { p.NStop = 17 }, false, hci.StatusInvalidField, 0x104},
		{"stop id", func(p *hci.Params) { p.NStop, p.Stop[1] = 2, 100 }, false, hci.StatusTokenInvalid, 1},
		{"presence", func(p *hci.Params) { p.Presence = nan }, false, hci.StatusInvalidField, 0x160},
		{"frequency", func(p *hci.Params) { p.Frequency = float32(math.Inf(1)) }, false, hci.StatusInvalidField, 0x164},
		{"repetition", func(p *hci.Params) { p.Repetition = -1 }, false, hci.StatusInvalidField, 0x168},
		{"block steps", func(p *hci.Params) { p.BlockSteps = 1 }, false, hci.StatusSamplingUnsupported, 0x170},
		{"block threshold", func(p *hci.Params) { p.BlockThreshold = 1 }, false, hci.StatusSamplingUnsupported, 0x174},
		{"block edit", func(p *hci.Params) { p.BlockEdit = 1 }, false, hci.StatusSamplingUnsupported, 0x178},
		{"reserved", func(p *hci.Params) { p.Reserved[5] = 1 }, false, hci.StatusInvalidField, 0x181},
		{"mask slots 1", func(p *hci.Params) { p.MaskSlots, p.MaskIOVA = 1, iovaR }, true, hci.StatusInvalidField, 0x154},
		{"mask slots", func(p *hci.Params) { p.MaskSlots, p.MaskIOVA = 65, iovaR }, true, hci.StatusInvalidField, 0x154},
		{"mask address", func(p *hci.Params) { p.MaskSlots, p.MaskIOVA = 2, iovaR+64 }, true, hci.StatusInvalidField, 0x158},
		{"mask unmapped", func(p *hci.Params) { p.MaskSlots, p.MaskIOVA = 2, 0x8000 }, true, hci.StatusDataTransferError, 0x8000 + hci.MaskOffValid},
		{"bias count", func(p *hci.Params) { p.BiasCount = maxBias + 1 }, false, hci.StatusSamplingUnsupported, 0x150},
		{"bias address", func(p *hci.Params) { p.BiasCount = 1 }, false, hci.StatusInvalidField, 0x148},
		{"bias unmapped", func(p *hci.Params) { p.BiasCount, p.BiasIOVA = 1, 0x9000 }, false, hci.StatusDataTransferError, 0x9000},
		{"bias crc", func(p *hci.Params) { bias(biasEntry{1, 1})(p); p.BiasCRC++ }, false, hci.StatusCRCError, 0},
		{"bias order", bias(biasEntry{2, 1}, biasEntry{1, 1}), false, hci.StatusInvalidField, 0x148},
		{"bias twice", bias(biasEntry{2, 1}, biasEntry{2, 1}), false, hci.StatusInvalidField, 0x148},
		{"bias id", bias(biasEntry{100, 1}), false, hci.StatusTokenInvalid, 0},
		{"bias nan", bias(biasEntry{1, nan}), false, hci.StatusInvalidField, 0x148},
	} {
		var p hci.Params
		c.set(&p)
		h.setParams(p)
		e := withParams(gen(sid, h.c.slots[0].epoch+1, 5))
		if c.mask {
			e.Put(hci.GenerateMask, 1)
		}
		got := h.do(1, e)
		dw := got.DW0
		if c.s == hci.StatusInvalidField || c.s == hci.StatusSamplingUnsupported {
			dw = got.DW1
		}
		if got.Code() != c.s || dw != c.dw && c.s != hci.StatusCRCError {
			t.Errorf("%s: %v dw0=%#x dw1=%#x, want %v %#x", c.name, got.Code(), got.DW0, got.DW1, c.s, c.dw)
		}
		if c.name == "mask unmapped" { // it had begun: prime it again
			h.ok(1, h.prefill(sid, count(1)))
		}
	}
	h.setParams(hci.Params{})
	h.r[offParams+hci.ParamOffCRC]++
	h.want(h.do(1, withParams(gen(sid, h.c.slots[0].epoch+1, 5))), hci.StatusCRCError)
}

// Refusals during decode: the record that ends the epoch, and KV.
func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		tweak func(int, []float32)
		mask  maskFunc
		s     hci.Status
	}{
		{"nan", func(p int, l []float32) { l[33] = float32(math.NaN()) }, nil, hci.StatusNumericError},
		{"+inf", func(p int, l []float32) { l[33] = float32(math.Inf(1)) }, nil, hci.StatusNumericError},
		{"nan under a mask", func(p int, l []float32) { l[33] = float32(math.NaN()) }, func(_, id int) bool { return id == 5 }, hci.StatusNumericError},
		{"mask forbids all", func(int, []float32) {}, func(p, _ int) bool { return p != 12 }, hci.StatusMaskInvalid},
		{"mask crc", func(int, []float32) {}, func(int, int) bool { return true }, hci.StatusCRCError},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &hashEngine{vocab: 100, context: 4096}
			h := up(t, Config{}, e, false)
			sid := h.open(0)
			h.ok(1, h.prefill(sid, count(10)))
			e.tweak = func(p int, l []float32) {
				if p == 12 {
					c.tweak(p, l)
				}
			}
			g := greedy(sid, 1, 20)
			if c.mask != nil {
				h.setParams(hci.Params{MaskSlots: 40, MaskIOVA: iovaR + offMask})
				g = withParams(g)
				g.Put(hci.GenerateMask, 1)
				for i := range 40 {
					h.setMask(1, 10+i, 40, c.mask)
				}
				if c.s == hci.StatusCRCError {
					h.r[offMask+12*hci.MaskStride] ^= 1
				}
			}
			got := h.do(1, g)
			h.want(got, c.s)
			if c.s != hci.StatusCRCError && got.DW0 != 12 {
				t.Errorf("position %d", got.DW0)
			}
			rs := h.records(0, 1)
			last := rs[len(rs)-1]
			if len(rs) != 3 || last.Stop != hci.StopError || last.Count != 0 || last.Position != 12 {
				t.Errorf("%d records, last %+v", len(rs), last)
			}
			// Two were sampled; the second is not in KV.
			if n := h.e.states[0].Len(); n != 11 || h.c.slots[0].kvLen != 11 {
				t.Errorf("%d in KV", n)
			}
		})
	}
}

func TestLateMaskStalls(t *testing.T) {
	h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, true)
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(10)))
	h.setParams(hci.Params{MaskSlots: 2, MaskIOVA: iovaR + offMask})
	e := withParams(greedy(sid, 1, 6))
	e.Put(hci.GenerateMask, 1)
	cid := h.submit(1, e)
	var got []hci.Record
	for p := 10; p < 16; p++ {
		h.settle()
		if w := h.cardBlock(0, hci.CardOffHEVT) >> 32; w != waitMask {
			t.Fatalf("position %d: WAIT %d", p, w)
		}
		h.now += 1_000_000 // the host takes its time
		var f maskFunc
		if p%2 == 0 {
			f = func(_, id int) bool { return id == p }
		}
		h.setMask(1, p, 2, f)
		h.bell(1, hci.DoorbellKICK, sid&0xFFFF)
		h.settle()
		rs := h.records(0, 1)
		if len(rs) != 1 || p%2 == 0 && rs[0].Payload[0] != uint32(p) {
			t.Fatalf("position %d: %+v", p, rs)
		}
		got = append(got, rs...)
	}
	h.take(1, cid, hci.StatusSuccess)
	if n := h.cardBlock(0, hci.CardOffTokens+8) & 0xFFFF_FFFF; n != 6 {
		t.Errorf("MASK_LATE %d", n)
	}
	if n := h.cardBlock(0, hci.CardOffStallNS); n < 6_000_000 || n > 6_500_000 {
		t.Errorf("STALL_NS %d", n)
	}
	if n := h.cardBlock(0, hci.CardOffDecodeNS); n != 6*58960 {
		t.Errorf("DECODE_NS %d", n)
	}
	if h.c.counters.MaskLate != 6 || got[5].Stop != hci.StopMaxTokens {
		t.Errorf("%d late masks, %+v", h.c.counters.MaskLate, got[5])
	}
}

func (h *fakeHost) choose(i int, epoch uint16, position, id uint32) {
	binary.LittleEndian.PutUint64(h.r[offHost+i*128+hci.HostOffChoice:], uint64(id)|uint64(epoch)<<32|uint64(position&0xFFFF)<<48)
	if h.cardBlock(i, 0)>>32&waitChoice != 0 {
		h.bell(1, hci.DoorbellKICK, h.sess[i].sid&0xFFFF)
	}
}

func TestStepped(t *testing.T) {
	h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, true)
	sid := h.open(0)
	prompt := count(10)
	h.ok(1, h.prefill(sid, prompt))
	e := gen(sid, 1, 5)
	e.Put(hci.GenerateStepped, 1)
	cid := h.submit(1, e)
	toks := slices.Clone(prompt)
	l := make([]float32, 100)
	for i := range 5 {
		h.settle()
		rs := h.records(0, 1)
		if len(rs) != 1 || rs[0].Flags != hci.FlagCandidates|hci.FlagChoice || rs[0].Stop != 0 || int(rs[0].Position) != 10+i {
			t.Fatalf("step %d: %+v", i, rs)
		}
		h.e.hashLogits(toks, l)
		top := best(l, 8, nil)
		for k, x := range top {
			if rs[0].Payload[k] != x.id {
				t.Fatalf("step %d: candidate %d is %d, want %d", i, k, rs[0].Payload[k], x.id)
			}
		}
		h.choose(0, 2, uint32(10+i), top[0].id) // another epoch: not for this one
		h.settle()
		if len(h.records(0, 1)) != 0 {
			t.Fatal("a choice of another epoch was taken")
		}
		pick := top[(i*3)%8].id
		toks = append(toks, pick)
		h.choose(0, 1, uint32(10+i), pick)
	}
	h.settle()
	rs := h.records(0, 1)
	if len(rs) != 1 || rs[0].Count != 0 || rs[0].Stop != hci.StopMaxTokens || rs[0].Position != 15 || rs[0].Flags != 0 {
		t.Fatalf("end: %+v", rs)
	}
	if c := h.take(1, cid, hci.StatusSuccess); c.DW1 != 14 || c.DW0 != 106 {
		t.Errorf("%+v", c)
	}
	// Not a candidate.
	h.ok(1, h.prefill(sid, toks[14:]))
	e = gen(sid, 2, 5)
	e.Put(hci.GenerateStepped, 1)
	cid = h.submit(1, e)
	h.settle()
	r := h.records(0, 2)[0]
	bad := uint32(0)
	for slices.Contains(r.Payload[:8], bad) {
		bad++
	}
	h.choose(0, 2, 15, bad)
	h.settle()
	if c := h.take(1, cid, hci.StatusChoiceInvalid); c.DW0 != 15 {
		t.Errorf("%+v", c)
	}
	if rs := h.records(0, 2); len(rs) != 1 || rs[0].Stop != hci.StopError {
		t.Errorf("%+v", rs)
	}
}

func TestStopIdsAndMinTokens(t *testing.T) {
	// Logits that always prefer the stop ids.
	e := &hashEngine{vocab: 100, context: 4096, stops: []uint32{2}, tweak: func(p int, l []float32) { l[2], l[50] = 20, 19 }}
	h := up(t, Config{}, e, false)
	sid := h.open(0)
	for i, c := range []struct {
		p    hci.Params
		eos  uint64 // IGNORE_EOS
		n    int
		last uint32
		stop uint8
	}{
		{hci.Params{}, 0, 1, 2, hci.StopStopToken},
		{hci.Params{}, 1, 9, 2, hci.StopMaxTokens},
		{hci.Params{MinTokens: 4, NStop: 1, Stop: [16]uint32{50}}, 0, 5, 2, hci.StopStopToken},
		{hci.Params{MinTokens: 4}, 0, 5, 2, hci.StopStopToken},
		{hci.Params{NStop: 1, Stop: [16]uint32{50}, MinTokens: 100}, 1, 9, 2, hci.StopMaxTokens},
	} {
		h.ok(1, h.prefill(sid, count(2)))
		h.setParams(c.p)
		g := withParams(greedy(sid, uint16(i+1), 9))
		g.Put(hci.GenerateIgnoreEos, c.eos)
		h.ok(1, g)
		rs := h.records(0, uint16(i+1))
		last := rs[len(rs)-1]
		if len(rs) != c.n || last.Payload[0] != c.last || last.Stop != c.stop {
			t.Errorf("%d: %d records, last %+v", i, len(rs), last)
		}
	}
}

func TestScore(t *testing.T) {
	for _, start := range []string{"empty", "primed", "after generate", "after truncate"} {
		h := up(t, Config{}, &hashEngine{vocab: 100, context: 4096}, false)
		sid := h.open(0)
		var toks []uint32
		epoch := uint16(1)
		if start != "empty" {
			toks = count(20)
			h.ok(1, h.prefill(sid, toks))
		}
		if start == "after generate" {
			h.ok(1, greedy(sid, 1, 4))
			toks = append(toks, ids(h.records(0, 1))[:3]...)
			epoch = 2
		}
		if start == "after truncate" {
			e := hci.SQE{OPC: hci.OpTruncate, SID: sid}
			e.Put(hci.TruncateLength, 11)
			h.ok(1, e)
			toks = toks[:11]
		}
		at := len(toks)
		add := count(75)
		e := h.prefill(sid, add)
		e.Put(hci.PrefillScore, 1)
		e.Put(hci.PrefillEpoch, uint64(epoch))
		cid := h.submit(1, e)
		var rs []hci.Record
		for range 10 { // the ring has 64 records: it fills
			h.settle()
			rs = append(rs, h.records(0, epoch)...)
		}
		if c := h.take(1, cid, hci.StatusSuccess); c.DW0 != 75 || int(c.DW1) != at+75 {
			t.Errorf("%s: %+v", start, c)
		}
		toks = append(toks, add...)
		first := max(at, 1)
		if len(rs) != len(toks)-first {
			t.Fatalf("%s: %d records for %d tokens", start, len(rs), len(toks)-first)
		}
		l := make([]float32, 100)
		for i, r := range rs {
			p := first + i
			h.e.hashLogits(toks[:p], l)
			lse := silicon.LogSumExp(l)
			want := []uint32{toks[p]}
			for _, x := range best(l, 8, nil) {
				if x.id != toks[p] && len(want) < 8 {
					want = append(want, x.id)
				}
			}
			if int(r.Position) != p || r.Flags != hci.FlagCommit|hci.FlagCandidates|hci.FlagScore || r.Stop != 0 || r.Chosen != 0 || !slices.Equal(r.Payload[:r.Count], want) {
				t.Fatalf("%s: record %d: %+v, want %v", start, i, r, want)
			}
			if r.LogProb(0) != hci.Float16(l[toks[p]]-lse) {
				t.Fatalf("%s: record %d: log-probability", start, i)
			}
		}
		// The session is primed, and goes on as ever.
		h.ok(1, greedy(sid, epoch+1, 5))
		if got, want := ids(h.records(0, epoch+1)), h.e.greedy(toks, 5); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", start, got, want)
		}
	}
}

func TestTopOfAgainstSorting(t *testing.T) {
	r := uint64(1)
	for n := range 2000 {
		l := make([]float32, 1+n%40)
		for i := range l {
			r = r*6364136223846793005 + 1442695040888963407
			switch v := r >> 60; v {
			case 0:
				l[i] = negInf
			case 1:
				l[i] = float32(math.Copysign(0, -1))
			default:
				l[i] = float32(r>>40&7) - 3
			}
		}
		var out [8]cand
		k, ok := topOf(l, out[:])
		want := best(l, 8, nil)
		if !ok || k != len(want) {
			t.Fatalf("%v: %d candidates, want %d", l, k, len(want))
		}
		for i := range want {
			if out[i].id != want[i].id {
				t.Fatalf("%v: %v, want %v", l, out[:k], want)
			}
		}
	}
}
