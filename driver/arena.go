package driver

import (
	"fmt"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// buffer is a piece of an arena: host bytes and the card's address of them.
type buffer struct {
	b    []byte
	iova uint64
}

// arena hands out page-aligned pieces of one DMA mapping. Memory is mapped
// once, at bring-up: mapping costs tens of µs and a mapping slot each time,
// and the token path must need neither. There are two, by direction, so that
// the IOMMU keeps the card from writing what it only has to read. Pieces are
// never given back one by one: who needs memory again and again keeps it.
type arena struct {
	dma  *hal.DMA
	next int
}

func newArena(fn hal.Function, size int, dir hal.Direction) (*arena, error) {
	d, err := fn.AllocDMA(size, dir)
	if err != nil {
		return nil, err
	}
	return &arena{dma: d}, nil
}

// take returns the next piece, rounded up to whole pages: pieces of
// different use never share a page.
func (a *arena) take(size int) (buffer, error) {
	n := (size + hci.PageSize - 1) &^ (hci.PageSize - 1)
	if n <= 0 || a.next+n > len(a.dma.Bytes) {
		return buffer{}, fmt.Errorf("arena of %d bytes: %d more than planned: %w",
			len(a.dma.Bytes), a.next+n-len(a.dma.Bytes), hal.ErrNoMemory)
	}
	p := buffer{b: a.dma.Bytes[a.next : a.next+size : a.next+size], iova: a.dma.IOVA + uint64(a.next)}
	a.next += n
	return p, nil
}

func pages(sizes ...int) (total int) {
	for _, s := range sizes {
		total += (s + hci.PageSize - 1) &^ (hci.PageSize - 1)
	}
	return total
}
