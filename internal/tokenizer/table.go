package tokenizer

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
)

// Both tables are open-addressing hash tables at most half full, filled once and then only read. Their hashes are seeded at
// random for each table, so no file can choose entries that all collide; results do not depend on the seed.

// wordTable finds a token by its text. A slot holds part of the hash, so that a miss seldom touches the text.
type wordTable struct {
	seed  maphash.Seed
	mask  uint64
	slots []wordSlot
}

type wordSlot struct {
	tag uint32
	id1 uint32 // id + 1; 0 is an empty slot
}

func newWordTable(n int) *wordTable {
	size := tableSize(n)
	return &wordTable{seed: maphash.MakeSeed(), mask: uint64(size - 1), slots: make([]wordSlot, size)}
}

// add files token id under its text, which must not be filed yet.
func (w *wordTable) add(v *vocab, id uint32) {
	h := maphash.Bytes(w.seed, v.bytes(id))
	i := h & w.mask
	for w.slots[i].id1 != 0 {
		i = (i + 1) & w.mask
	}
	w.slots[i] = wordSlot{tag: uint32(h >> 32), id1: id + 1}
}

func (w *wordTable) find(v *vocab, text string) (uint32, bool) {
	h := maphash.String(w.seed, text)
	for i := h & w.mask; ; i = (i + 1) & w.mask {
		s := w.slots[i]
		if s.id1 == 0 {
			return noToken, false
		}
		if s.tag == uint32(h>>32) && string(v.bytes(s.id1-1)) == text {
			return s.id1 - 1, true
		}
	}
}

// noRank is the rank of two neighbours that do not merge: worse than every real one.
const noRank = ^uint32(0)

// A merge says that symbols left and right next to each other become symbol id; lower ranks go first.
type merge struct{ left, right, rank, id uint32 }

// pairTable finds a merge by its two symbols.
type pairTable struct {
	seed, odd uint64
	mask      uint64
	slots     []pairSlot
}

type pairSlot struct {
	left, right uint32
	rank, id    uint32 // id is noToken in an empty slot
}

func newPairTable(n int) *pairTable {
	size := tableSize(n)
	p := &pairTable{seed: rand.Uint64(), odd: rand.Uint64() | 1, mask: uint64(size - 1), slots: make([]pairSlot, size)}
	for i := range p.slots {
		p.slots[i] = pairSlot{rank: noRank, id: noToken}
	}
	return p
}

func (p *pairTable) hash(left, right uint32) uint64 {
	hi, lo := bits.Mul64((uint64(left)<<32|uint64(right))^p.seed, p.odd)
	return hi ^ lo
}

// add files a merge and reports whether its pair was new.
func (p *pairTable) add(m merge) bool {
	for i := p.hash(m.left, m.right) & p.mask; ; i = (i + 1) & p.mask {
		s := &p.slots[i]
		if s.id == noToken {
			*s = pairSlot(m)
			return true
		}
		if s.left == m.left && s.right == m.right {
			return false
		}
	}
}

// find returns noRank for a pair that does not merge.
func (p *pairTable) find(left, right uint32) (rank, id uint32) {
	for i := p.hash(left, right) & p.mask; ; i = (i + 1) & p.mask {
		s := &p.slots[i]
		if s.id == noToken || (s.left == left && s.right == right) {
			return s.rank, s.id
		}
	}
}

func tableSize(n int) int { return 1 << bits.Len(uint(2*n)) }
