package driver

import "unsafe"

// storeRelease64 stores after everything before it in program order, without
// a fence after it.
//
//go:noescape
func storeRelease64(p *uint64, v uint64)

// publish64 is a release store into memory shared with another processor.
func publish64(b []byte, off int, v uint64) {
	b = b[off : off+8]
	storeRelease64((*uint64)(unsafe.Pointer(&b[0])), v)
}

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
