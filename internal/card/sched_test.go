package card

import (
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// clocked is a card whose silicon takes perToken by a clock of the test's.
func clocked(t *testing.T, paced bool, perToken *int64) *fakeHost {
	t.Helper()
	e := &hashEngine{vocab: 100, context: 4096}
	now := new(int64)
	h := newHost(t, Config{Paced: paced, Clock: func() int64 { return *now }}, e)
	now = &h.now
	e.took = func(n int) { h.now += int64(n) * *perToken }
	h.bringUp(true)
	return h
}

func TestSlowSiliconIsLate(t *testing.T) {
	per := int64(0)
	h := clocked(t, true, &per)
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(4)))
	h.ok(1, greedy(sid, 1, 20))
	for _, r := range h.records(0, 1) {
		if r.Flags&hci.FlagLate != 0 {
			t.Fatalf("late without cause: %+v", r)
		}
	}
	if n := h.cardBlock(0, hci.CardOffDecodeNS); n != 20*58960 {
		t.Errorf("DECODE_NS %d", n)
	}
	h.ok(1, h.prefill(sid, count(1)))
	per = 200_000
	h.ok(1, greedy(sid, 2, 20))
	late := 0
	for _, r := range h.records(0, 2) {
		if r.Flags&hci.FlagLate != 0 {
			late++
		}
	}
	// All but the first, whose logits were at hand.
	if n := h.cardBlock(0, hci.CardOffTokens) >> 32; late != 19 || n != 19 || h.c.counters.Late != 19 {
		t.Errorf("%d records late, LATE %d, counted %d", late, n, h.c.counters.Late)
	}
	if n := h.cardBlock(0, hci.CardOffDecodeNS); n < 19*200_000 || n > 21*200_000 {
		t.Errorf("DECODE_NS %d", n)
	}
	// The energy is that of the modelled time all the same.
	if n := h.cardBlock(0, hci.CardOffEnergyUJ); n < 21*11_700 || n > 21*11_900 {
		t.Errorf("ENERGY_UJ %d", n)
	}
}

// Unpaced, a step takes what it takes.
func TestUnpacedTimes(t *testing.T) {
	per := int64(3_000)
	h := clocked(t, false, &per)
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(4)))
	h.ok(1, greedy(sid, 1, 21))
	if n := h.cardBlock(0, hci.CardOffDecodeNS); n != 20*3_000 {
		t.Errorf("DECODE_NS %d", n)
	}
	if h.c.counters.Late != 0 {
		t.Errorf("%d late", h.c.counters.Late)
	}
}

// Silicon that takes 20 ms a token gets small chunks, so that the card looks
// at its queues.
func TestSlowSiliconGetsSmallChunks(t *testing.T) {
	per := int64(20_000_000)
	h := clocked(t, true, &per)
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(200)))
	h.submit(1, h.prefill(sid, count(200)))
	largest := 0
	for h.c.slots[0].kvLen < 400 {
		h.step()
		largest = max(largest, h.c.flight.n)
	}
	if largest > 4 {
		t.Errorf("chunks of %d", largest)
	}
	h.settle()
	h.take(1, h.cid, hci.StatusSuccess)
}

// The time of a GENERATE is its steps, its stalls and its waits, and no
// nanosecond twice.
func TestAccountsAddUp(t *testing.T) {
	h := up(t, Config{Paced: true}, &hashEngine{vocab: 100, context: 4096}, true)
	var s [3]uint32
	for i := range s {
		s[i] = h.open(i)
		h.ok(1, h.prefill(s[i], count(3)))
	}
	began := h.now
	for i := range s {
		h.put(1, greedy(s[i], 1, 60))
	}
	h.ring(1)
	h.settle()
	total := h.now - began
	for i := range s {
		h.records(i, 1)
		d, st, w := h.cardBlock(i, hci.CardOffDecodeNS), h.cardBlock(i, hci.CardOffStallNS), h.cardBlock(i, hci.CardOffWaitNS)
		if d != 60*58960 || st != 0 || int64(d+w) > total || int64(d+w) < total-3*58960 {
			t.Errorf("session %d: decode %d stall %d wait %d of %d", i, d, st, w, total)
		}
	}
}
