package tokenizer

import "slices"

// Both families encode a word the same way: start from its smallest symbols, and as long as two neighbours merge, merge the pair
// of the lowest rank, the leftmost of equals. A byte-level rank is the place in the list of merges; a SentencePiece rank is the
// order of scores.

// shortWord is the length in bytes up to which looking for the best pair by walking all pairs beats keeping a heap.
const shortWord = 48

// maxWord keeps offsets within 32 bits. A longer word is cut there; no real text has one.
const maxWord = 1 << 30

// symbolTable gives the symbol with which merging starts. Byte-level vocabularies have one for each byte, SentencePiece one for each
// character that occurs in a token. Ids past the vocabulary are characters that are no token themselves but begin or end one.
type symbolTable struct {
	single [256]uint32     // bytes, or ASCII characters
	wide   map[rune]uint32 // nil for byte-level
}

type shortSymbol struct {
	id, start    uint32
	rank, merged uint32 // of the pair made with the next symbol
}

func (t *Tokenizer) merge(dst []uint32, word string) []uint32 {
	for len(word) > maxWord {
		dst = t.mergeLong(dst, word[:maxWord])
		word = word[maxWord:]
	}
	if len(word) > shortWord {
		return t.mergeLong(dst, word)
	}
	var buf [shortWord]shortSymbol
	n := 0
	for i := 0; i < len(word); n++ {
		id, size := t.symbols.at(word, i)
		buf[n] = shortSymbol{id: id, start: uint32(i), rank: noRank}
		i += size
	}
	s := buf[:n]
	for i := range len(s) - 1 {
		s[i].rank, s[i].merged = t.pairs.find(s[i].id, s[i+1].id)
	}
	for {
		best, at := noRank, 0
		for i := range s {
			if s[i].rank < best {
				best, at = s[i].rank, i
			}
		}
		if best == noRank {
			break
		}
		s[at].id = s[at].merged
		copy(s[at+1:], s[at+2:])
		s = s[:len(s)-1]
		s[at].rank = noRank
		if at+1 < len(s) {
			s[at].rank, s[at].merged = t.pairs.find(s[at].id, s[at+1].id)
		}
		if at > 0 {
			s[at-1].rank, s[at-1].merged = t.pairs.find(s[at-1].id, s[at].id)
		}
	}
	for i := range s {
		end := len(word)
		if i+1 < len(s) {
			end = int(s[i+1].start)
		}
		dst = t.emit(dst, s[i].id, word[s[i].start:end])
	}
	return dst
}

// longSymbol is a link of the list that a long word's symbols form; its index is the offset of its first byte in the word.
type longSymbol struct {
	id, rank, merged uint32
	prev, next       int32 // -1 before the first; the word's length after the last
}

type longScratch struct {
	list []longSymbol
	heap pairHeap
}

// keepScratch bounds what one very long word leaves behind in the pool.
const keepScratch = 1 << 16

// mergeLong does what merge does in O(n log n): a linked list of symbols and a heap of pairs. A pair that a merge destroys stays in the
// heap and is recognised when it comes up, because the rank at its place is no longer the one it was filed under.
func (t *Tokenizer) mergeLong(dst []uint32, word string) []uint32 {
	sc := t.scratch.Get().(*longScratch)
	n := len(word)
	sc.list = slices.Grow(sc.list[:0], n)[:n]
	list, heap := sc.list, sc.heap[:0]
	prev := int32(-1)
	for i := 0; i < n; {
		id, size := t.symbols.at(word, i)
		list[i] = longSymbol{id: id, rank: noRank, prev: prev, next: int32(i + size)}
		if prev >= 0 {
			if r := t.rate(list, prev, int32(i)); r != noRank {
				heap = append(heap, pairKey(r, prev))
			}
		}
		prev = int32(i)
		i += size
	}
	heap.init()
	for len(heap) > 0 {
		key := heap[0]
		heap = heap.pop()
		at := int32(uint32(key))
		l := &list[at]
		if l.rank != uint32(key>>32) {
			continue
		}
		gone := &list[l.next]
		l.id, l.rank, l.next = l.merged, noRank, gone.next
		gone.rank = noRank
		if int(l.next) < n {
			list[l.next].prev = at
			if r := t.rate(list, at, l.next); r != noRank {
				heap = heap.push(pairKey(r, at))
			}
		}
		if l.prev >= 0 {
			if r := t.rate(list, l.prev, at); r != noRank {
				heap = heap.push(pairKey(r, l.prev))
			}
		}
	}
	for i := int32(0); int(i) < n; i = list[i].next {
		dst = t.emit(dst, list[i].id, word[i:list[i].next])
	}
	if n <= keepScratch {
		sc.heap = heap[:0]
		t.scratch.Put(sc)
	}
	return dst
}

// rate looks up and stores the rank of the pair that begins at left.
func (t *Tokenizer) rate(list []longSymbol, left, right int32) uint32 {
	l := &list[left]
	l.rank, l.merged = t.pairs.find(l.id, list[right].id)
	return l.rank
}

// emit appends a finished symbol: a token, or byte by byte where the vocabulary has no token for it.
func (t *Tokenizer) emit(dst []uint32, id uint32, text string) []uint32 {
	if t.Valid(id) {
		return append(dst, id)
	}
	return t.emitBytes(dst, text)
}

// pairHeap is a binary min-heap of pairKeys: by rank, then from left to right.
type pairHeap []uint64

func pairKey(rank uint32, at int32) uint64 { return uint64(rank)<<32 | uint64(uint32(at)) }

func (h pairHeap) init() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

func (h pairHeap) push(key uint64) pairHeap {
	h = append(h, key)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if h[up] <= key {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = key
	return h
}

func (h pairHeap) pop() pairHeap {
	last := len(h) - 1
	h[0] = h[last]
	h = h[:last]
	if last > 1 {
		h.down(0)
	}
	return h
}

func (h pairHeap) down(i int) {
	key := h[i]
	for {
		kid := 2*i + 1
		if kid >= len(h) {
			break
		}
		if kid+1 < len(h) && h[kid+1] < h[kid] {
			kid++
		}
		if key <= h[kid] {
			break
		}
		h[i] = h[kid]
		i = kid
	}
	h[i] = key
}
