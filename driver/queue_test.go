package driver

import (
	"errors"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// answer writes the next completion of a queue as its card would.
func answer(q *queue, at uint32, cid uint16) {
	phase := uint64(1 ^ at>>q.shift&1)
	publishCQE(q.cq.b, at&q.mask, 0, uint64(q.id)<<16|uint64(cid)<<32|phase<<48)
}

func TestQueueDepth(t *testing.T) {
	for _, depth := range []int{1, 16, maxDepth - 1, maxDepth} {
		q := newQueue(3, 128, depth, buffer{b: alignedPages(128*hci.SQESize, hci.PageSize)},
			buffer{b: alignedPages(128*hci.CQESize, hci.PageSize)}, &noDoorbell{}, 0)
		at := uint32(0)
		for pass := range 40 { // through all generations, and round the rings
			seen := map[uint16]bool{}
			for range depth {
				i, err := q.submit(&hci.SQE{OPC: hci.OpClose})
				if err != nil || int(i) >= depth || seen[i] {
					t.Fatalf("depth %d, pass %d: slot %d, %v", depth, pass, i, err)
				}
				seen[i] = true
			}
			if _, err := q.submit(&hci.SQE{}); !errors.Is(err, ErrBusy) || q.room() != 0 {
				t.Fatalf("depth %d: one too many: %v, room for %d", depth, err, q.room())
			}
			for i := range seen {
				answer(q, at, q.cid(i))
				at++
			}
			if n := q.poll(2 * depth); n != depth {
				t.Fatalf("depth %d, pass %d: %d completions", depth, pass, n)
			}
			for i := range seen {
				if _, ok := q.done(i); !ok {
					t.Fatalf("depth %d, pass %d: slot %d is not done", depth, pass, i)
				}
			}
			if q.room() != depth {
				t.Fatalf("depth %d: room for %d", depth, q.room())
			}
		}
		// An id whose low bits are a busy slot's, and one of a slot that the
		// queue does not have.
		i, _ := q.submit(&hci.SQE{OPC: hci.OpClose})
		for _, cid := range []uint16{q.cid(i) | maxDepth, q.cid(i) ^ 1<<11, q.cid(i) ^ genStep, maxDepth - 1 - i | q.slots[maxDepth-1-i].gen} {
			answer(q, at, cid)
			at++
		}
		q.poll(8)
		if !q.pending(i) || q.strays != 4 {
			t.Errorf("depth %d: pending %v, %d strays", depth, q.pending(i), q.strays)
		}
		// What was given up on, or out at a reset, is free after it.
		q.abandon(i)
		q.reset()
		if q.room() != depth || q.pending(i) {
			t.Errorf("depth %d: room for %d after a reset", depth, q.room())
		}
	}
}
