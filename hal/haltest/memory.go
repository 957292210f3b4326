package haltest

import (
	"errors"
	"math"
	"testing"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// G3, AllocDMA: "zeroed, page-aligned memory that is contiguous in IOVA space
// and mapped for the card in one direction. size is rounded up to pages."
// Buffers lie apart in IOVA space and in the host's. A size that is not
// positive, or no direction, is refused; what cannot be had is ErrNoMemory.
// Freed memory comes back zeroed, and freeing twice harms nothing.
func memory(t *testing.T, open Open) {
	fn := with(t, open)
	type span struct{ from, to uint64 }
	var spans []span
	var kept []*hal.DMA
	for i := range 256 {
		size := 1 + i*37%9000
		dir := []hal.Direction{hal.CardReads, hal.CardWrites}[i%2]
		d, err := fn.AllocDMA(size, dir)
		if err != nil {
			t.Fatalf("allocation %d of %d bytes: %v", i, size, err)
		}
		want := (size + hci.PageSize - 1) / hci.PageSize * hci.PageSize
		if len(d.Bytes) != want || d.IOVA%hci.PageSize != 0 || d.IOVA == 0 || d.Dir != dir || d.Free == nil {
			t.Fatalf("%d bytes: got %d at %#x, direction %d", size, len(d.Bytes), d.IOVA, d.Dir)
		}
		if misaligned(d.Bytes) {
			t.Errorf("%d bytes: host address is not page-aligned", size)
		}
		untouched(t, "new memory", d)
		for k := range d.Bytes { // it is the host's to write, and no other's
			d.Bytes[k] = byte(i) | 1
		}
		s := span{d.IOVA, d.IOVA + uint64(len(d.Bytes))}
		for _, o := range spans {
			if s.from < o.to && o.from < s.to {
				t.Fatalf("%#x..%#x overlaps %#x..%#x", s.from, s.to, o.from, o.to)
			}
		}
		spans, kept = append(spans, s), append(kept, d)
	}
	for i, d := range kept {
		for k, b := range d.Bytes {
			if b != byte(i)|1 {
				t.Fatalf("allocation %d, byte %d: shared with another", i, k)
			}
		}
		if err := d.Free(); err != nil {
			t.Errorf("free: %v", err)
		}
	}
	for range 4 { // whatever is used again is clean
		d := alloc(t, fn, 64*hci.PageSize, hal.CardWrites)
		untouched(t, "memory after frees", d)
		for k := range d.Bytes {
			d.Bytes[k] = 0xEE
		}
		if err := d.Free(); err != nil {
			t.Errorf("free: %v", err)
		}
	}
	a := alloc(t, fn, 1, hal.CardReads)
	a.Free()
	b := alloc(t, fn, 1, hal.CardReads)
	a.Free() // an error or nothing
	b.Bytes[0] = 7
	if err := b.Free(); err != nil {
		t.Errorf("freeing one buffer twice gave another back: %v", err)
	}
	for _, size := range []int{0, -1, math.MinInt} {
		if _, err := fn.AllocDMA(size, hal.CardReads); err == nil {
			t.Errorf("allocation of %d bytes succeeded", size)
		}
	}
	for _, size := range []int{1 << 46, math.MaxInt - 5000, math.MaxInt} {
		if _, err := fn.AllocDMA(size, hal.CardWrites); !errors.Is(err, hal.ErrNoMemory) {
			t.Errorf("allocation of %d bytes: %v", size, err)
		}
	}
	for _, dir := range []hal.Direction{0, hal.CardReads | hal.CardWrites, 255} {
		if _, err := fn.AllocDMA(hci.PageSize, dir); err == nil {
			t.Errorf("a buffer of direction %d was given", dir)
		}
	}
}

// G5: the card reads what the host wrote (the command) and writes where it
// was told, to the byte; memory beside is not touched.
func transfers(t *testing.T, open Open) {
	fn := with(t, open)
	a := bringUp(t, fn)
	before, page, after := alloc(t, fn, 1, hal.CardWrites), alloc(t, fn, 3*hci.PageSize, hal.CardWrites), alloc(t, fn, 1, hal.CardWrites)
	for i := range uint64(2*adminEntries + 3) { // round the queue, both phases
		clear(page.Bytes)
		if s := a.identify(page.IOVA + hci.PageSize); s != hci.StatusSuccess {
			t.Fatalf("IDENTIFY %d: %v", i, s)
		}
		if _, err := hci.DecodeCapabilities(page.Bytes[hci.PageSize : 2*hci.PageSize]); err != nil {
			t.Fatalf("IDENTIFY %d: %v", i, err)
		}
	}
	clear(page.Bytes[hci.PageSize : 2*hci.PageSize])
	untouched(t, "around the page", page)
	untouched(t, "buffer before", before)
	untouched(t, "buffer after", after)
	untouchedQueue(t, a)
}

// untouchedQueue: the card wrote no more than the completion queue's entries.
func untouchedQueue(t *testing.T, a *admin) {
	t.Helper()
	for i := adminEntries * hci.CQESize; i < len(a.cq.Bytes); i++ {
		if a.cq.Bytes[i] != 0 {
			t.Errorf("byte %d behind the completion queue was written", i)
			return
		}
	}
}

// G6, Direction: "the IOMMU enforces it". A write into memory that the card
// only reads is refused, which the card tells, and changes nothing. (An IOMMU
// that cannot forbid reads may let the card read what it writes.)
func direction(t *testing.T, open Open) {
	fn := with(t, open)
	a := bringUp(t, fn)
	page := alloc(t, fn, hci.CapsSize, hal.CardReads)
	if s := a.identify(page.IOVA); s != hci.StatusDataTransferError {
		t.Errorf("write into memory that the card only reads: %v", s)
	}
	untouched(t, "memory the card only reads", page)
	good := alloc(t, fn, hci.CapsSize, hal.CardWrites)
	if s := a.identify(good.IOVA); s != hci.StatusSuccess {
		t.Errorf("IDENTIFY after a fault: %v", s)
	}
}

// G7, Free: "unmaps; the card's next access faults". So does an access to an
// address that was never given, or behind a buffer's end.
func freed(t *testing.T, open Open) {
	fn := with(t, open)
	a := bringUp(t, fn)
	page := alloc(t, fn, hci.CapsSize, hal.CardWrites)
	if s := a.identify(page.IOVA); s != hci.StatusSuccess {
		t.Errorf("IDENTIFY: %v", s)
	}
	if err := page.Free(); err != nil {
		t.Fatal(err)
	}
	for name, iova := range map[string]uint64{"freed memory": page.IOVA, "an address never given": 0x7_F00F_0000_0000} {
		if s := a.identify(iova); s != hci.StatusDataTransferError {
			t.Errorf("write into %s: %v", name, s)
		}
	}
	again := alloc(t, fn, hci.CapsSize, hal.CardWrites)
	if s := a.identify(again.IOVA); s != hci.StatusSuccess {
		t.Errorf("IDENTIFY after faults: %v", s)
	}
}
