package vfio

import (
	"errors"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal"
)

// buffer is DMA memory: what is mapped may be more than was asked for, where
// huge pages are used.
type buffer struct {
	mapped []byte
	iova   uint64
}

// AllocDMA implements hal.Function.
func (d *Device) AllocDMA(size int, dir hal.Direction) (*hal.DMA, error) {
	if size <= 0 || dir != hal.CardReads && dir != hal.CardWrites {
		return nil, fmt.Errorf("vfio: dma buffer of %d bytes, direction %d: %w", size, dir, hal.ErrOutOfRange)
	}
	if size > 1<<40 {
		return nil, fmt.Errorf("vfio: dma buffer of %d bytes: %w", size, hal.ErrNoMemory)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed.Load():
		return nil, hal.ErrClosed
	case d.space == nil:
		return nil, fmt.Errorf("vfio: dma memory without an IOMMU: %w", hal.ErrUnsupported)
	}
	n := (size + int(d.page) - 1) &^ (int(d.page) - 1)
	mem, page, err := newMemory(n)
	if err != nil {
		return nil, fmt.Errorf("%w: %d bytes: %w", hal.ErrNoMemory, size, err)
	}
	iova, err := d.space.take(uint64(len(mem)), uint64(max(page, int(d.page))))
	if err == nil {
		if err = d.mmu.mapDMA(iova, mem, dir); err != nil {
			d.space.give(iova)
		}
	}
	if err != nil {
		unmapMemory(mem)
		return nil, fmt.Errorf("vfio: dma buffer of %d bytes: %w", size, d.fail(err))
	}
	if page > pageSize || n >= hugePage/2 {
		d.log.Info("dma memory", "card", d.name, "bytes", n, "direction", directionName(dir), "page_bytes", page)
	}
	b := &buffer{mem, iova}
	d.buffers[iova] = b
	return &hal.DMA{Bytes: mem[:n:n], IOVA: iova, Dir: dir, Free: func() error { return d.free(b) }}, nil
}

func directionName(dir hal.Direction) string {
	if dir == hal.CardReads {
		return "card reads"
	}
	return "card writes"
}

func (d *Device) free(b *buffer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return nil // Close has unmapped it
	}
	if d.buffers[b.iova] != b {
		return fmt.Errorf("vfio: dma buffer at %#x freed twice: %w", b.iova, hal.ErrOutOfRange)
	}
	if err := d.mmu.unmapDMA(b.iova, uint64(len(b.mapped))); err != nil && !errors.Is(err, eNODEV) {
		return err // the card may still write there: the memory stays
	}
	delete(d.buffers, b.iova)
	d.space.give(b.iova)
	unmapMemory(b.mapped)
	return nil
}
