package driver

import "unsafe"

// storePair stores two adjacent words in order, the second one after
// everything before it in program order, without a fence.
//
//go:noescape
func storePair(p *uint64, lo, hi uint64)

// pause is one idle turn of a spin.
func pause()

// sqeWord reads the first 8 bytes of an SQE as the card does.
func sqeWord(sq []byte, i uint32) uint64 {
	b := sq[int(i)*64:][:64]
	return *(*uint64)(unsafe.Pointer(&b[0]))
}

// alignedPages is heap memory that begins on a page.
func alignedPages(n, page int) []byte {
	b := make([]byte, n+page)
	off := -int(uintptr(unsafe.Pointer(&b[0]))) & (page - 1)
	return b[off : off+n : off+n]
}
