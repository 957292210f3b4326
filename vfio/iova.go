package vfio

import (
	"fmt"
	"slices"

	"github.com/hc1-toolkit/hc1/hal"
)

// iovaSpace hands out addresses of the device within the ranges that the
// kernel allows (a window for interrupts is missing from them, and an IOMMU
// may have 39 bits only). It goes on from where it was, so that an address is
// not used again soon, and leaves a page after each piece unmapped: a stray
// access then faults.
type iovaSpace struct {
	ranges []iovaRange // sorted
	used   []iovaRange // sorted
	next   uint64      // where to look first
}

const pageSize = 4096

// lowest is the least address that is given: a device's mistake with address
// 0, or with a small number, should fault.
const lowest = 1 << 20

func newIOVASpace(ranges []iovaRange) (*iovaSpace, error) {
	s := &iovaSpace{next: 1 << 32}
	for _, r := range ranges {
		r.first = max((r.first+pageSize-1)&^(pageSize-1), lowest)
		if r.last > r.first && r.last-r.first >= pageSize-1 {
			s.ranges = append(s.ranges, r)
		}
	}
	slices.SortFunc(s.ranges, func(a, b iovaRange) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	for i := 1; i < len(s.ranges); i++ {
		if s.ranges[i].first <= s.ranges[i-1].last {
			return nil, fmt.Errorf("iova ranges overlap at %#x", s.ranges[i].first)
		}
	}
	if len(s.ranges) == 0 {
		return nil, fmt.Errorf("the kernel allows no iova: %w", hal.ErrNoMemory)
	}
	return s, nil
}

// below cuts ranges off at the highest address that a device can reach.
func below(ranges []iovaRange, highest uint64) (out []iovaRange) {
	if highest == 0 {
		return ranges
	}
	for _, r := range ranges {
		if r.last = min(r.last, highest); r.first <= r.last {
			out = append(out, r)
		}
	}
	return out
}

// take finds size bytes at a multiple of align.
func (s *iovaSpace) take(size, align uint64) (uint64, error) {
	for _, from := range []uint64{s.next, lowest} {
		for _, r := range s.ranges {
			at := max(from, r.first)
			for {
				at = (at + align - 1) &^ (align - 1)
				last := at + size - 1
				if at < max(from, r.first) || last < at || last > r.last {
					break // past the range, or past 2^64
				}
				if end, hit := s.hit(at, last); hit {
					if end == ^uint64(0) {
						break
					}
					at = end + 1
					continue
				}
				s.insert(iovaRange{at, last})
				if s.next = last + 1 + pageSize; s.next < last {
					s.next = lowest
				}
				return at, nil
			}
		}
	}
	return 0, fmt.Errorf("no %d bytes of iova left beside %d pieces: %w", size, len(s.used), hal.ErrNoMemory)
}

// hit reports whether a piece, with a page around it, is in use, and to where.
func (s *iovaSpace) hit(first, last uint64) (end uint64, hit bool) {
	for _, u := range s.used {
		guard := u.last
		if guard+pageSize > guard {
			guard += pageSize
		}
		if first <= guard && last >= u.first {
			return guard, true
		}
	}
	return 0, false
}

func (s *iovaSpace) insert(u iovaRange) {
	i, _ := slices.BinarySearchFunc(s.used, u, func(a, b iovaRange) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	s.used = slices.Insert(s.used, i, u)
}

// give takes a piece back.
func (s *iovaSpace) give(first uint64) {
	s.used = slices.DeleteFunc(s.used, func(u iovaRange) bool { return u.first == first })
}
