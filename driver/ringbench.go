package driver

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Shape of the ring benchmark; tests/ringref/ringref.c has the same.
const (
	ringEntries = 256
	ringBatch   = 32
)

// noDoorbell is a doorbell BAR that counts: with shadow doorbells and a
// device that never sleeps only the first entry and the first
// completion may ring.
type noDoorbell struct{ rung int }

func (d *noDoorbell) Size() int           { return 1 << 17 }
func (d *noDoorbell) Load32(int) uint32   { return 0 }
func (d *noDoorbell) Store32(int, uint32) { d.rung++ }
func (d *noDoorbell) Load64(int) uint64   { return 0 }
func (d *noDoorbell) Store64(int, uint64) { d.rung++ }

// RingBench measures the driver's queue pair against a device that does
// nothing but answer, on another thread: ns per entry from writing the SQE
// to having taken its CQE, in batches of 32. The C reference does the same
// work: fill all 64 bytes, publish the shadow tail with a full fence, look at
// the event index, and check phase, queue, command id and generation of each
// completion.
func RingBench(entries int) (nsPerEntry float64, err error) {
	if runtime.GOMAXPROCS(0) < 2 {
		return 0, fmt.Errorf("ring: one processor cannot run host and device at once: %w", ErrInvalid)
	}
	db := &noDoorbell{}
	mem := func(n int) buffer { return buffer{b: alignedPages(n, hci.PageSize), iova: 1 << 32} }
	q := newQueue(1, ringEntries, ringBatch, mem(ringEntries*hci.SQESize), mem(ringEntries*hci.CQESize), db, hci.PageSize)
	q.shadow, q.event = mem(hci.ShadowStride).b, mem(hci.ShadowStride).b
	q.reset()

	var stop atomic.Bool
	done := make(chan struct{})
	bad := 0
	go func() {
		defer close(done)
		runtime.LockOSThread()
		bad = echo(q, &stop)
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	var slots [ringBatch]uint16
	e := hci.SQE{OPC: hci.OpPrefill, SID: 7, PRP1: 1 << 32}
	batch := func() error {
		for i := range slots {
			s, err := q.submit(&e)
			if err != nil {
				return err
			}
			slots[i] = s
		}
		q.ring()
		for got := 0; got < ringBatch; {
			n := q.poll(ringBatch)
			if got += n; n == 0 {
				pause()
			}
		}
		for _, s := range slots {
			if cqe, ok := q.done(s); !ok || cqe.status() != hci.StatusSuccess {
				return fmt.Errorf("slot %d: no completion: %w", s, ErrProtocol)
			}
		}
		return nil
	}
	n := max(entries/ringBatch, 1)
	for range n/10 + 1 { // warm caches, branch predictors and the other thread
		if err = batch(); err != nil {
			break
		}
	}
	start := time.Now()
	for i := 0; i < n && err == nil; i++ {
		err = batch()
	}
	took := time.Since(start)
	stop.Store(true)
	<-done
	switch {
	case err != nil:
		return 0, err
	case bad > 0 || db.rung > 2 || q.strays > 0:
		return 0, fmt.Errorf("ring: %d bad entries, %d doorbells, %d strays: %w", bad, db.rung, q.strays, ErrProtocol)
	}
	return float64(took.Nanoseconds()) / float64(n*ringBatch), nil
}

// echo is the device: it answers every entry until it is told to stop, and
// returns how many it could not make sense of.
func echo(q *queue, stop *atomic.Bool) (bad int) {
	// Locals: the queue's own words are the host's, on lines it writes.
	sq, cq, shadow, mask, shift, id := q.sq.b, q.cq.b, q.shadow, q.mask, q.shift, uint64(q.id)
	head := uint32(0)
	for !stop.Load() {
		tail := load32(shadow, hci.ShadowOffSQT)
		for ; head != tail; head++ {
			w := sqeWord(sq, head&mask)
			if uint8(w) != hci.OpPrefill {
				bad++
			}
			phase := uint64(1 ^ head>>shift&1)
			publishCQE(cq, head&mask, w>>32, uint64((head+1)&mask)|id<<16|w>>16&0xFFFF<<32|phase<<48)
		}
		// Never sleeping, it leaves the event index behind.
	}
	return bad
}
