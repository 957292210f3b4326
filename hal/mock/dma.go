package mock

import (
	"fmt"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/iommu"
)

// The card's address space: from iovaBase, with an unmapped page after each
// buffer, never used twice, so that every stray access faults.
const (
	iovaBase  = 0x1_0000_0000
	iovaLimit = 1 << 48
	maxBuffer = 1 << 32
)

// AllocDMA implements hal.Function.
func (m *Mock) AllocDMA(size int, dir hal.Direction) (*hal.DMA, error) {
	if size <= 0 || dir != hal.CardReads && dir != hal.CardWrites {
		return nil, fmt.Errorf("mock: dma buffer of %d bytes, direction %d: %w", size, dir, hal.ErrOutOfRange)
	}
	if size > maxBuffer {
		return nil, fmt.Errorf("mock: dma buffer of %d bytes: %w", size, hal.ErrNoMemory)
	}
	n := (size + hci.PageSize - 1) &^ (hci.PageSize - 1)
	m.acquire()
	defer m.release()
	if m.closed {
		return nil, hal.ErrClosed
	}
	if m.bumpTo+uint64(n) > iovaLimit {
		return nil, fmt.Errorf("mock: dma buffer of %d bytes: address space spent: %w", size, hal.ErrNoMemory)
	}
	iova := m.bumpTo
	b := pages(n)
	if err := m.mmu.Map(iommu.Mapping{IOVA: iova, Bytes: b, Read: dir == hal.CardReads, Write: dir == hal.CardWrites}); err != nil {
		return nil, fmt.Errorf("mock: %w", err)
	}
	m.bumpTo += uint64(n) + hci.PageSize
	d := &hal.DMA{Bytes: b, IOVA: iova, Dir: dir}
	d.Free = func() error { return m.free(iova) }
	m.buffers[iova] = d
	return d, nil
}

func (m *Mock) free(iova uint64) error {
	m.acquire()
	defer m.release()
	if m.closed {
		return nil // Close has unmapped it
	}
	d := m.buffers[iova]
	if d == nil {
		return fmt.Errorf("mock: dma buffer at %#x freed twice: %w", iova, hal.ErrOutOfRange)
	}
	delete(m.buffers, iova)
	m.mmu.Unmap(iova, uint64(len(d.Bytes)), nil)
	return nil
}

// bus is the card's view of the host.
type bus Mock

func (b *bus) Read(iova uint64, p []byte) error    { return b.mmu.Read(iova, p) }
func (b *bus) Write(iova uint64, p []byte) error   { return b.mmu.Write(iova, p) }
func (b *bus) Load32(iova uint64) (uint32, error)  { return b.mmu.Load32(iova) }
func (b *bus) Load64(iova uint64) (uint64, error)  { return b.mmu.Load64(iova) }
func (b *bus) Store32(iova uint64, v uint32) error { return b.mmu.Store32(iova, v) }
func (b *bus) Store64(iova uint64, v uint64) error { return b.mmu.Store64(iova, v) }
func (b *bus) Interrupt(vector int) {
	if vector < len(b.vectors) {
		b.vectors[vector].fire()
	}
}
