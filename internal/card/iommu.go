package card

import (
	"fmt"
	"sort"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// IOMMU maps page-granular pieces of the card's address space to memory and
// refuses the rest. Its lookups neither lock nor allocate: it is used under
// the card's lock, as the card is. It implements the memory half of a Bus.
type IOMMU struct {
	maps  []Mapping // by IOVA
	last  [2]int    // index of the mapping read last, written last
	freed []span    // what once was mapped, newest last
}

// Mapping is memory at an address of the card.
type Mapping struct {
	IOVA        uint64
	Bytes       []byte
	Read, Write bool // what the card may do
}

type span struct{ from, to uint64 }

// maxFreed bounds what is remembered of past mappings.
const maxFreed = 4096

// Map adds a mapping of whole pages.
func (m *IOMMU) Map(x Mapping) error {
	n := uint64(len(x.Bytes))
	if n == 0 || n%hci.PageSize != 0 || x.IOVA%hci.PageSize != 0 || x.IOVA+n < x.IOVA {
		return fmt.Errorf("card: mapping of %d bytes at %#x: not whole pages", n, x.IOVA)
	}
	i := sort.Search(len(m.maps), func(i int) bool { return m.maps[i].IOVA >= x.IOVA })
	if i < len(m.maps) && m.maps[i].IOVA < x.IOVA+n || i > 0 && m.maps[i-1].end() > x.IOVA {
		return fmt.Errorf("card: mapping of %d bytes at %#x overlaps another", n, x.IOVA)
	}
	m.maps = append(m.maps, Mapping{})
	copy(m.maps[i+1:], m.maps[i:])
	m.maps[i] = x
	m.last = [2]int{}
	kept := m.freed[:0]
	for _, f := range m.freed { // no longer a use after free
		if f.to <= x.IOVA || f.from >= x.IOVA+n {
			kept = append(kept, f)
		}
	}
	m.freed = kept
	return nil
}

// Unmap removes the mappings that lie within size bytes at iova and returns
// how many bytes that were.
func (m *IOMMU) Unmap(iova, size uint64) (removed uint64) {
	kept := m.maps[:0]
	for _, x := range m.maps {
		if x.IOVA >= iova && x.end()-iova <= size {
			removed += uint64(len(x.Bytes))
			m.freed = append(m.freed, span{x.IOVA, x.end()})
			continue
		}
		kept = append(kept, x)
	}
	clear(m.maps[len(kept):])
	m.maps = kept
	m.last = [2]int{}
	if len(m.freed) > maxFreed {
		m.freed = append(m.freed[:0], m.freed[len(m.freed)-maxFreed/2:]...)
	}
	return removed
}

func (x *Mapping) end() uint64 { return x.IOVA + uint64(len(x.Bytes)) }

func (x *Mapping) allows(write bool) bool {
	if write {
		return x.Write
	}
	return x.Read
}

// find returns the memory from iova to the end of its mapping.
func (m *IOMMU) find(iova uint64, write bool) ([]byte, error) {
	way := 0
	if write {
		way = 1
	}
	if i := m.last[way]; i < len(m.maps) {
		if x := &m.maps[i]; iova-x.IOVA < uint64(len(x.Bytes)) && x.allows(write) {
			return x.Bytes[iova-x.IOVA:], nil
		}
	}
	lo, hi := 0, len(m.maps)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if m.maps[mid].end() <= iova {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(m.maps) && m.maps[lo].IOVA <= iova {
		x := &m.maps[lo]
		if x.allows(write) {
			m.last[way] = lo
			return x.Bytes[iova-x.IOVA:], nil
		}
		return nil, &Fault{iova, write, BadDirection}
	}
	for i := len(m.freed) - 1; i >= 0; i-- {
		if f := m.freed[i]; iova >= f.from && iova < f.to {
			return nil, &Fault{iova, write, UseAfterFree}
		}
	}
	return nil, &Fault{iova, write, BadDMA}
}

// Read copies memory to b. It may have copied a part when it fails.
func (m *IOMMU) Read(iova uint64, b []byte) error {
	for len(b) > 0 {
		src, err := m.find(iova, false)
		if err != nil {
			return err
		}
		n := copy(b, src)
		b, iova = b[n:], iova+uint64(n)
	}
	return nil
}

// Write copies b to memory.
func (m *IOMMU) Write(iova uint64, b []byte) error {
	for len(b) > 0 {
		dst, err := m.find(iova, true)
		if err != nil {
			return err
		}
		n := copy(dst, b)
		b, iova = b[n:], iova+uint64(n)
	}
	return nil
}

func (m *IOMMU) word(iova uint64, size uint64, write bool) ([]byte, error) {
	if iova%size != 0 {
		return nil, &Fault{iova, write, BadDMA}
	}
	return m.find(iova, write) // pages are aligned, so the word is whole
}

// Load32 is one aligned access.
func (m *IOMMU) Load32(iova uint64) (uint32, error) {
	b, err := m.word(iova, 4, false)
	if err != nil {
		return 0, err
	}
	return load32(b), nil
}

// Load64 is one aligned access.
func (m *IOMMU) Load64(iova uint64) (uint64, error) {
	b, err := m.word(iova, 8, false)
	if err != nil {
		return 0, err
	}
	return load64(b), nil
}

// Store32 is one aligned access and a full fence.
func (m *IOMMU) Store32(iova uint64, v uint32) error {
	b, err := m.word(iova, 4, true)
	if err == nil {
		store32(b, v)
	}
	return err
}

// Store64 is one aligned access and a full fence.
func (m *IOMMU) Store64(iova uint64, v uint64) error {
	b, err := m.word(iova, 8, true)
	if err == nil {
		store64(b, v)
	}
	return err
}
