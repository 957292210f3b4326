package card

import (
	"slices"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// reference computes what a greedy session gives.
func (e *hashEngine) greedy(prompt []uint32, n int, stops ...uint32) []uint32 {
	toks := slices.Clone(prompt)
	l := make([]float32, e.vocab)
	var out []uint32
	for len(out) < n {
		e.hashLogits(toks, l)
		t := best(l, 1, nil)[0].id
		toks = append(toks, t)
		out = append(out, t)
		if slices.Contains(stops, t) {
			break
		}
	}
	return out
}

func TestWholePath(t *testing.T) {
	for _, shadow := range []bool{false, true} {
		for _, paced := range []bool{false, true} {
			h := up(t, Config{Paced: paced}, nil, shadow)
			sid := h.open(0)
			prompt := count(70)
			a := h.put(1, h.prefill(sid, prompt))
			b := h.submit(1, greedy(sid, 1, 200)) // one doorbell for both
			rs := h.all(0, 1)
			h.settle()
			p := h.take(1, a, hci.StatusSuccess)
			if p.DW0 != 70 || p.DW1 != 70 {
				t.Errorf("prefill: %+v", p)
			}
			want := h.e.greedy(prompt, 200, 2)
			if got := ids(rs); !slices.Equal(got, want) {
				t.Errorf("tokens %v\nwant %v", got, want)
			}
			g := h.take(1, b, hci.StatusSuccess)
			if int(g.DW0) != 100+len(want) || int(g.DW1) != 70+len(want)-1 {
				t.Errorf("generate: %+v, %d tokens", g, len(want))
			}
			for i, r := range rs {
				if int(r.Position) != 70+i || r.Count != 1 || r.Flags != hci.FlagCommit {
					t.Fatalf("record %d: %+v", i, r)
				}
			}
			if n := h.cardBlock(0, hci.CardOffTokens) & 0xFFFF_FFFF; int(n) != len(want) {
				t.Errorf("card block: %d tokens", n)
			}
			h.ok(1, hci.SQE{OPC: hci.OpClose, SID: sid})
			if !h.e.states[0].zeroed {
				t.Error("KV not zeroed")
			}
		}
	}
}

func TestChunkingTruncateForkGiveTheSameTokens(t *testing.T) {
	h := up(t, Config{}, nil, true)
	prompt := count(40)
	want := h.e.greedy(prompt, 20)
	sid := h.open(0)
	h.ok(1, h.prefill(sid, prompt[:7]))
	h.ok(1, h.prefill(sid, prompt[7:30]))
	h.ok(1, h.prefill(sid, append(slices.Clone(prompt[30:]), 9, 9, 9)))
	e := hci.SQE{OPC: hci.OpTruncate, SID: sid}
	e.Put(hci.TruncateLength, 39) // rule 6
	if c := h.ok(1, e); c.DW1 != 39 {
		t.Fatalf("%+v", c)
	}
	h.want(h.do(1, greedy(sid, 1, 20)), hci.StatusNotPrimed)
	h.ok(1, h.prefill(sid, prompt[39:]))
	// Rule 5: TRUNCATE to the present length changes nothing.
	e.Put(hci.TruncateLength, 40)
	h.ok(1, e)
	f := h.openCmd(1, 6, 7)
	f.OPC, f.SID = hci.OpFork, sid
	c := h.ok(1, f)
	h.sess[1].sid = c.DW0
	if c.DW1 != 40 {
		t.Fatalf("fork: %+v", c)
	}
	for i, s := range []uint32{sid, c.DW0} {
		x := greedy(s, 1, 20)
		x.Put(hci.GenerateIgnoreEos, 1)
		h.ok(1, x)
		if got := ids(h.records(i, 1)); !slices.Equal(got, want) {
			t.Errorf("session %d: %v, want %v", i, got, want)
		}
	}
	// Continued: the last token is not in KV, the host appends it.
	h.ok(1, h.prefill(sid, want[19:]))
	x := greedy(sid, 2, 5)
	x.Put(hci.GenerateIgnoreEos, 1)
	h.ok(1, x)
	if got, want := ids(h.records(0, 2)), h.e.greedy(append(slices.Clone(prompt), want...), 5); !slices.Equal(got, want) {
		t.Errorf("continued: %v, want %v", got, want)
	}
}

// Every refusal of the session commands, and that it leaves no trace.
func TestSessionRefusals(t *testing.T) {
	h := up(t, Config{Context: 200, KVBudget: 300, Sessions: 3}, &hashEngine{vocab: 100, context: 4096}, false)
	h.lax = true // reserved fields are violations too
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(50)))
	put := func(e hci.SQE, fs ...any) hci.SQE {
		for i := 0; i < len(fs); i += 2 {
			e.Put(fs[i].(hci.CommandField), uint64(fs[i+1].(int)))
		}
		return e
	}
	open := func(fs ...any) hci.SQE { return put(h.openCmd(2, 6, 0), fs...) }
	raw := func(e hci.SQE, f func(*hci.SQE)) hci.SQE { f(&e); return e }
	fork := func(fs ...any) hci.SQE {
		return put(raw(h.openCmd(2, 6, 0), func(e *hci.SQE) { e.OPC, e.SID = hci.OpFork, sid }), fs...)
	}
	pre := func(fs ...any) hci.SQE { return put(h.prefill(sid, count(10)), fs...) }
	gr := func(fs ...any) hci.SQE { return put(gen(sid, 1, 10), fs...) }
	for _, c := range []struct {
		name string
		e    hci.SQE
		s    hci.Status
		dw0  uint32
		dw1  uint32
	}{
		{"opcode", hci.SQE{OPC: 0x80, SID: sid}, hci.StatusInvalidOpcode, 0, 0},
		{"opcode reserved for later", hci.SQE{OPC: 0x88, SID: sid}, hci.StatusInvalidOpcode, 0, 0},
		{"flags", raw(open(), func(e *hci.SQE) { e.Flags = 1 }), hci.StatusInvalidField, 0, 1},
		{"open sid", raw(open(), func(e *hci.SQE) { e.SID = 5 }), hci.StatusInvalidField, 0, 4},
		{"open reserved", raw(open(), func(e *hci.SQE) { e.CDW[4] = 1 }), hci.StatusInvalidField, 0, 0x38},
		{"open ring small", open(hci.OpenRingLog2, ringMin-1), hci.StatusInvalidField, 0, 0x28},
		{"open ring large", open(hci.OpenRingLog2, ringMax+1), hci.StatusInvalidField, 0, 0x28},
		{"open ring unaligned", open(hci.OpenRing, iovaW+offRing+64), hci.StatusInvalidField, 0, 0x18},
		{"open card block", open(hci.OpenCardBlock, iovaW+64), hci.StatusInvalidField, 0, 0x10},
		{"open host block", open(hci.OpenHostBlock, 0), hci.StatusInvalidField, 0, 0x20},
		{"open vector", open(hci.OpenIV, NumVectors), hci.StatusVectorInvalid, 0, 0},
		{"open adapter", open(hci.OpenAID, 1), hci.StatusAdapterInvalid, 0, 0},
		{"open reserve past context", open(hci.OpenReserve, 201), hci.StatusInvalidField, 0, 0x34},
		{"open host block unmapped", open(hci.OpenHostBlock, 0x1000), hci.StatusDataTransferError, 0x1000, 0},
		{"open host block wrong way", open(hci.OpenHostBlock, iovaW), hci.StatusDataTransferError, iovaW, 0},
		{"open card block wrong way", open(hci.OpenCardBlock, iovaR), hci.StatusDataTransferError, iovaR, 0},
		{"fork adapter is reserved", fork(hci.OpenAID, 1), hci.StatusInvalidField, 0, 0x28},
		{"fork budget", fork(hci.ForkReserve, 200), hci.StatusSuccess, 0, 50},
		{"sid", hci.SQE{OPC: hci.OpClose, SID: sid + 2}, hci.StatusSessionInvalid, 0, 0},
		{"sid generation", hci.SQE{OPC: hci.OpClose, SID: sid + 1<<16}, hci.StatusSessionInvalid, 0, 0},
		{"sid 0", hci.SQE{OPC: hci.OpPrefill}, hci.StatusSessionInvalid, 0, 0},
		{"prefill none", pre(hci.PrefillCount, 0), hci.StatusInvalidField, 0, 0x28},
		{"prefill too many", pre(hci.PrefillCount, 201), hci.StatusInvalidField, 0, 0x28},
		{"prefill context", pre(hci.PrefillCount, 151), hci.StatusContextExceeded, 150, 0},
		{"prefill address", pre(hci.PrefillTokens, iovaR+2), hci.StatusInvalidField, 0, 0x18},
		{"prefill unmapped", pre(hci.PrefillTokens, 0x7000), hci.StatusDataTransferError, 0x7000, 0},
		{"prefill epoch without score", pre(hci.PrefillEpoch, 1), hci.StatusInvalidField, 0, 0x30},
		{"prefill score epoch", pre(hci.PrefillEpoch, 2, hci.PrefillScore, 1), hci.StatusEpochInvalid, 1, 0},
		{"prefill crc", pre(hci.PrefillCRC, 1), hci.StatusCRCError, hci.CRC32C(h.r[offPrompt : offPrompt+40]), 0},
		{"generate none", gr(hci.GenerateMaxTokens, 0), hci.StatusInvalidField, 0, 0x28},
		{"generate epoch", gr(hci.GenerateEpoch, 2), hci.StatusEpochInvalid, 1, 0},
		{"generate epoch same", gr(hci.GenerateEpoch, 0), hci.StatusEpochInvalid, 1, 0},
		{"generate top-k", gr(hci.GenerateTopK, 9), hci.StatusSamplingUnsupported, 0, 0x2C},
		{"generate top-p 0", gr(hci.GenerateTopP, 0), hci.StatusInvalidField, 0, 0x34},
		{"generate top-p", gr(hci.GenerateTopP, 65537), hci.StatusInvalidField, 0, 0x34},
		{"generate provisional", gr(hci.GenerateProvisional, 1), hci.StatusSamplingUnsupported, 0, 0x2C},
		{"generate reserved", raw(gr(), func(e *hci.SQE) { e.CDW[1] |= 1 << 31 }), hci.StatusInvalidField, 0, 0x2F},
		{"generate params unaligned", gr(hci.GenerateParams, iovaR+offParams+4), hci.StatusInvalidField, 0, 0x18},
		{"generate params unmapped", gr(hci.GenerateParams, 0x40), hci.StatusDataTransferError, 0x40, 0},
		{"generate mask without params", gr(hci.GenerateMask, 1), hci.StatusInvalidField, 0, 0x18},
		{"truncate", put(hci.SQE{OPC: hci.OpTruncate, SID: sid}, hci.TruncateLength, 51), hci.StatusInvalidField, 0, 0x28},
		{"cancel nothing", hci.SQE{OPC: hci.OpCancel, SID: sid}, hci.StatusSuccess, 0, 50},
		// 50 + 200 are charged by now: 50 are free.
		{"open budget", open(hci.OpenReserve, 51), hci.StatusKVExhausted, 50, 0},
		{"prefill budget", pre(hci.PrefillCount, 60), hci.StatusCRCError, 0, 0},
		{"generate budget", gr(hci.GenerateMaxTokens, 51), hci.StatusKVExhausted, 50, 0},
		{"open third", open(), hci.StatusSuccess, 0, 0},
		{"open limit", open(), hci.StatusSessionLimit, 0, 0},
	} {
		got := h.do(1, c.e)
		if got.Code() != c.s {
			t.Errorf("%s: %v dw0=%#x dw1=%#x, want %v", c.name, got.Code(), got.DW0, got.DW1, c.s)
			continue
		}
		if c.s == hci.StatusSuccess || c.name == "prefill budget" {
			continue
		}
		if got.DW0 != c.dw0 || got.DW1 != c.dw1 {
			t.Errorf("%s: dw0=%#x dw1=%#x, want %#x %#x", c.name, got.DW0, got.DW1, c.dw0, c.dw1)
		}
	}
	// The session is as it was.
	h.ok(1, gr(hci.GenerateMaxTokens, 3))
	if rs := h.records(0, 1); len(rs) != 3 || rs[0].Position != 50 {
		t.Errorf("%+v", rs)
	}
}

func TestPrefillChecksBeforeItAppends(t *testing.T) {
	h := up(t, Config{}, nil, false)
	sid := h.open(0)
	toks := count(60)
	toks[50] = 100
	c := h.do(1, h.prefill(sid, toks))
	h.want(c, hci.StatusTokenInvalid)
	if c.DW0 != 50 || h.e.states[0].Len() != 0 {
		t.Errorf("%+v, %d in KV", c, h.e.states[0].Len())
	}
}

func TestContextStops(t *testing.T) {
	h := up(t, Config{Context: 64}, &hashEngine{vocab: 100, context: 4096}, false)
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(60)))
	c := h.ok(1, greedy(sid, 1, 100))
	rs := h.records(0, 1)
	if len(rs) != 4 || rs[3].Stop != hci.StopContext || rs[3].Position != 63 || c.DW1 != 63 {
		t.Fatalf("%d records, last %+v, cqe %+v", len(rs), rs[len(rs)-1], c)
	}
	h.ok(1, h.prefill(sid, ids(rs[3:])))
	h.want(h.do(1, greedy(sid, 2, 1)), hci.StatusContextExceeded)
	c = h.do(1, h.prefill(sid, count(1)))
	h.want(c, hci.StatusContextExceeded)
	if c.DW0 != 0 {
		t.Errorf("%+v", c)
	}
}

// Rule 3, rule 10 and ABORT: what ends, how, and in which order.
func TestEndings(t *testing.T) {
	type outcome struct {
		i int // index of the command
		s hci.Status
	}
	const (
		ok        = hci.StatusSuccess
		cancelled = hci.StatusCancelled
		aborted   = hci.StatusAbortRequested
		after     = hci.StatusCommandSequenceError
		deleted   = hci.StatusAbortedSQDeletion
	)
	for _, c := range []struct {
		name string
		act  func(h *fakeHost, sid uint32, cids []uint16) // after a few tokens
		want []outcome                                    // of PREFILL, GENERATE, PREFILL, GENERATE
		stop uint8
	}{
		{"cancel", func(h *fakeHost, sid uint32, _ []uint16) { h.submit(2, hci.SQE{OPC: hci.OpCancel, SID: sid}) },
			[]outcome{{0, ok}, {1, cancelled}, {2, cancelled}, {3, cancelled}}, hci.StopCancelled},
		{"abort running", func(h *fakeHost, _ uint32, cids []uint16) { h.submit(0, abortCmd(1, cids[1])) },
			[]outcome{{0, ok}, {1, aborted}, {2, after}, {3, after}}, hci.StopCancelled},
		{"abort queued", func(h *fakeHost, _ uint32, cids []uint16) { h.submit(0, abortCmd(1, cids[2])) },
			[]outcome{{0, ok}, {2, aborted}, {3, after}, {1, ok}}, hci.StopMaxTokens},
		{"delete queue", func(h *fakeHost, _ uint32, _ []uint16) { h.submit(0, deleteSQ(1)) },
			[]outcome{{0, ok}, {2, deleted}, {3, deleted}, {1, deleted}}, hci.StopCancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, false)
			sid := h.open(0)
			cids := []uint16{h.put(1, h.prefill(sid, count(5)))}
			cids = append(cids, h.put(1, greedy(sid, 1, 40)))
			cids = append(cids, h.put(1, h.prefill(sid, count(5))))
			cids = append(cids, h.submit(1, greedy(sid, 2, 40)))
			for h.c.counters.Tokens < 9 {
				h.step()
			}
			c.act(h, sid, cids)
			h.settle()
			rs := h.records(0, 1)
			if last := rs[len(rs)-1]; last.Stop != c.stop || c.stop == hci.StopCancelled && (last.Count != 0 || int(last.Position) != 5+len(rs)-1) {
				t.Errorf("last record %+v", last)
			}
			for _, o := range c.want {
				got := h.take(1, cids[o.i], o.s)
				if o.i == 1 && (got.DW0 != 100+uint32(len(rs)) || int(got.DW1) != 5+len(ids(rs))-1) {
					t.Errorf("generate: %+v after %d records", got, len(rs))
				}
			}
			if x, ok := h.poll(1); ok {
				t.Errorf("one more completion: %+v", x)
			}
			switch c.name {
			case "cancel":
				if x, _ := h.poll(2); x.Code() != ok || x.DW0 != 3 || int(x.DW1) != 5+len(ids(rs))-1 {
					t.Errorf("cancel: %+v", x)
				}
			default:
				if x, _ := h.poll(0); x.Code() != ok || x.DW0 != 0 {
					t.Errorf("admin: %+v", x)
				}
			}
			if c.name == "delete queue" {
				h.createSQAgain(1)
			}
			// KV is what was emitted, less the last token.
			if n := h.e.states[0].Len(); n != 5+len(ids(rs))-1 {
				t.Errorf("%d tokens in KV", n)
			}
			h.ok(1, h.prefill(sid, count(1)))
			h.ok(1, hci.SQE{OPC: hci.OpClose, SID: sid})
		})
	}
}

func (h *fakeHost) createSQAgain(q int) {
	h.tail[q] = 0
	h.ok(0, createSQ(q, h.size[q]))
}

func abortCmd(q int, cid uint16) hci.SQE {
	e := hci.SQE{OPC: hci.AdminAbort}
	e.Put(hci.AbortSQID, uint64(q))
	e.Put(hci.AbortCID, uint64(cid))
	return e
}

func deleteSQ(q int) hci.SQE {
	e := hci.SQE{OPC: hci.AdminDeleteIOSQ}
	e.Put(hci.DeleteIOSQQID, uint64(q))
	return e
}

func deleteCQ(q int) hci.SQE {
	e := hci.SQE{OPC: hci.AdminDeleteIOCQ}
	e.Put(hci.DeleteIOCQQID, uint64(q))
	return e
}

func TestBusyAndDepth(t *testing.T) {
	h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, false)
	sid := h.open(0)
	h.put(1, h.prefill(sid, count(3)))
	h.put(1, greedy(sid, 1, 50))
	for range depth - 2 {
		h.put(1, h.prefill(sid, count(3)))
	}
	over := h.put(1, h.prefill(sid, count(3)))
	h.ring(1)
	h.run(200_000)
	h.take(1, over, hci.StatusSessionBusy)
	h.poll(1) // the PREFILL
	for _, op := range []uint8{hci.OpTruncate, hci.OpClose} {
		cid := h.submit(1, hci.SQE{OPC: op, SID: sid})
		h.run(100_000)
		h.take(1, cid, hci.StatusSessionBusy)
	}
	f := h.openCmd(1, 6, 0)
	f.OPC, f.SID = hci.OpFork, sid
	cid := h.submit(1, f)
	h.run(100_000)
	h.take(1, cid, hci.StatusSessionBusy)
}

func TestChargeRisesAndFalls(t *testing.T) {
	h := up(t, Config{KVBudget: 1000, Paced: true}, &hashEngine{vocab: 100, context: 4096}, false)
	e := h.openCmd(0, 6, 100)
	e.Put(hci.OpenReserve, 40)
	sid := h.ok(1, e).DW0
	h.sess[0].sid = sid
	if h.c.charged != 40 {
		t.Errorf("charged %d after OPEN", h.c.charged)
	}
	h.ok(1, h.prefill(sid, count(30)))
	if h.c.charged != 40 {
		t.Errorf("charged %d after a PREFILL within the reserve", h.c.charged)
	}
	h.submit(1, greedy(sid, 1, 900))
	h.run(1_000_000)
	if h.c.charged != 930 {
		t.Errorf("charged %d in GENERATE", h.c.charged)
	}
	h.ok(2, hci.SQE{OPC: hci.OpCancel, SID: sid})
	if h.c.charged < 40 || h.c.charged > 60 {
		t.Errorf("charged %d after", h.c.charged)
	}
}
