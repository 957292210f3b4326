// Package iommu translates the addresses of a device: page-granular pieces
// of its address space lead to host memory, and the rest is refused. It is
// the IOMMU of every emulated card, in this process and behind a socket.
package iommu

import (
	"errors"
	"fmt"
	"sort"
	"sync/atomic"
)

// PageSize is the grain of a mapping.
const PageSize = 4096

// Reason is why an access was refused.
type Reason string

// Reasons.
const (
	Unmapped  Reason = "dma"       // nothing is mapped there
	Direction Reason = "direction" // mapped, but not for such an access
	Freed     Reason = "use-after-free"
	Vanished  Reason = "vanished" // the memory behind it is gone: its file was cut short
	Refused   Reason = "refused"  // by the peer that was asked
)

// Fault is an access that was refused.
type Fault struct {
	IOVA  uint64
	Write bool
	Why   Reason
}

func (f *Fault) Error() string {
	name := "read"
	if f.Write {
		name = "write"
	}
	return fmt.Sprintf("iommu: %s of %#x refused: %s", name, f.IOVA, f.Why)
}

// Errors of Map and Unmap.
var (
	ErrAlign   = errors.New("not whole pages")
	ErrOverlap = errors.New("overlaps another mapping")
	ErrSplit   = errors.New("would cut a mapping in two")
)

// Mapping is memory at an address of the device.
type Mapping struct {
	IOVA, Size  uint64 // whole pages; the last may end at 2^64
	Bytes       []byte // the memory; nil where it can only be asked for
	Read, Write bool   // what the device may do
	Shaky       bool   // Bytes is of a file that its owner can cut short
	Owner       any    // for whoever made the mapping
}

func (x *Mapping) last() uint64 { return x.IOVA + x.Size - 1 }

// Allows reports whether the device may read, or write.
func (x *Mapping) Allows(write bool) bool {
	if write {
		return x.Write
	}
	return x.Read
}

type span struct{ from, last uint64 }

// maxFreed bounds what is remembered of past mappings.
const maxFreed = 4096

// Table is the set of mappings. Lookups neither lock nor allocate. Any number
// of goroutines may look up at once, but not while one changes the table.
type Table struct {
	maps  []Mapping       // by IOVA
	hint  [2]atomic.Int64 // index of the mapping read last, written last
	freed []span          // what once was mapped, newest last
}

// Len is the number of mappings.
func (t *Table) Len() int { return len(t.maps) }

// forget drops the hints: indexes have moved.
func (t *Table) forget() {
	for i := range t.hint {
		t.hint[i].Store(0)
	}
}

// at is the index of the first mapping that ends at iova or later.
func (t *Table) at(iova uint64) int {
	lo, hi := 0, len(t.maps)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if t.maps[mid].last() < iova {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// Map adds a mapping. A Size of 0 is that of Bytes.
func (t *Table) Map(x Mapping) error {
	if x.Size == 0 {
		x.Size = uint64(len(x.Bytes))
	}
	if x.Size == 0 || x.Size%PageSize != 0 || x.IOVA%PageSize != 0 || x.last() < x.IOVA || x.Bytes != nil && uint64(len(x.Bytes)) != x.Size {
		return fmt.Errorf("iommu: mapping of %#x bytes at %#x: %w", x.Size, x.IOVA, ErrAlign)
	}
	i := t.at(x.IOVA)
	if i < len(t.maps) && t.maps[i].IOVA <= x.last() {
		return fmt.Errorf("iommu: mapping of %#x bytes at %#x: %w", x.Size, x.IOVA, ErrOverlap)
	}
	t.maps = append(t.maps, Mapping{})
	copy(t.maps[i+1:], t.maps[i:])
	t.maps[i] = x
	t.forget()
	kept := t.freed[:0]
	for _, f := range t.freed { // no longer a use after free
		if f.last < x.IOVA || f.from > x.last() {
			kept = append(kept, f)
		}
	}
	t.freed = kept
	return nil
}

// Unmap removes the mappings within size bytes at iova, as VFIO's type1v2
// does: none is no error, and a range that would cut a mapping in two removes
// nothing. The range may end at 2^64. gone, if not nil, is called with each.
func (t *Table) Unmap(iova, size uint64, gone func(Mapping)) (removed uint64, err error) {
	last := iova + size - 1
	if size == 0 || last < iova {
		return 0, fmt.Errorf("iommu: unmap of %#x bytes at %#x: %w", size, iova, ErrAlign)
	}
	i := t.at(iova)
	j := i + sort.Search(len(t.maps)-i, func(k int) bool { return t.maps[i+k].IOVA > last })
	if i < j && (t.maps[i].IOVA < iova || t.maps[j-1].last() > last) {
		return 0, fmt.Errorf("iommu: unmap of %#x bytes at %#x: %w", size, iova, ErrSplit)
	}
	for _, x := range t.maps[i:j] {
		removed += x.Size
		t.freed = append(t.freed, span{x.IOVA, x.last()})
		if gone != nil {
			gone(x)
		}
	}
	n := copy(t.maps[i:], t.maps[j:])
	clear(t.maps[i+n:])
	t.maps = t.maps[:i+n]
	t.forget()
	if len(t.freed) > maxFreed {
		t.freed = append(t.freed[:0], t.freed[len(t.freed)-maxFreed/2:]...)
	}
	return removed, nil
}

// Clear removes every mapping.
func (t *Table) Clear(gone func(Mapping)) (removed uint64) {
	removed, _ = t.Unmap(0, 1<<63, gone)
	more, _ := t.Unmap(1<<63, 1<<63, gone) // a mapping across the middle stays
	for len(t.maps) > 0 {
		x := t.maps[0]
		n, _ := t.Unmap(x.IOVA, x.Size, gone)
		more += n
	}
	return removed + more
}

// Find returns the mapping that holds iova, and how far in. The mapping is
// valid until the table changes.
func (t *Table) Find(iova uint64, write bool) (*Mapping, uint64, error) {
	way := 0
	if write {
		way = 1
	}
	if i := int(t.hint[way].Load()); i < len(t.maps) {
		if x := &t.maps[i]; iova-x.IOVA < x.Size && x.Allows(write) {
			return x, iova - x.IOVA, nil
		}
	}
	if i := t.at(iova); i < len(t.maps) && t.maps[i].IOVA <= iova {
		x := &t.maps[i]
		if x.Allows(write) {
			t.hint[way].Store(int64(i))
			return x, iova - x.IOVA, nil
		}
		return nil, 0, &Fault{iova, write, Direction}
	}
	for i := len(t.freed) - 1; i >= 0; i-- {
		if f := t.freed[i]; iova >= f.from && iova <= f.last {
			return nil, 0, &Fault{iova, write, Freed}
		}
	}
	return nil, 0, &Fault{iova, write, Unmapped}
}
