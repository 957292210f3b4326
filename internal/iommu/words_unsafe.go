package iommu

import (
	"sync/atomic"
	"unsafe"
)

// Words shared with the host go through sync/atomic: one access of their
// width, ordered, and visible as such to the race detector. b is aligned, as
// the memory of a mapping begins at a page. Little-endian hosts only.

func load32(b []byte) uint32 {
	_ = b[:4]
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&b[0])))
}

func load64(b []byte) uint64 {
	_ = b[:8]
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&b[0])))
}

func store32(b []byte, v uint32) {
	_ = b[:4]
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&b[0])), v)
}

func store64(b []byte, v uint64) {
	_ = b[:8]
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&b[0])), v)
}
