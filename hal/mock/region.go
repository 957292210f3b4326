package mock

import (
	"fmt"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/card"
)

// region is a BAR. Every access is trapped.
type region struct {
	m         *Mock
	bar, size int
}

// Region implements hal.Function.
func (m *Mock) Region(bar int) (hal.Region, error) {
	m.acquire()
	defer m.release()
	if m.closed {
		return nil, hal.ErrClosed
	}
	n := card.BARSize(bar)
	if n == 0 {
		return nil, fmt.Errorf("mock: no BAR %d: %w", bar, hal.ErrOutOfRange)
	}
	return &region{m, bar, n}, nil
}

func (r *region) Size() int { return r.size }

func (r *region) check(off, width int) {
	if off < 0 || off%width != 0 || off > r.size-width {
		panic(fmt.Errorf("mock: BAR%d access of %d bytes at %#x: %w", r.bar, width, off, hal.ErrOutOfRange))
	}
}

func (r *region) load(off, width int) uint64 {
	r.check(off, width)
	m := r.m
	m.acquire()
	defer m.release()
	if m.closed {
		return ^uint64(0)
	}
	return m.card.ReadBAR(r.bar, off, width)
}

func (r *region) store(off, width int, v uint64) {
	r.check(off, width)
	m := r.m
	m.acquire()
	if !m.closed {
		m.card.WriteBAR(r.bar, off, width, v)
		m.f.Wake()
	}
	m.release()
}

func (r *region) Load32(off int) uint32     { return uint32(r.load(off, 4)) }
func (r *region) Load64(off int) uint64     { return r.load(off, 8) }
func (r *region) Store32(off int, v uint32) { r.store(off, 4, uint64(v)) }
func (r *region) Store64(off int, v uint64) { r.store(off, 8, v) }
