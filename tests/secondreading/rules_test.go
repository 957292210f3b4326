package secondreading

import (
	"slices"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/mock"
	"github.com/hc1-toolkit/hc1/internal/card"
)

// answer sends a command that must be refused.
func answer(t *testing.T, q *queue, what string, e *sqe, want status, dw0, dw1 uint32) {
	t.Helper()
	if c := q.try(e); c.st != want || c.dw0 != dw0 || c.dw1 != dw1 {
		t.Errorf("%s: %+v (%v), want %v, DW0 %d, DW1 0x%X", what, c, c.st, want, dw0, dw1)
	}
}

func TestRefusals(t *testing.T) {
	d, q := start(t, mock.Virtual, card.Config{KVBudget: 1000},
		"reserved fields set", "reserved bytes of the parameter block", "HEAD of the host block is not SEQUENCE")
	s := d.open(q, opening{seq: 1, log2: 6})
	n := d.session(q, opening{})
	open := func(o opening) *sqe { return n.place(cmd(ioOpen, 0), o) }
	answer(t, q, "RINGLOG2", open(opening{}).u32(0x28, 31<<16), invalidField, 0, 0x28)
	answer(t, q, "IV", open(opening{iv: uint32(d.nqp) + 1}), vectorInvalid, 0, 0)
	answer(t, q, "SID of OPEN", cmd(ioOpen, 5), invalidField, 0, 0x04)
	answer(t, q, "RESERVE above CONTEXT", open(opening{reserve: d.caps.context + 1}), invalidField, 0, 0x34)
	answer(t, q, "HEAD is not SEQUENCE", open(opening{seq: 500}), ringInvalid, 0, 0)
	answer(t, q, "no such session", cmd(ioClose, s.sid+0x10000), sessionInvalid, 0, 0)
	answer(t, q, "TRUNCATE beyond kv_len", cmd(ioTruncate, s.sid).u32(0x28, 1), invalidField, 0, 0x28)

	gen := func(max, bits uint32) *sqe {
		return cmd(ioGenerate, s.sid).u32(0x28, max).u32(0x2C, bits)
	}
	answer(t, q, "not primed", gen(1, genGreedy|1), notPrimed, 0, 0)
	p := prompt(d, 20)
	s.prefill(p)
	at := s.prompt.IOVA
	pre := func(n uint32) *sqe { return cmd(ioPrefill, s.sid).u64(0x18, at).u32(0x28, n) }
	answer(t, q, "COUNT 0", pre(0), invalidField, 0, 0x28)
	answer(t, q, "COUNT above CONTEXT", pre(d.caps.context+1), invalidField, 0, 0x28)
	answer(t, q, "past CONTEXT", pre(d.caps.context-19), contextExceeded, d.caps.context-20, 0)
	answer(t, q, "CRC", pre(2), crcError, crc32c(s.prompt.Bytes[:8]), 0)
	answer(t, q, "CRC before ids", s.prefillCmd([]uint32{1, d.caps.vocab}).u32(0x2C, 0xFFFFFFFF), crcError, crc32c(s.prompt.Bytes[:8]), 0)
	answer(t, q, "token id", s.prefillCmd([]uint32{1, 2, 3, d.caps.vocab}), tokenInvalid, 3, 0)
	answer(t, q, "EPOCH without SCORE", s.prefillCmd(p[:2]).u32(0x30, 1<<16), invalidField, 0, 0x30)
	answer(t, q, "MAXTOKENS 0", gen(0, genGreedy|1), invalidField, 0, 0x28)
	answer(t, q, "epoch", gen(1, genGreedy|2), epochInvalid, 1, 0)
	answer(t, q, "TOPP 0", gen(1, 1), invalidField, 0, 0x34)
	answer(t, q, "TOPK", gen(1, genGreedy|9<<16|1), 0x70D, 0, 0x2C)
	answer(t, q, "reserved bit", gen(1, genGreedy|1<<31|1), invalidField, 0, 0x2F)
	answer(t, q, "MASK without a block", gen(1, genGreedy|genMask|1), invalidField, 0, 0x18)
	s.params = d.mem(256, hal.CardReads)
	block := func(off int, v uint32) *sqe {
		clear(s.params.Bytes)
		st32(s.params.Bytes, off, v)
		st32(s.params.Bytes, 0xFC, crc32c(s.params.Bytes[:252]))
		return gen(1, genGreedy|1).u64(0x18, s.params.IOVA)
	}
	answer(t, q, "stop ids", block(0x04, 17), invalidField, 0, 0x104)
	answer(t, q, "PRESENCE", block(0x60, 0x7FC00000), invalidField, 0, 0x160)
	answer(t, q, "BLOCK_STEPS", block(0x70, 1), 0x70D, 0, 0x170)
	answer(t, q, "reserved field", block(0x7C, 1), invalidField, 0, 0x17C)
	e := block(0x00, 1)
	st32(s.params.Bytes, 0xFC, 0)
	answer(t, q, "CRC of the block", e, crcError, crc32c(s.params.Bytes[:252]), 0)
	// None of them changed anything: the session is still primed at epoch 0.
	if r := s.generate(nil, greedy); r.stop != stopMax {
		t.Errorf("after refusals: %+v", r.c)
	}

	// The context, and the budget of 1,000 tokens.
	s.truncate(0)
	r := s.generate(prompt(d, 500), generation{max: 1 << 30, flags: genGreedy | genIgnoreEOS})
	if r.stop != stopContext || len(r.tokens) != 12 || s.kv != 511 {
		t.Errorf("up to CONTEXT: %+v, kv_len %d", r, s.kv)
	}
	s.prefill(r.tokens[11:])
	answer(t, q, "full", gen(1, genGreedy|uint32(s.nextEpoch())), contextExceeded, 0, 0)
	s2 := d.open(q, opening{seq: 1, reserve: 480})
	answer(t, q, "OPEN past KV_BUDGET", open(opening{reserve: 9}), kvExhausted, 8, 0)
	s2.prefill(prompt(d, 470))
	if r := s2.generate(nil, generation{max: 19, flags: genGreedy}); r.c.st != kvExhausted || r.c.dw0 != 8 {
		t.Errorf("GENERATE past KV_BUDGET: %+v", r.c)
	}
	if r := s2.generate(nil, generation{max: 18, flags: genGreedy}); r.c.st != success {
		t.Errorf("GENERATE to KV_BUDGET: %+v", r.c)
	}
	s.close()
	s2.close()
	answer(t, q, "closed", cmd(ioClose, s.sid), sessionInvalid, 0, 0)

	var all []*session
	for range d.caps.sessions {
		all = append(all, d.open(q, opening{seq: 1}))
	}
	answer(t, q, "one session too many", open(opening{}), sessionLimit, 0, 0)
	if all[0].sid == s.sid {
		t.Error("a slot opened again has the SID it had")
	}
	d.shutdown()
}

func TestSessionQueue(t *testing.T) {
	d, q := start(t, mock.Virtual, card.Config{})
	s := d.open(q, opening{seq: 1, log2: 6})
	p := prompt(d, 30)
	wait := func(cids []uint16) (out []status) {
		for _, c := range cids {
			out = append(out, q.wait(c, 10*time.Second).st)
		}
		return out
	}
	want := func(what string, got []status, want ...status) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	g := s.generateCmd(greedy)
	want("behind a failure", wait(q.put(s.prefillCmd([]uint32{d.caps.vocab}), g)), tokenInvalid, sequenceError)
	want("not idle", wait(q.put(s.prefillCmd(p), cmd(ioTruncate, s.sid), cmd(ioFork, s.sid), cmd(ioClose, s.sid)))[:2], success, sessionBusy)
	want("cancelled before they began", wait(q.put(s.prefillCmd(p), g, cmd(ioCancel, s.sid))), cancelled, cancelled, success)
	s.truncate(0)
	var es []*sqe
	for range d.caps.depth + 1 {
		es = append(es, s.prefillCmd(p[:2]))
	}
	got := wait(q.put(es...))
	want("DEPTH", got[d.caps.depth-1:], success, sessionBusy)
	s.kv = 2 * uint32(d.caps.depth)
	s.truncate(0)
	// No epoch began, so the first one is still to come.
	if r := s.generate(p, greedy); r.stop != stopMax || s.epoch != 1 {
		t.Errorf("%+v", r)
	}
	s.close()
	d.shutdown()
}

func TestScore(t *testing.T) {
	d, q := start(t, mock.Virtual, card.Config{})
	s := d.open(q, opening{seq: 1, log2: 6})
	p := prompt(d, 40)
	st := engine().NewState()
	want := map[uint32][]float32{} // logits before the token at a position
	if err := st.Append(p, func(i int, l []float32) { want[uint32(i)+1] = slices.Clone(l) }); err != nil {
		t.Fatal(err)
	}
	score := func(from, to uint32) {
		t.Helper()
		s.epoch = s.nextEpoch()
		s.prefilled(q.try(s.prefillCmd(p[from:to]).u32(0x30, 1|uint32(s.epoch)<<16)), int(to-from))
		for pos := max(from, 1); pos < to; pos++ {
			r, ok := s.poll()
			if !ok || r.pos != pos || r.flags != recCommit|recCand|recScore || r.stop != 0 || r.chosen != 0 || r.ids[0] != p[pos] {
				t.Fatalf("%d: %+v %v", pos, r, ok)
			}
			best := order(want[pos])
			best = slices.DeleteFunc(best, func(id int) bool { return uint32(id) == p[pos] })
			for i, id := range r.ids[1:] {
				if id != uint32(best[i]) {
					t.Fatalf("%d: %+v, best are %v", pos, r, best[:8])
				}
			}
			s.consumed()
		}
		if r, ok := s.poll(); ok {
			t.Errorf("one more: %+v", r)
		}
	}
	score(0, 20)
	score(20, 25)
	if r := s.generate(nil, greedy); r.stop != stopMax { // a scored prompt is primed
		t.Errorf("%+v", r)
	}
	s.truncate(25)
	score(25, 40) // not primed: the card computes the logits of token 24 again
	s.close()
	d.shutdown()
}

// TestArmAfterShadow arms under a busy card, which saw no doorbell.
func TestArmAfterShadow(t *testing.T) {
	d, q := start(t, mock.Virtual, card.Config{})
	busy := d.open(q, opening{seq: 1, log2: 10})
	long := generation{max: 400, flags: genGreedy | genIgnoreEOS}
	b := q.put(busy.prefillCmd(prompt(d, 20)), busy.generateCmd(long))
	busy.prefilled(q.wait(b[0], time.Second), 20)
	q2 := d.createQueue(2, 16, 2)
	s := d.open(q2, opening{seq: 1, iv: 3})
	bells := d.f.Counters().Doorbells
	c := q2.put(s.prefillCmd(prompt(d, 3)), s.generateCmd(greedy))
	if n := d.f.Counters().Doorbells - bells; n != 0 {
		t.Errorf("%d doorbells to a busy card", n)
	}
	s.arm(s.seq, 0)
	if ok, err := d.vec[3].Wait(time.Second); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if uint32(ld64(s.ring.Bytes, int(s.seq)*64+56)>>32) != s.seq {
		t.Error("ARM fired for a session whose commands were not fetched yet")
	}
	s.prefilled(q2.wait(c[0], time.Second), 3)
	s.follow(greedy, c[1])
	busy.follow(long, b[1])
	d.shutdown()
}

func TestLogsAndResets(t *testing.T) {
	m := powerOn(t, mock.Virtual, card.Config{}, "read by the card refused (iova 0x7fff0000)")
	d := bringUp(t, m)
	d.shadowOn()
	q := d.createQueue(1, 16, 1)
	s := d.open(q, opening{seq: 1, log2: 5})
	s.generate(prompt(d, 10), greedy)
	tel := d.logPage(0xC0, 0, 256)
	if get64(tel, 0x40) != 24 || get64(tel, 0x48) != 10 || get64(tel, 0x90) != 0 {
		t.Errorf("TELEMETRY: % x", tel)
	}
	ses := d.logPage(0xC1, 0, 128)
	if get32(ses, 0) != s.sid || ses[4] != 1 || get32(ses, 0x08) != s.kv || get32(ses, 0x10) != s.seq || get16(ses, 0x14) != s.epoch || get32(ses, 64) != 0xFFFFFFFF {
		t.Errorf("SESSIONS: % x", ses)
	}
	if b := d.logPage(0x01, 0, 64*min(d.caps.errors, 64)); get64(b, 0) != 0 {
		t.Errorf("ERROR: % x", b)
	}
	// A PREFILL whose memory the card may not reach: refused, logged, reported.
	aer := d.adm.put(cmd(admAER, 0))[0]
	if c := d.admin(cmd(admAbort, 0).u32(0x28, uint32(aer)<<16)); c.dw0&1 != 0 || d.adm.done[aer].st != abortRequested {
		t.Errorf("ABORT of an event request: %+v, %+v", c, d.adm.done[aer])
	}
	delete(d.adm.done, aer)
	aer = d.adm.put(cmd(admAER, 0))[0]
	if c := q.try(cmd(ioPrefill, s.sid).u64(0x18, 0x7FFF0000).u32(0x28, 4)); c.st != 0x004 || c.dw0 != 0x7FFF0000 || c.dw1 != 0 {
		t.Errorf("PREFILL from nowhere: %+v", c)
	}
	if c := d.adm.wait(aer, time.Second); c.st != success || c.dw0&7 != 0 || c.dw0>>16&0xFF != 0x01 {
		t.Errorf("event: %+v", c)
	}
	if b := d.logPage(0x01, 0, 64); get64(b, 0) == 0 || get32(b, 0x10) != s.sid || get64(b, 0x18) != 0x7FFF0000 {
		t.Errorf("ERROR: % x", b)
	}
	s.close()

	// Shutdown while a session decodes.
	s = d.open(q, opening{seq: 1, log2: 10})
	g := generation{max: 400, flags: genGreedy | genIgnoreEOS}
	c := q.put(s.prefillCmd(prompt(d, 10)), s.generateCmd(g))
	s.prefilled(q.wait(c[0], time.Second), 10)
	d.regs.Store32(regCC, d.regs.Load32(regCC)|ccSHN)
	d.until(5*time.Second, "CSTS.SHST", func() bool { return d.regs.Load32(regCSTS)>>2&3 == 2 })
	if r := s.follow(g, c[1]); r.c.st != cancelled || r.stop == stopMax {
		t.Errorf("shutdown: %+v", r.c)
	}
	gen := d.regs.Load32(regRGEN)
	d.disable()
	d.enable()
	if n := d.regs.Load32(regRGEN); n != gen+1 {
		t.Errorf("RGEN %d, was %d", n, gen)
	}
	if c := d.adm.wait(d.adm.put(cmd(admAER, 0))[0], time.Second); c.dw0 != 2|1<<8|0xC2<<16 {
		t.Errorf("event of the reset: %+v", c)
	}
	if b := d.logPage(0xC2, 0, 32); get16(b, 0x0C) != 1 || get64(b, 0x10) != 2 || get64(b, 0x18) != uint64(gen+1) {
		t.Errorf("EVENTS: % x", b)
	}
	if err := m.Reset(hal.ResetFLR); err != nil {
		t.Fatal(err)
	}
	if d.regs.Load32(regCC) != 0 || d.regs.Load32(regRGEN) != gen+2 {
		t.Errorf("after FLR: CC %X, RGEN %d", d.regs.Load32(regCC), d.regs.Load32(regRGEN))
	}
	d = bringUp(t, m)
	d.shutdown()
	d.regs.Store32(regAQA, 2<<16|31) // three entries
	d.regs.Store32(regCC, ccEN|ccSQES|ccCQES)
	d.until(d.to, "CSTS.CFS", func() bool { return d.regs.Load32(regCSTS)&cstsCFS != 0 })
	if e := d.regs.Load32(regFERR); e != 1 {
		t.Errorf("FERR %d", e)
	}
}
