package vfio

import (
	"sync/atomic"
	"unsafe"
)

// store32 and store64 are single stores to a register (mmio_*.s).
//
//go:noescape
func store32(p *uint32, v uint32)

//go:noescape
func store64(p *uint64, v uint64)

// load and store are single accesses of a mapped BAR; b begins at the
// register and is aligned, as its caller has checked.

func load(b []byte, width int) uint64 {
	if width == 4 {
		return uint64(atomic.LoadUint32((*uint32)(unsafe.Pointer(&b[:4][0]))))
	}
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&b[:8][0])))
}

func store(b []byte, width int, v uint64) {
	if width == 4 {
		store32((*uint32)(unsafe.Pointer(&b[:4][0])), uint32(v))
	} else {
		store64((*uint64)(unsafe.Pointer(&b[:8][0])), v)
	}
}
